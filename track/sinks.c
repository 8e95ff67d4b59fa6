/* sinks.c - the table of sinks. A new one: its constructor in sinks.h, a row here. */
#include "track/sinks.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

const tarn_sink_row tarn_sink_table[] = {
    {"files", offsetof(tarn_track_options, store), true, tarn_file_store_sink_open},
    {"mlflow", offsetof(tarn_track_options, store), false, tarn_mlflow_sink_open},
    {"tensorboard", offsetof(tarn_track_options, tensorboard), false, tarn_tensorboard_sink_open},
    {"wandb", offsetof(tarn_track_options, wandb), false, tarn_wandb_sink_open},
    {"prometheus", -1, false, tarn_prometheus_sink_open},
};

const int tarn_sink_count = sizeof tarn_sink_table / sizeof *tarn_sink_table;

int tarn_sink_state_folder(tarn_path out, const char *spool, const tarn_sink_row *row,
                           const tarn_track_options *options)
{
    tarn_path here, destination, path;
    const char *named = row->option < 0 ? NULL : *(const char *const *)((const char *)options + row->option);
    destination[0] = '\0';
    if (named) {
        if (!getcwd(here, sizeof here)) here[0] = '\0';
        bool whole = named[0] == '/' || strstr(named, "://");
        if (whole ? tarn_path_make(destination, "%s", named) : tarn_path_make(destination, "%s/%s", here, named))
            return -1;
    }
    unsigned long hash = crc32(0, (const unsigned char *)destination, (unsigned)strlen(destination));
    if (named ? tarn_path_make(out, "%s/sinks/%s-%08lx", spool, row->name, hash)
              : tarn_path_make(out, "%s/sinks/%s", spool, row->name))
        return -1;
    if (tarn_path_make(path, "%s/destination", out) || tarn_path_make_parents(path)) return -1;
    if (!access(path, F_OK)) return 0;
    tarn_path temporary;
    if (tarn_path_make(temporary, "%s/.destination", out)) return -1;
    size_t length = strlen(destination);
    destination[length] = '\n';
    int result = tarn_file_put(path, temporary, destination, length + 1);
    destination[length] = '\0';
    return result;
}
