/* hdf5_file.c - see hdf5_file.h. */
#include "checkpoint/hdf5_file.h"
#include "checkpoint/hdf5_memory.h"

#include <errno.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoint data is written straight from memory in little-endian order: a big-endian port must swap in image.c"
#endif

#define MAX_DEPTH 32

struct tarn_hdf5_file {
    hid_t id;
    tarn_hdf5_dataset *datasets;
    int count, capacity;
};

/* HDF5 prints its error stack by itself unless told not to; the setting is the user's, so it is put back. */
typedef struct error_printing {
    H5E_auto2_t function;
    void *data;
} error_printing;

static error_printing silence(void)
{
    error_printing saved = {NULL, NULL};
    H5Eget_auto2(H5E_DEFAULT, &saved.function, &saved.data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return saved;
}

static void restore(error_printing saved)
{
    H5Eset_auto2(H5E_DEFAULT, saved.function, saved.data);
}

static hid_t file_type(tarn_dtype dtype)
{
    switch (dtype) {
    case TARN_F32:
        return H5T_IEEE_F32LE;
    case TARN_F64:
        return H5T_IEEE_F64LE;
    case TARN_BF16: /* HDF5 knows no bf16: its 16 bits as they are */
        return H5T_STD_U16LE;
    case TARN_I32:
        return H5T_STD_I32LE;
    case TARN_I64:
        return H5T_STD_I64LE;
    case TARN_BOOL: /* raw bytes */
        return H5T_STD_U8LE;
    default:
        return -1;
    }
}

int64_t tarn_hdf5_array_bytes(tarn_dtype dtype, int ndim, const int64_t *shape)
{
    int64_t bytes = (int64_t)tarn_dtype_size(dtype);
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0) return -1;
        if (!shape[d])
            empty = true;
        else if (__builtin_mul_overflow(bytes, shape[d], &bytes))
            return -1;
    }
    return empty ? 0 : bytes;
}

bool tarn_hdf5_same_slice(const tarn_hdf5_slice *a, const tarn_hdf5_slice *b)
{
    if (a->is_slice != b->is_slice) return false;
    return !a->is_slice || (a->begin == b->begin && a->ndim == b->ndim &&
                            (!a->ndim || !memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape)));
}

/* ---- making ---------------------------------------------------------------------------------------------------- */

/* A time inside the file would make its bytes depend on when it was made. */
static hid_t timeless(hid_t class)
{
    hid_t list = H5Pcreate(class);
    if (list >= 0) H5Pset_obj_track_times(list, false);
    return list;
}

/* Creates the groups above a dataset that are not there yet. */
static bool make_groups(hid_t file, const char *name)
{
    char path[1024];
    size_t length = strlen(name);
    if (length >= sizeof path) return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] != '/') continue;
        memcpy(path, name, i);
        path[i] = '\0';
        htri_t exists = H5Lexists(file, path, H5P_DEFAULT);
        if (exists < 0) return false;
        if (exists) continue;
        hid_t list = timeless(H5P_GROUP_CREATE);
        hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, list, H5P_DEFAULT);
        H5Pclose(list);
        if (group < 0) return false;
        H5Gclose(group);
    }
    return true;
}

static bool mark_in_digest(hid_t dataset)
{
    uint8_t one = 1;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(dataset, "in_digest", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool done = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_UINT8, &one) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return done;
}

static bool put_integers(hid_t dataset, const char *name, int count, const int64_t *values)
{
    hsize_t length = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &length, NULL);
    hid_t attribute = H5Acreate2(dataset, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool done = attribute >= 0 && (!count || H5Awrite(attribute, H5T_NATIVE_INT64, values) >= 0);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    return done;
}

/* The number of values; -1 when there are more, or no such attribute. */
static int get_integers(hid_t dataset, const char *name, int most, int64_t *values)
{
    hid_t attribute = H5Aopen(dataset, name, H5P_DEFAULT);
    if (attribute < 0) return -1;
    hid_t space = H5Aget_space(attribute);
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    if (count > most || (count > 0 && H5Aread(attribute, H5T_NATIVE_INT64, values) < 0)) count = -1;
    if (space >= 0) H5Sclose(space);
    H5Aclose(attribute);
    return (int)count;
}

static hid_t text_type(int64_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    /* Zero-terminated rather than padded: h5dump would print every zero of a padded string. */
    if (type >= 0 && (H5Tset_size(type, (size_t)bytes) < 0 || H5Tset_strpad(type, H5T_STR_NULLTERM) < 0 ||
                      H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

static bool make_dataset(hid_t file, tarn_hdf5_dataset *dataset)
{
    if (!make_groups(file, dataset->name)) return false;
    hsize_t dims[TARN_MAX_DIMS];
    for (int d = 0; d < dataset->ndim; d++) dims[d] = (hsize_t)dataset->shape[d];
    bool scalar = dataset->is_text || dataset->ndim == 0;
    hid_t space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(dataset->ndim, dims, NULL);
    hid_t type = dataset->is_text ? text_type(dataset->bytes) : H5Tcopy(file_type(dataset->dtype));
    hid_t list = timeless(H5P_DATASET_CREATE);
    H5Pset_layout(list, H5D_CONTIGUOUS);
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    hid_t id = H5Dcreate2(file, dataset->name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    bool done = id >= 0 && (!dataset->in_digest || mark_in_digest(id));
    if (done && dataset->slice.is_slice)
        done = put_integers(id, "slice_begin", 1, &dataset->slice.begin) &&
               put_integers(id, "slice_of", dataset->slice.ndim, dataset->slice.shape);
    dataset->offset = -1;
    if (done && dataset->bytes) {
        haddr_t offset = H5Dget_offset(id);
        done = offset != HADDR_UNDEF;
        if (done) dataset->offset = (int64_t)offset;
    }
    if (id >= 0) H5Dclose(id);
    H5Pclose(list);
    H5Tclose(type);
    H5Sclose(space);
    return done;
}

static hid_t access_list(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return list;
    H5Pset_fclose_degree(list, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7) && !(H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE == 0)
    /* The directory has its own lock; HDF5's would fail on file systems that know none. */
    H5Pset_file_locking(list, false, true);
#endif
    return list;
}

bool tarn_hdf5_make(tarn_hdf5_memory *memory, int64_t user_block, tarn_hdf5_dataset *datasets, int count,
                    tarn_problem *problem)
{
    error_printing saved = silence();
    hid_t access = access_list();
    bool ready = tarn_hdf5_memory_use(memory, access);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_alignment(access, 4096, 4096);
    hid_t create = timeless(H5P_FILE_CREATE);
    H5Pset_userblock(create, (hsize_t)user_block);
    hid_t file = ready ? H5Fcreate("template", H5F_ACC_TRUNC, create, access) : -1;
    bool done = file >= 0;
    if (!done) tarn_problem_set(problem, 0, "HDF5 could not make an empty file in memory");
    for (int i = 0; done && i < count; i++) {
        done = make_dataset(file, &datasets[i]);
        if (!done)
            tarn_problem_set(problem, 0, "HDF5 could not create dataset %s (is the name used twice?)",
                             datasets[i].name);
    }
    if (file >= 0 && H5Fclose(file) < 0 && done)
        done = tarn_problem_set(problem, ENOMEM, "HDF5 could not make an empty file in memory: out of memory");
    H5Pclose(create);
    H5Pclose(access);
    restore(saved);
    return done;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static bool describe_type(hid_t type, tarn_hdf5_dataset *dataset)
{
    if (H5Tget_class(type) == H5T_STRING) {
        dataset->is_text = true;
        return H5Tis_variable_str(type) == 0;
    }
    for (int dtype = 0; dtype < TARN_DTYPE_COUNT; dtype++) {
        if (H5Tequal(type, file_type((tarn_dtype)dtype)) <= 0) continue;
        dataset->dtype = (tarn_dtype)dtype;
        return true;
    }
    return false;
}

static bool describe(hid_t id, tarn_hdf5_dataset *dataset)
{
    hid_t type = H5Dget_type(id), space = H5Dget_space(id);
    hsize_t dims[H5S_MAX_RANK];
    int ndim = H5Sget_simple_extent_ndims(space);
    bool known = describe_type(type, dataset) && ndim >= 0 && ndim <= TARN_MAX_DIMS;
    if (known) {
        H5Sget_simple_extent_dims(space, dims, NULL);
        dataset->ndim = ndim;
        for (int d = 0; d < ndim; d++) dataset->shape[d] = (int64_t)dims[d];
        dataset->bytes =
            dataset->is_text ? (int64_t)H5Tget_size(type) : tarn_hdf5_array_bytes(dataset->dtype, ndim, dataset->shape);
        known = dataset->bytes >= 0 && (!dataset->is_text || ndim == 0);
        dataset->in_digest = H5Aexists(id, "in_digest") > 0;
        tarn_hdf5_slice *slice = &dataset->slice;
        slice->is_slice = H5Aexists(id, "slice_begin") > 0;
        if (slice->is_slice) {
            slice->ndim = get_integers(id, "slice_of", TARN_MAX_DIMS, slice->shape);
            known = known && ndim == 1 && slice->ndim >= 0 && get_integers(id, "slice_begin", 1, &slice->begin) == 1;
        }
        haddr_t offset = H5Dget_offset(id);
        dataset->offset = offset == HADDR_UNDEF ? -1 : (int64_t)offset;
    }
    H5Tclose(type);
    H5Sclose(space);
    return known;
}

static bool append(tarn_hdf5_file *file, hid_t id, const char *name, tarn_problem *problem)
{
    if (file->count == file->capacity) {
        int capacity = file->capacity ? 2 * file->capacity : 64;
        tarn_hdf5_dataset *grown = realloc(file->datasets, (size_t)capacity * sizeof *grown);
        if (!grown) return tarn_problem_set(problem, 0, "out of memory for its list of datasets");
        file->datasets = grown;
        file->capacity = capacity;
    }
    tarn_hdf5_dataset dataset = {0};
    if (!describe(id, &dataset))
        return tarn_problem_set(problem, 0, "its dataset %s is of a type or shape that Tarn does not write", name);
    dataset.name = strdup(name);
    if (!dataset.name) return tarn_problem_set(problem, 0, "out of memory for its list of datasets");
    file->datasets[file->count++] = dataset;
    return true;
}

/* By index through functions that HDF5 has not versioned: 1.10, 1.12 and 1.14 read alike. */
static bool walk(tarn_hdf5_file *file, hid_t group, const char *prefix, int depth, tarn_problem *problem)
{
    H5G_info_t info;
    if (depth > MAX_DEPTH || H5Gget_info(group, &info) < 0)
        return tarn_problem_set(problem, 0, "HDF5 cannot list its group /%s", prefix);
    bool done = true;
    for (hsize_t i = 0; done && i < info.nlinks; i++) {
        char path[1024];
        size_t used = strlen(prefix);
        memcpy(path, prefix, used);
        if (used) path[used++] = '/';
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, path + used, sizeof path - used, H5P_DEFAULT);
        if (length < 0 || (size_t)length >= sizeof path - used - 1)
            return tarn_problem_set(problem, 0, "HDF5 cannot list its group /%s", prefix);
        hid_t id = H5Oopen(group, path + used, H5P_DEFAULT);
        H5I_type_t kind = id < 0 ? H5I_BADID : H5Iget_type(id);
        if (kind == H5I_GROUP)
            done = walk(file, id, path, depth + 1, problem);
        else if (kind == H5I_DATASET)
            done = append(file, id, path, problem);
        else
            done = tarn_problem_set(problem, 0, "HDF5 cannot open its object /%s", path);
        if (id >= 0) H5Oclose(id);
    }
    return done;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tarn_hdf5_dataset *)a)->name, ((const tarn_hdf5_dataset *)b)->name);
}

bool tarn_hdf5_open(tarn_hdf5_file **out, const char *path, tarn_problem *problem)
{
    *out = NULL;
    tarn_hdf5_file *file = calloc(1, sizeof *file);
    if (!file) return tarn_problem_set(problem, 0, "out of memory");
    error_printing saved = silence();
    hid_t access = access_list();
    file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    bool done =
        file->id >= 0 ? walk(file, file->id, "", 0, problem) : tarn_problem_set(problem, 0, "HDF5 cannot open it");
    restore(saved);
    if (!done) {
        tarn_hdf5_close(file);
        return false;
    }
    if (file->count) qsort(file->datasets, (size_t)file->count, sizeof *file->datasets, by_name);
    *out = file;
    return true;
}

void tarn_hdf5_close(tarn_hdf5_file *file)
{
    if (!file) return;
    error_printing saved = silence();
    if (file->id >= 0) H5Fclose(file->id);
    restore(saved);
    for (int i = 0; i < file->count; i++) free((char *)file->datasets[i].name);
    free(file->datasets);
    free(file);
}

int tarn_hdf5_count(const tarn_hdf5_file *file)
{
    return file->count;
}

const tarn_hdf5_dataset *tarn_hdf5_at(const tarn_hdf5_file *file, int index)
{
    return &file->datasets[index];
}

bool tarn_hdf5_read(tarn_hdf5_file *file, const tarn_hdf5_dataset *dataset, void *data, tarn_problem *problem)
{
    if (dataset->is_text) ((char *)data)[dataset->bytes] = '\0';
    if (!dataset->bytes) return true;
    error_printing saved = silence();
    hid_t id = H5Dopen2(file->id, dataset->name, H5P_DEFAULT);
    /* The file's own type: little-endian bytes as they stand, which is this machine's order. */
    hid_t type = id < 0 ? -1 : H5Dget_type(id);
    bool done = type >= 0 && H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (type >= 0) H5Tclose(type);
    if (id >= 0) H5Dclose(id);
    restore(saved);
    return done ? true : tarn_problem_set(problem, 0, "HDF5 cannot read its dataset %s", dataset->name);
}
