/* job.c - see job.h. */
#include "launch/supervisor/job.h"
#include "launch/supervisor/voice.h"
#include "runtime/base/context.h"
#include "runtime/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const double KILL_SECONDS = 10;
/* The longest that rank 0 waits for `claimed`: on a disk that stands still so long the directory itself cannot be
 * opened, and should it be, its own lock tells two runs apart. */
static const char CLAIM_SECONDS[] = "60";

/* ---- lists of strings -------------------------------------------------------------------------------------------- */

typedef struct strings {
    char **item;
    size_t count;
    bool failed;
} strings;

static void push(strings *list, const char *text)
{
    char **grown = realloc(list->item, (list->count + 2) * sizeof *grown);
    if (grown) list->item = grown;
    char *copy = grown ? strdup(text) : NULL;
    if (!copy) {
        list->failed = true;
        return;
    }
    grown[list->count++] = copy;
    grown[list->count] = NULL;
}

static void push_pair(strings *list, const char *name, const char *value)
{
    char *text;
    if (asprintf(&text, "%s=%s", name, value) < 0) {
        list->failed = true;
        return;
    }
    push(list, text);
    free(text);
}

static void free_strings(strings *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->item[i]);
    free(list->item);
    *list = (strings){0};
}

/* A command as a user writes it ("ssh -p 2222"): words between blanks. */
static void push_words(strings *list, const char *command)
{
    char *copy = strdup(command), *rest = NULL;
    if (!copy) list->failed = true;
    for (char *word = copy ? strtok_r(copy, " \t", &rest) : NULL; word; word = strtok_r(NULL, " \t", &rest))
        push(list, word);
    free(copy);
}

/* ---- environment ------------------------------------------------------------------------------------------------- */

/* What a launcher around the supervisor (a batch step, an mpirun) told it about itself would make the new ranks take
 * themselves for its. */
static bool of_an_outer_launch(const char *variable, bool inside_mpi, bool direct)
{
    static const char *const always[] = {
        "PMI_",         "OMPI_COMM_WORLD_", "OMPI_UNIVERSE_SIZE=", "TARN_SUPERVISOR=",    "TARN_RUN=",
        "TARN_LAUNCH=", "TARN_RESTARTED=",  "TARN_HANG_SECONDS=",  "TARN_CLAIM_SECONDS=", "TARN_RESTART_REASON="};
    static const char *const inside[] = {"OMPI_MCA_orte_",    "OMPI_MCA_ess", "OMPI_MCA_pmix", "OMPI_FILE_LOCATION=",
                                         "OMPI_NUM_APP_CTX=", "OMPI_ARGV=",   "OMPI_COMMAND="};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (tarn_text_begins(variable, always[i])) return true;
    if (tarn_text_begins(variable, "PMIX_") && !tarn_text_begins(variable, "PMIX_MCA_")) return true;
    for (size_t i = 0; inside_mpi && i < sizeof inside / sizeof *inside; i++)
        if (tarn_text_begins(variable, inside[i])) return true;
    return direct &&
           (tarn_text_begins(variable, "SLURM_PROCID=") || tarn_text_begins(variable, "SLURM_STEP_NUM_TASKS="));
}

/* A setting of Open MPI, under the name of version 4 and of version 5; the user's own stands. */
static void set_mpi(strings *list, const char *name4, const char *name5, const char *value)
{
    if (!getenv(name4)) push_pair(list, name4, value);
    if (name5 && !getenv(name5)) push_pair(list, name5, value);
}

/* A host that falls silent: mpirun and its daemon there notice within 0.8 of the hang limit and end their side. The
 * daemon's own default is 8 minutes, and TCP sends no keep-alive while output is on its way: once ranks there have
 * reported that their supervisor is gone, at the hang limit, the daemon would stay until TCP gives up, a quarter of an
 * hour. */
static void set_keep_alive(strings *list, double hang)
{
    char idle[16], interval[16];
    snprintf(idle, sizeof idle, "%d", hang > 10 ? (int)(0.4 * hang) : hang > 5 ? 2 : 1);
    snprintf(interval, sizeof interval, "%d", hang > 20 ? (int)(0.1 * hang) : 1);
    set_mpi(list, "OMPI_MCA_oob_tcp_keepalive_time", "PRTE_MCA_oob_tcp_keepalive_time", idle);
    set_mpi(list, "OMPI_MCA_oob_tcp_keepalive_intvl", "PRTE_MCA_oob_tcp_keepalive_intvl", interval);
    set_mpi(list, "OMPI_MCA_oob_tcp_keepalive_probes", "PRTE_MCA_oob_tcp_keepalive_probes", hang > 5 ? "4" : "3");
}

static void make_environment(strings *list, const tarn_run_request *request, const tarn_job_setup *setup,
                             const tarn_workspace *workspace, bool direct)
{
    bool inside_mpi = getenv("OMPI_COMM_WORLD_SIZE") != NULL;
    for (char **at = environ; *at; at++)
        if (!of_an_outer_launch(*at, inside_mpi, direct)) push(list, *at);
    char seconds[32], launch[16];
    snprintf(launch, sizeof launch, "%d", setup->launch);
    push_pair(list, "TARN_LAUNCH", launch);
    snprintf(seconds, sizeof seconds, "%g", request->hang);
    push_pair(list, "TARN_SUPERVISOR", setup->address);
    push_pair(list, "TARN_RUN", workspace->name);
    if (request->hang > 0) push_pair(list, "TARN_HANG_SECONDS", seconds);
    push_pair(list, "TARN_CLAIM_SECONDS", CLAIM_SECONDS);
    if (setup->restarted) push_pair(list, "TARN_RESTARTED", "1");
    if (setup->reason) push_pair(list, "TARN_RESTART_REASON", setup->reason);
    if (direct) return;
    if (!getuid()) {
        /* Open MPI refuses to run as root unless told twice; in containers there is nobody else. */
        set_mpi(list, "OMPI_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT", "1");
        set_mpi(list, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    /* Other hosts have the same folders, made by their probe; hosts of a batch system have not, and Open MPI makes only
     * the first of the two itself. */
    set_mpi(list, "OMPI_MCA_orte_tmpdir_base", "PRTE_MCA_prte_tmpdir_base", workspace->sessions);
    if (workspace->segments[0] && (setup->hosts || !setup->remote))
        set_mpi(list, "OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory", workspace->segments);
    /* mpirun waits a second between the SIGTERM and the SIGKILL of the ranks it ends. They are ended only when the
     * launch is lost, and then every second counts. */
    set_mpi(list, "OMPI_MCA_odls_base_sigkill_timeout", "PRTE_MCA_odls_base_sigkill_timeout", "0");
    if (setup->ranks > sysconf(_SC_NPROCESSORS_ONLN)) set_mpi(list, "OMPI_MCA_mpi_yield_when_idle", NULL, "1");
    if (setup->remote && request->hang > 0) set_keep_alive(list, request->hang);
    if (request->agent) set_mpi(list, "OMPI_MCA_plm_rsh_agent", "PRTE_MCA_plm_ssh_agent", request->agent);
}

static void make_arguments(strings *list, const tarn_run_request *request, const tarn_job_setup *setup,
                           const strings *environment, bool direct)
{
    if (!direct) {
        char number[16];
        snprintf(number, sizeof number, "%d", setup->ranks);
        push_words(list, request->mpirun);
        push(list, "--oversubscribe");
        push(list, "--bind-to");
        push(list, "none");
        push(list, "-n");
        push(list, number);
        if (setup->hosts) {
            push(list, "--map-by");
            push(list, "slot");
            push(list, "--host");
            push(list, setup->hosts);
        }
        /* mpirun takes only its own settings to other hosts: what is Tarn's goes with -x. */
        for (size_t i = 0; i < environment->count; i++) {
            if (!tarn_text_begins(environment->item[i], "TARN_")) continue;
            char name[256];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(environment->item[i], "="), environment->item[i]);
            push(list, "-x");
            push(list, name);
        }
        for (const char *const *option = request->mpi_options; option && *option; option++) push_words(list, *option);
    }
    for (char *const *word = setup->instead ? setup->instead : request->program; *word; word++) push(list, *word);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

bool tarn_program_exists(const char *name)
{
    struct stat info;
    if (strchr(name, '/')) return !access(name, X_OK) && !stat(name, &info) && S_ISREG(info.st_mode);
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; *at;) {
        size_t length = strcspn(at, ":");
        char file[4096];
        snprintf(file, sizeof file, "%.*s/%s", (int)length, at, name);
        if (!access(file, X_OK) && !stat(file, &info) && S_ISREG(info.st_mode)) return true;
        at += length;
        if (*at == ':') at++;
    }
    return false;
}

/* fork and exec. The child dies with its parent, leads a group, and begins with signals as they are at a login; with
 * SIGTERM blocked where it `keeps` on: a batch system or an init that ends a job sends SIGTERM to every process of it,
 * and mpirun would answer by killing the ranks in the middle of their last checkpoint (Open MPI gives the ranks
 * themselves an empty mask). The errno of exec comes back through a pipe that a successful exec closes; `error` NULL:
 * that is not waited for, as the program may lie on a disk that stands still, and the child's exit code says it. Only
 * async-signal-safe calls after fork. */
static pid_t spawn(char *const *arguments, char *const *environment, bool silent, bool keeps, int *error)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC)) {
        if (error) *error = errno;
        return -1;
    }
    pid_t parent = getpid(), pid = fork();
    if (!pid) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(127);
        struct sigaction usual = {.sa_handler = SIG_DFL};
        for (int number = 1; number < NSIG; number++) sigaction(number, &usual, NULL);
        sigset_t blocked;
        sigemptyset(&blocked);
        if (keeps) sigaddset(&blocked, SIGTERM);
        sigprocmask(SIG_SETMASK, &blocked, NULL);
        int nothing = open("/dev/null", O_RDWR);
        if (nothing >= 0) {
            dup2(nothing, STDIN_FILENO);
            if (silent) dup2(nothing, STDOUT_FILENO);
            if (silent) dup2(nothing, STDERR_FILENO);
            if (nothing > STDERR_FILENO) close(nothing);
        }
        execvpe(arguments[0], arguments, environment);
        int failed = errno;
        (void)!write(report[1], &failed, sizeof failed);
        _exit(127);
    }
    int forked = errno;
    close(report[1]);
    if (pid > 0) setpgid(pid, pid); /* whoever kills the group now finds it */
    if (!error) {
        close(report[0]);
        return pid;
    }
    *error = pid < 0 ? forked : 0;
    int failed;
    ssize_t got;
    while (pid > 0 && (got = read(report[0], &failed, sizeof failed)) < 0 && errno == EINTR) continue;
    if (pid > 0 && got == (ssize_t)sizeof failed) {
        *error = failed;
        waitpid(pid, NULL, 0);
        pid = -1;
    }
    close(report[0]);
    return pid;
}

int tarn_job_start(tarn_job *job, const tarn_run_request *request, const tarn_job_setup *setup,
                   const tarn_workspace *workspace)
{
    bool direct = setup->ranks == 1 && !setup->hosts;
    *job = (tarn_job){.direct = direct, .remote = setup->remote};
    strings arguments = {0}, environment = {0};
    make_environment(&environment, request, setup, workspace, direct);
    make_arguments(&arguments, request, setup, &environment, direct);
    int error = ENOMEM;
    if (!arguments.failed && !environment.failed) {
        pid_t pid = spawn(arguments.item, environment.item, setup->instead != NULL, !direct, &error);
        if (pid > 0) job->pid = pid;
    }
    free_strings(&arguments);
    free_strings(&environment);
    return error;
}

pid_t tarn_agent_start(const char *agent, const char *host, const char *command)
{
    strings arguments = {0};
    push_words(&arguments, agent ? agent : "ssh -x -o BatchMode=yes");
    push(&arguments, host);
    push(&arguments, command);
    pid_t pid = arguments.failed ? -1 : spawn(arguments.item, environ, true, false, NULL);
    free_strings(&arguments);
    return pid;
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

pid_t tarn_job_reap(tarn_job *job, int *status)
{
    pid_t pid = waitpid(-1, status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid <= 0) return 0;
    if (pid != job->pid || job->ended) return pid;
    if (WIFSTOPPED(*status)) {
        job->stopped_since = tarn_seconds();
    } else if (WIFCONTINUED(*status)) {
        job->stopped_since = 0;
    } else {
        job->ended = true;
        job->status = *status;
    }
    return pid;
}

void tarn_job_kill(tarn_job *job, const char *token)
{
    double begin = tarn_seconds(), warned = 0;
    for (;;) {
        /* Ranks first: mpirun that is alive then knows how they ended, and leaves by itself. */
        int left = tarn_kill_named(token), status;
        if (job->pid && !job->ended) kill(-job->pid, SIGKILL);
        while (tarn_job_reap(job, &status)) continue;
        if (!left && (!job->pid || job->ended)) return;
        double now = tarn_seconds();
        if (now - begin > KILL_SECONDS && !warned) {
            warned = now;
            tarn_voice_say("%d killed process%s of the launch not gone after %.0f s; waiting", left,
                           left == 1 ? " is" : "es are", now - begin);
        }
        if (now - begin > 6 * KILL_SECONDS) return;
        tarn_sleep(0.005);
    }
}
