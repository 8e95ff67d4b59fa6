/* workspace.h - where the processes of a run put what they share: one folder for Open MPI's sessions, one for its
 * shared-memory segments, both of this supervisor alone, so that whatever was killed how ever hard, all it left goes
 * with two folders.
 *
 * Invariants
 *  1. A folder is removed only by its supervisor, or when nobody holds its lock: the lock ends with the supervisor, and
 *     it holds across containers that share the folder but not process numbers. A lock that has its name is held from
 *     then on, so that one that can be taken is a dead supervisor's.
 *  2. Processes are killed only when their environment names the folder or the token of a launch: never by their name.
 *  3. After tarn_workspace_close nothing of the run is left, in files or in processes of this host.
 */
#ifndef TARN_SUPERVISOR_WORKSPACE_H
#define TARN_SUPERVISOR_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tarn_workspace {
    char name[64];       /* tarn-run-UID-XXXXXXXXXXXX */
    char sessions[4096]; /* folder under TMPDIR */
    char segments[128];  /* folder under /dev/shm; "" where there is no /dev/shm */
    int sessions_lock, segments_lock;
} tarn_workspace;

/* Removes what dead supervisors of this user left, kills the processes they left, and makes the folders. False with
 * errno, *what naming the folder. */
bool tarn_workspace_open(tarn_workspace *workspace, const char **what);
/* Removes all that lies in the folders, not the folders: between launches, when no process is left. */
void tarn_workspace_sweep(tarn_workspace *workspace);
void tarn_workspace_close(tarn_workspace *workspace);

/* Sends a signal (0: none, they are counted) to every process of this host whose environment holds `text`; returns how
 * many there are (zombies are none). Never to itself. */
int tarn_signal_named(const char *text, int signal);
/* The same with SIGKILL. */
int tarn_kill_named(const char *text);
/* Whether the environment of a process holds the text. */
bool tarn_process_names(long pid, const char *text);

#endif
