/* test_monitor_hang.c - ranks that do not go on: stacks, the watch of a run without supervisor, deadlines of waits that
 * MPI makes, launchers that are killed. */
#include "tests/monitor_support.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>

/* ---- hangs ------------------------------------------------------------------------------------------------------- */

/* Asks a rank that stands still without waiting for its stacks, and hangs up when they are here. */
static bool answer_stacks(tarn_test_hub *self, int connection, int rank, const char *line)
{
    long long step;
    unsigned long long progress;
    int waits;
    double seconds;
    answer_ok(self, connection, rank, line);
    if (!self->state && sscanf(line, "at %lld %llu %d %lf", &step, &progress, &waits, &seconds) == 4 && !waits &&
        step >= 0 && seconds > 1) {
        self->state = 1;
        hub_say(connection, "stacks");
    }
    return strcmp(line, "stack .");
}

Test(hang, the_supervisor_sees_where_and_gets_the_stacks, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_stacks));
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor hang 1 3", &output);
    char *log = hub_log(&hub);
    cr_assert(code != 0, "%s", output);
    cr_assert(has(log, "step 3: shard 1, after op linear [case_monitor.c:"), "%s", log);
    cr_assert(has(log, "\n1 stack rank 1 on host ") && has(log, "\n1 stack ."), "%s", log);
    cr_assert(has(log, "case_monitor_stuck_here+0x") && has(log, "the main thread"), "%s", log);
    cr_assert(has(log, "waiting for rank 1"), "rank 0 knows for whom: %s", log);
    free(output);
    free(log);
}

/* Without a supervisor the rank that hangs names itself, and nobody waits any longer. */
Test(hang, a_rank_without_supervisor_ends_the_job, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor hang 1 3", &output);
    cr_assert(code == 1, "%d: %s", code, output);
    cr_assert(has(output, "rank 1 on host ") && has(output, "no progress for 3 s at step 3: shard 1, after op linear"),
              "%s", output);
    cr_assert(has(output, "stack: ") && has(output, "case_monitor_stuck_here+0x"), "%s", output);
    const char *hung = strstr(output, "no progress"), *waited = strstr(output, "rank 0 waited");
    cr_assert(!waited || hung < waited, "the one that hangs is named first: %s", output);
    free(output);
}

Test(hang, who_says_that_it_works_is_left_alone, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "4", 1);
    setenv("TARN_COMM_TIMEOUT", "60", 1); /* the other rank waits */
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor slow 1 3 7", &output);
    cr_assert(code == 0, "%d: %s", code, output);
    free(output);
}

Test(hang, waits_follow_the_limit_of_the_run, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor slow 1 3 40", &output);
    cr_assert(code == 1 && has(output, "rank 0 waited 3 s for rank 1 at: "), "%d: %s", code, output);
    free(output);
}

Test(hang, a_rank_that_never_comes, .timeout = 120)
{
    setenv("TARN_COMM_TIMEOUT", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor late 60", &output);
    cr_assert(code == 1 && has(output, "rank 0 on host ") && has(output, "MPI_Init"), "%d: %s", code, output);
    free(output);
}

Test(hang, a_rank_that_never_leaves, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor linger 60", &output);
    cr_assert(code == 1 && has(output, "rank 0 on host ") && has(output, "MPI_Finalize"), "%d: %s", code, output);
    free(output);
}

/* ---- orphans ----------------------------------------------------------------------------------------------------- */

static int pids_of(const char *path, pid_t pids[2])
{
    char *text = tarn_test_read(path, NULL);
    int found = 0;
    for (const char *at = text; at && found < 2 && (at = strstr(at, "pid ")); at += 4)
        pids[found++] = (pid_t)atol(at + 4);
    free(text);
    return found;
}

/* Gone, or dead and not yet buried by whoever inherited it. */
static bool is_gone(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) return true;
    int fields = fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return fields == 1 && (state == 'Z' || state == 'X');
}

/* MPI ends ranks that lost their mpirun, too, unless they hang: this one has a launcher without MPI. */
Test(orphans, a_killed_launcher_leaves_no_rank, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *folder = tarn_test_directory();
    char *log = tarn_test_format("%s/log", folder), *checkpoints = tarn_test_format("%s/c", folder);
    pid_t launcher = fork();
    if (!launcher) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, 1);
        dup2(out, 2);
        if (!fork()) {
            execl(TARN_BINARY_DIR "/tests/case_monitor", "case_monitor", "train", "1000000", checkpoints, (char *)NULL);
            _exit(127);
        }
        pause();
        _exit(0);
    }
    pid_t pids[2] = {0};
    for (int i = 0; i < 600; i++) {
        char *heard = hub_log(&hub);
        bool training = has(heard, "0 at ") && has(heard, "step ");
        free(heard);
        if (training && pids_of(log, pids) == 1) break;
        usleep(100000);
    }
    cr_assert(pids[0] > 0 && !is_gone(pids[0]));
    kill(launcher, SIGKILL);
    waitpid(launcher, NULL, 0);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        gone = is_gone(pids[0]);
        usleep(100000);
    }
    if (!gone) kill(pids[0], SIGKILL);
    cr_assert(gone, "rank %d outlives its launcher", (int)pids[0]);
    tarn_test_remove(folder);
    free(log);
    free(checkpoints);
    free(folder);
}

Test(orphans, a_killed_mpirun_leaves_no_rank, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *folder = tarn_test_directory();
    char *log = tarn_test_format("%s/log", folder), *checkpoints = tarn_test_format("%s/c", folder);
    tarn_test_mpi mpi; /* what a killed mpirun leaves behind lies there */
    tarn_test_mpi_begin(&mpi);
    pid_t mpirun = fork();
    if (!mpirun) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, 1);
        dup2(out, 2);
        execlp("mpirun", "mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2",
               TARN_BINARY_DIR "/tests/case_monitor", "train", "1000000", checkpoints, (char *)NULL);
        _exit(127);
    }
    pid_t pids[2] = {0};
    for (int i = 0; i < 600; i++) {
        char *heard = hub_log(&hub);
        bool training = has(heard, "0 at ") && has(heard, "1 at ") && has(heard, "step ");
        free(heard);
        if (training && pids_of(log, pids) == 2) break;
        usleep(100000);
    }
    cr_assert(pids[0] > 0 && pids[1] > 0 && !is_gone(pids[0]) && !is_gone(pids[1]));
    kill(mpirun, SIGKILL);
    waitpid(mpirun, NULL, 0);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        gone = is_gone(pids[0]) && is_gone(pids[1]);
        usleep(100000);
    }
    for (int i = 0; i < 2; i++)
        if (!is_gone(pids[i])) kill(pids[i], SIGKILL);
    cr_assert(gone, "ranks %d and %d outlive their mpirun", (int)pids[0], (int)pids[1]);
    tarn_test_mpi_end(&mpi);
    tarn_test_remove(folder);
    free(log);
    free(checkpoints);
    free(folder);
}
