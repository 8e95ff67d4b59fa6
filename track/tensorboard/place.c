/* place.c - where a run's event file lies: DIR/NAME/events.out.tfevents.TIME.HOST.RUN-ID.
 *
 * The run's id in the name of the file says whose it is, also where the state folder was lost. A folder of that name
 * that belongs to another run gets a neighbour, NAME-XXXXXXXX.
 */
#include "runtime/base/host.h"
#include "track/boards/places.h"
#include "track/environment.h"
#include "track/tensorboard/tensorboard.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tarn_status refuse(char problem[TARN_SINK_PROBLEM], const char *path, tarn_status status)
{
    *problem = '\0';
    tarn_board_explain(problem, path, "track.tensorboard");
    return status;
}

/* The path that an earlier process noted; false: none. */
static bool noted(const char *note, tarn_path path)
{
    int file = open(note, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, path, PATH_MAX - 1);
    if (file >= 0) close(file);
    if (got <= 0) return false;
    path[got] = '\0';
    return true;
}

/* Whether a noted path is one below root. A spool may come from anybody: no other way leads there. */
static bool lies_in(const char *root, const char *path)
{
    size_t length = strlen(root);
    return !strncmp(path, root, length) && path[length] == '/' && !strstr(path + length, "/../");
}

static int choose(tarn_tensorboard *board, const char *root, const tarn_sink_run *run, tarn_path path)
{
    char name[160], found[256], host[128];
    tarn_board_folder_name(name, sizeof name, run->name && *run->name ? run->name : run->run_id);
    for (int other = 0; other < 2; other++) {
        if (tarn_path_make(board->folder, other ? "%s/%s-%.8s" : "%s/%s", root, name, run->run_id)) return -1;
        if (tarn_board_find(board->folder, "tfevents", run->run_id, found))
            return tarn_path_make(path, "%s/%s", board->folder, found);
        if (other || !tarn_board_find(board->folder, "tfevents", "", NULL)) break;
    }
    tarn_host_name(host, sizeof host);
    char clean[128];
    tarn_board_folder_name(clean, sizeof clean, host);
    if (tarn_path_make(path, "%s/events.out.tfevents.%lld.%s.%s", board->folder,
                       (long long)(tarn_environment_time_ms() / 1000), clean, run->run_id))
        return -1;
    return tarn_path_make_parents(path);
}

tarn_status tarn_tensorboard_place(tarn_tensorboard *board, const char *directory, const tarn_sink_run *run,
                                   char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    tarn_path root, path, note, note_new, before;
    if (tarn_path_make(path, "%s/", directory) || tarn_path_make_parents(path) || !realpath(path, root) ||
        access(root, R_OK | W_OK | X_OK))
        return refuse(problem, directory, TARN_ERROR_CONFIG);
    if (tarn_path_make(note, "%s/file", run->state) || tarn_path_make(note_new, "%s/file.new", run->state) ||
        tarn_path_make(board->state, "%s/tables.json", run->state) ||
        tarn_path_make(board->state_new, "%s/tables.new", run->state) ||
        tarn_path_make(board->aside, "%s/cut-off", run->state))
        return refuse(problem, run->state, TARN_ERROR_CONFIG);
    bool known = noted(note, before), ours = known && lies_in(root, before) && !access(before, F_OK);
    if (ours) {
        if (tarn_path_make(path, "%s", before) || tarn_path_make(board->folder, "%s", before))
            return refuse(problem, directory, TARN_ERROR_CONFIG);
        *strrchr(board->folder, '/') = '\0';
    } else if (choose(board, root, run, path))
        return refuse(problem, directory, TARN_ERROR_IO);
    if (known && !ours)
        snprintf(notice, TARN_SINK_PROBLEM,
                 "TensorBoard's events of this run go on in %.200s: the earlier ones are, or were, in %.200s", path,
                 before);
    if (tarn_board_file_open(&board->file, path)) return refuse(problem, path, TARN_ERROR_IO);
    if (!ours && tarn_file_put(note, note_new, path, strlen(path))) return refuse(problem, note, TARN_ERROR_IO);
    return TARN_OK;
}
