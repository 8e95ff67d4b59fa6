/* hdf5_memory.c - see hdf5_memory.h. Pages of 4096 bytes, in order of address; only those that were written exist. */
#include "checkpoint/hdf5_memory.h"

#include <hdf5.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif
#include <stdlib.h>
#include <string.h>

#define PAGE ((int64_t)4096)

typedef struct page {
    int64_t number;
    uint8_t *data;
} page;

struct tarn_hdf5_memory {
    page *pages;
    int count, capacity;
    int64_t bytes;
};

/* An open file; HDF5 knows the first member. */
typedef struct memory_file {
    H5FD_t base;
    tarn_hdf5_memory *memory;
    haddr_t allocated; /* HDF5's "end of allocation" */
} memory_file;

/* What the access list carries: HDF5 copies it. */
typedef struct memory_info {
    tarn_hdf5_memory *memory;
} memory_info;

/* ---- pages ------------------------------------------------------------------------------------------------------- */

/* The first page whose number is not smaller. */
static int find(const tarn_hdf5_memory *memory, int64_t number)
{
    int low = 0, high = memory->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (memory->pages[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint8_t *make_page(tarn_hdf5_memory *memory, int64_t number)
{
    int at = find(memory, number);
    if (at < memory->count && memory->pages[at].number == number) return memory->pages[at].data;
    if (memory->count == memory->capacity) {
        int capacity = memory->capacity ? 2 * memory->capacity : 16;
        page *grown = realloc(memory->pages, (size_t)capacity * sizeof *grown);
        if (!grown) return NULL;
        memory->pages = grown;
        memory->capacity = capacity;
    }
    uint8_t *data = calloc(1, (size_t)PAGE);
    if (!data) return NULL;
    memmove(&memory->pages[at + 1], &memory->pages[at], (size_t)(memory->count - at) * sizeof *memory->pages);
    memory->pages[at] = (page){number, data};
    memory->count++;
    return data;
}

static void clear(tarn_hdf5_memory *memory)
{
    for (int i = 0; i < memory->count; i++) free(memory->pages[i].data);
    memory->count = 0;
    memory->bytes = 0;
}

tarn_hdf5_memory *tarn_hdf5_memory_create(void)
{
    return calloc(1, sizeof(tarn_hdf5_memory));
}

void tarn_hdf5_memory_destroy(tarn_hdf5_memory *memory)
{
    if (!memory) return;
    clear(memory);
    free(memory->pages);
    free(memory);
}

int64_t tarn_hdf5_memory_bytes(const tarn_hdf5_memory *memory)
{
    return memory->bytes;
}

/* The part of a stretch that lies in the page it begins in. */
static int64_t part_of(int64_t offset, int64_t bytes)
{
    int64_t left = PAGE - offset % PAGE;
    return bytes < left ? bytes : left;
}

void tarn_hdf5_memory_read(const tarn_hdf5_memory *memory, int64_t offset, void *data, int64_t bytes)
{
    for (uint8_t *to = data; bytes > 0;) {
        int64_t part = part_of(offset, bytes), number = offset / PAGE;
        int at = find(memory, number);
        if (at < memory->count && memory->pages[at].number == number)
            memcpy(to, memory->pages[at].data + offset % PAGE, (size_t)part);
        else
            memset(to, 0, (size_t)part);
        to += part;
        offset += part;
        bytes -= part;
    }
}

/* ---- the driver -------------------------------------------------------------------------------------------------- */

static H5FD_t *open_file(const char *name, unsigned flags, hid_t access_list, haddr_t most)
{
    (void)name, (void)most;
    const memory_info *info = H5Pget_driver_info(access_list);
    /* HDF5 looks whether there is such a file before it creates one. */
    if (!info || !(flags & H5F_ACC_CREAT)) return NULL;
    memory_file *file = calloc(1, sizeof *file);
    if (!file) return NULL;
    file->memory = info->memory;
    clear(file->memory);
    return &file->base;
}

static herr_t close_file(H5FD_t *file)
{
    free(file);
    return 0;
}

/* As HDF5's default driver says: the layout of the file depends on it. */
static herr_t query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const memory_file *)file)->allocated;
}

static herr_t set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    ((memory_file *)file)->allocated = address;
    return 0;
}

static haddr_t get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return (haddr_t)((const memory_file *)file)->memory->bytes;
}

static herr_t read_file(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes, void *data)
{
    (void)type, (void)transfer;
    tarn_hdf5_memory_read(((memory_file *)file)->memory, (int64_t)address, data, (int64_t)bytes);
    return 0;
}

static herr_t write_file(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes, const void *data)
{
    (void)type, (void)transfer;
    tarn_hdf5_memory *memory = ((memory_file *)file)->memory;
    int64_t offset = (int64_t)address, left = (int64_t)bytes;
    for (const uint8_t *from = data; left > 0;) {
        int64_t part = part_of(offset, left);
        uint8_t *target = make_page(memory, offset / PAGE);
        if (!target) return -1;
        memcpy(target + offset % PAGE, from, (size_t)part);
        from += part;
        offset += part;
        left -= part;
    }
    if (offset > memory->bytes) memory->bytes = offset;
    return 0;
}

/* The file becomes as long as what was allocated. HDF5 never shortens one that it has just created. */
static herr_t truncate_file(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer, (void)closing;
    memory_file *self = (memory_file *)file;
    if ((int64_t)self->allocated > self->memory->bytes) self->memory->bytes = (int64_t)self->allocated;
    return 0;
}

static const H5FD_class_t driver_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = 611, /* of the range for drivers that are not registered with The HDF Group */
#endif
    .name = "tarn_memory",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .fapl_size = sizeof(memory_info),
    .open = open_file,
    .close = close_file,
    .query = query,
    .get_eoa = get_eoa,
    .set_eoa = set_eoa,
    .get_eof = get_eof,
    .read = read_file,
    .write = write_file,
    .truncate = truncate_file,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

bool tarn_hdf5_memory_use(tarn_hdf5_memory *memory, int64_t access_list)
{
    hid_t driver = H5FDregister(&driver_class);
    if (driver < 0) return false;
    memory_info info = {memory};
    bool done = H5Pset_driver((hid_t)access_list, driver, &info) >= 0;
    /* The list, and a file opened with it, hold it from here on. */
    H5FDunregister(driver);
    return done;
}
