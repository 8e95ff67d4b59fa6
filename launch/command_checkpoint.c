/* command_checkpoint.c - `tarn checkpoint ls|show|verify|digest DIR`: looking at checkpoints without training.
 *
 * Writes nothing to the directory and takes no lock: a run may be writing there meanwhile.
 */
#include "launch/command.h"
#include "checkpoint/load.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_SHOWN 8192

static void usage(FILE *out)
{
    fputs(
        "usage: tarn checkpoint ls|show|verify|digest DIR\n\n"
        "  ls      the checkpoints of DIR, newest first: step, bytes, whether it is valid (yes, no, or newer: a later\n"
        "          Tarn reads it), name; then the best one, and those that no run loads by itself\n"
        "          (quarantined-..., superseded-...)\n"
        "  show    step, digest, texts (the run's configuration) and arrays of the newest valid one\n"
        "  verify  reads every checkpoint whole; exit code 1 when one cannot be used: broken, or newer\n"
        "  digest  SHA-256 of the training state (parameters, moments, step) of the newest valid one:\n"
        "          two runs that print the same are in the same state, bit for bit\n\n"
        "DIR is a directory of checkpoints (checkpoint.dir); all but ls also take one of them, such as DIR/best.h5.\n",
        out);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The best checkpoint is a file of its own name: looked at like the others. False when there is none. */
static bool look_at(tarn_checkpoint_info *info, const char *path)
{
    tarn_checkpoint_found found;
    tarn_checkpoint_reader *file = NULL;
    tarn_problem problem;
    memset(info, 0, sizeof *info);
    if (strlen(path) >= sizeof found.path || access(path, F_OK)) return false;
    strcpy(found.path, path);
    strcpy(info->path, path);
    info->valid = tarn_checkpoint_open_verified(&file, &found, true, &problem);
    tarn_checkpoint_reader_close(file);
    info->newer = !info->valid && problem.newer;
    info->bytes = found.bytes;
    info->step = found.header.step;
    if (info->valid)
        tarn_sha256_hex(found.header.state_digest, info->digest);
    else
        snprintf(info->problem, sizeof info->problem, "%s", problem.text);
    return true;
}

/* Grows the list by what is at `path`, if there is anything. */
static tarn_status add(tarn_context *context, const char *path, tarn_checkpoint_info **infos, int *count)
{
    tarn_checkpoint_info *grown = realloc(*infos, ((size_t)*count + 1) * sizeof *grown);
    if (!grown) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    *infos = grown;
    if (look_at(&grown[*count], path)) ++*count;
    return TARN_OK;
}

static int is_set_aside(const struct dirent *entry)
{
    return !strncmp(entry->d_name, "quarantined-", 12) || !strncmp(entry->d_name, "superseded-", 11);
}

/* Those that no run loads by itself, in order of name. */
static tarn_status add_set_aside(tarn_context *context, const char *directory, tarn_checkpoint_info **infos, int *count)
{
    struct dirent **names;
    char path[TARN_CHECKPOINT_PATH];
    tarn_status status = TARN_OK;
    int entries = scandir(directory, &names, is_set_aside, alphasort);
    for (int i = 0; i < entries; i++) {
        if (!status && tarn_checkpoint_path(path, directory, "%s", names[i]->d_name))
            status = add(context, path, infos, count);
        free(names[i]);
    }
    if (entries >= 0) free(names);
    return status;
}

/* All checkpoints of a directory, verified, the best one behind them, and with `aside` those set aside; or the one that
 * `path` is. */
static tarn_status collect(tarn_context *context, const char *path, bool aside, tarn_checkpoint_info **infos,
                           int *count)
{
    char name[TARN_CHECKPOINT_PATH];
    bool one = tarn_checkpoint_path(name, path, "MANIFEST") && !access(name, F_OK);
    *infos = NULL;
    *count = 0;
    if (one || (!access(path, F_OK) && !tarn_checkpoint_is_folder(path))) return add(context, path, infos, count);
    tarn_status status = tarn_checkpoint_list(context, path, true, infos, count);
    if (!status && tarn_checkpoint_path(name, path, "best.h5")) status = add(context, name, infos, count);
    if (!status && tarn_checkpoint_path(name, path, "best")) status = add(context, name, infos, count);
    if (!status && aside) status = add_set_aside(context, path, infos, count);
    return status;
}

static const char *validity(const tarn_checkpoint_info *info)
{
    return info->valid ? "yes" : info->newer ? "newer" : "no";
}

static tarn_status list(tarn_context *context, const char *path)
{
    tarn_checkpoint_info *infos;
    int count;
    tarn_status status = collect(context, path, true, &infos, &count);
    if (!status && !count) printf("%s holds no checkpoint\n", path);
    if (!status && count) printf("%12s  %14s  %-5s  %s\n", "step", "bytes", "valid", "name");
    for (int i = 0; !status && i < count; i++) {
        char step[24] = "-";
        if (infos[i].valid || infos[i].step) snprintf(step, sizeof step, "%" PRId64, infos[i].step);
        printf("%12s  %14" PRId64 "  %-5s  %s%s%s\n", step, infos[i].bytes, validity(&infos[i]),
               base_name(infos[i].path), infos[i].valid ? "" : ": ", infos[i].problem);
    }
    free(infos);
    return status;
}

static tarn_status verify(tarn_context *context, const char *path)
{
    tarn_checkpoint_info *infos;
    int count, broken = 0 /* or newer: neither can be used */, first = 0;
    tarn_status status = collect(context, path, false, &infos, &count);
    if (!status && !count)
        status =
            tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                      "checkpoint: %s holds no checkpoint (files named ckpt-<step>.h5, or folders ckpt-<step>)", path);
    for (int i = 0; !status && i < count; i++) {
        if (infos[i].valid) {
            printf("%s: valid, step %" PRId64 ", %" PRId64 " bytes\n", base_name(infos[i].path), infos[i].step,
                   infos[i].bytes);
            continue;
        }
        printf("%s: %s: %s\n", base_name(infos[i].path), infos[i].newer ? "newer" : "broken", infos[i].problem);
        if (!broken++) first = i;
    }
    if (broken)
        status = tarn_fail(context, TARN_ERROR_FORMAT, TARN_HERE,
                           "checkpoint: %d of %d checkpoint%s cannot be used, the first is %s: %s", broken, count,
                           count == 1 ? "" : "s", infos[first].path, infos[first].problem);
    free(infos);
    return status;
}

/* Indented; what would disturb a terminal is replaced. */
static void print_text(const char *name, const char *value)
{
    size_t length = strlen(value), shown = length < TEXT_SHOWN ? length : TEXT_SHOWN;
    bool start = true;
    if (!length) {
        printf("%s: empty\n", name);
        return;
    }
    printf("%s:\n", name);
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)value[i];
        if (start) fputs("  ", stdout);
        start = c == '\n';
        putchar(c == '\n' || c == '\t' || (c >= 32 && c != 127) ? c : '?');
    }
    if (!start) putchar('\n');
    if (shown < length) printf("  ... (%zu bytes; h5dump -d /%s shows all)\n", length, name);
}

static tarn_status show_texts(tarn_context *context, tarn_checkpoint_reader *file, const char *path)
{
    for (int i = 0; i < tarn_checkpoint_reader_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(file, i);
        tarn_problem problem;
        if (!dataset->is_text) continue;
        char *value = malloc((size_t)dataset->bytes + 1);
        if (!value) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
        if (!tarn_checkpoint_reader_read(file, dataset, value, &problem)) {
            free(value);
            return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", path, problem.text);
        }
        print_text(dataset->name, value);
        free(value);
    }
    return TARN_OK;
}

static void show_arrays(const tarn_checkpoint_reader *file)
{
    int width = 8;
    for (int i = 0; i < tarn_checkpoint_reader_count(file); i++) {
        int length = (int)strlen(tarn_checkpoint_reader_at(file, i)->name);
        if (length > width && length <= 60) width = length;
    }
    printf("%-*s  %14s  %s\n", width, "dataset", "bytes", "type and shape (* enters the digest)");
    for (int i = 0; i < tarn_checkpoint_reader_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(file, i);
        char shape[TARN_CHECKPOINT_SHAPE_TEXT] = "text";
        if (!dataset->is_text) tarn_checkpoint_shape_text(shape, dataset->dtype, dataset->ndim, dataset->shape);
        printf("%-*s  %14" PRId64 "  %s%s\n", width, dataset->name, dataset->bytes, shape,
               dataset->in_digest ? " *" : "");
    }
}

/* The digest of parts is in none of them. */
static tarn_status open_with_digest(tarn_checkpoint_reader **file, tarn_checkpoint_found *found, tarn_context *context,
                                    const char *path)
{
    tarn_problem problem;
    tarn_status status = tarn_checkpoint_open_path(file, found, context, path);
    if (status || !found->parts || tarn_checkpoint_compute_digest(*file, found->header.state_digest, &problem))
        return status;
    tarn_checkpoint_reader_close(*file);
    return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", found->path, problem.text);
}

static tarn_status show(tarn_context *context, const char *path)
{
    tarn_checkpoint_found found;
    tarn_checkpoint_reader *file;
    char digest[65];
    tarn_status status = open_with_digest(&file, &found, context, path);
    if (status) return status;
    tarn_sha256_hex(found.header.state_digest, digest);
    printf("file: %s\nstep: %" PRId64 "\nbytes: %" PRId64 "\ndigest: %s\n", found.path, found.header.step, found.bytes,
           digest);
    status = show_texts(context, file, found.path);
    if (!status) show_arrays(file);
    tarn_checkpoint_reader_close(file);
    return status;
}

static tarn_status digest(tarn_context *context, const char *path)
{
    tarn_checkpoint_found found;
    tarn_checkpoint_reader *file;
    char text[65];
    tarn_status status = open_with_digest(&file, &found, context, path);
    if (status) return status;
    tarn_checkpoint_reader_close(file);
    tarn_sha256_hex(found.header.state_digest, text);
    printf("%s\n", text);
    return TARN_OK;
}

static const struct {
    const char *name;
    tarn_status (*run)(tarn_context *context, const char *path);
} actions[] = {{"ls", list}, {"show", show}, {"verify", verify}, {"digest", digest}};

int tarn_command_checkpoint(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") && strcmp(argv[i], "-h")) continue;
        usage(stdout);
        return 0;
    }
    tarn_status (*run)(tarn_context * context, const char *path) = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(argv[1], actions[i].name)) run = actions[i].run;
    if (!run || argc != 3) {
        if (argc > 1 && !run)
            fprintf(stderr, "tarn checkpoint: there is no action '%s'\n\n", argv[1]);
        else if (argc > 1)
            fprintf(stderr, "tarn checkpoint %s: expected one directory\n\n", argv[1]);
        usage(stderr);
        return 2;
    }
    tarn_context *context;
    /* Under mpirun the others only come along: their exit code is 0, and the output appears once. */
    if (!tarn_init(&context, NULL, NULL) && tarn_rank(context) == 0 && !run(context, argv[2]) && fflush(stdout))
        tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: writing to stdout: %s", strerror(errno));
    return tarn_exit(context);
}
