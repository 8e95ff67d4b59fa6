/* sinks.c - the table of sinks. A new one: its constructor in sinks.h, a row here. */
#include "track/sinks.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static const tarn_sink_row table[] = {
    {"files", offsetof(tarn_track_options, store), true, tarn_file_store_sink_open, "--store STORE"},
    {"mlflow", offsetof(tarn_track_options, store), false, tarn_mlflow_sink_open, "--store STORE"},
    {"tensorboard", offsetof(tarn_track_options, tensorboard), true, tarn_tensorboard_sink_open,
     "--tensorboard DIRECTORY"},
    {"wandb", offsetof(tarn_track_options, wandb), true, tarn_wandb_sink_open, "--wandb DIRECTORY"},
    {"prometheus", -1, true, tarn_prometheus_sink_open, NULL}, /* metrics_listen, metrics_file, or both */
};

const tarn_sink_row *tarn_sink_rows = table;
int tarn_sink_row_count = sizeof table / sizeof *table;

static const char *named(const tarn_sink_row *row, const tarn_track_options *options)
{
    return row->option < 0 ? NULL : *(const char *const *)((const char *)options + row->option);
}

bool tarn_sink_is_asked(const tarn_sink_row *row, const tarn_track_options *options)
{
    const char *name = named(row, options);
    return row->option < 0 || (name && *name && strcmp(name, "none"));
}

bool tarn_sink_is_store(const tarn_sink_row *row)
{
    return row->option == offsetof(tarn_track_options, store);
}

/* The destination as it is from anywhere on this host. */
static int whole_destination(tarn_path out, const tarn_sink_row *row, const tarn_track_options *options)
{
    tarn_path here;
    const char *name = named(row, options);
    if (!name) return tarn_path_make(out, "%s", row->name);
    const char *host = strstr(name, "://") ? strstr(name, "://") + 3 : NULL;
    const char *login = host ? memrchr(host, '@', strcspn(host, "/")) : NULL;
    /* A password is not written down, and a new one makes no other destination. */
    if (login) return tarn_path_make(out, "%.*s%s", (int)(host - name), name, login + 1);
    if (name[0] == '/' || host) return tarn_path_make(out, "%s", name);
    return !getcwd(here, sizeof here) ? -1 : tarn_path_make(out, "%s/%s", here, name);
}

int tarn_sink_state_path(tarn_path out, const char *spool, const tarn_sink_row *row, const tarn_track_options *options)
{
    tarn_path destination;
    if (whole_destination(destination, row, options)) return -1;
    unsigned long hash = crc32(0, (const unsigned char *)destination, (unsigned)strlen(destination));
    return tarn_path_make(out, "%s/sinks/%s-%08lx", spool, row->name, hash);
}

int tarn_sink_state_folder(tarn_path out, const char *spool, const tarn_sink_row *row,
                           const tarn_track_options *options)
{
    tarn_path path;
    if (tarn_sink_state_path(out, spool, row, options) || tarn_path_make(path, "%s/", out)) return -1;
    return tarn_path_make_parents(path);
}

int tarn_sink_name_destination(const char *state, const tarn_sink_row *row, const tarn_track_options *options)
{
    tarn_path path, temporary, destination;
    if (tarn_path_make(path, "%s/destination", state) || tarn_path_make(temporary, "%s/.destination", state) ||
        whole_destination(destination, row, options))
        return -1;
    if (!access(path, F_OK)) return 0;
    return tarn_file_put(path, temporary, destination, strlen(destination));
}
