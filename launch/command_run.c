/* command_run.c - tarn run: the arguments of the supervisor (launch/supervisor). */
#include "launch/command.h"
#include "launch/supervisor/supervisor.h"
#include "runtime/config/config.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRONG = 2, MOST_RANKS = 100000 };

static void print_help(void)
{
    printf(
        "usage: tarn run [options] -- PROGRAM [ARGUMENT ...]\n\n"
        "Starts PROGRAM on its ranks (with mpirun), watches it, and starts it again after any failure until it has\n"
        "finished. A program that keeps checkpoints, such as tarn train, goes on from the last one.\n\n"
        "  -n N                 ranks [1, or all slots of the hosts]\n"
        "  --host A:2,B:2       hosts and their slots\n"
        "  -hostfile FILE       hosts, a line each: NAME slots=N (read anew at every start)\n"
        "  --rsh-agent COMMAND  how to reach other hosts: COMMAND HOST COMMAND-LINE [ssh]\n"
        "  --min-ranks M        go on with as few as M ranks when hosts are gone, wait below that [1]\n"
        "  --regrow SECONDS     how often to look for hosts that came back, 0: never [60]\n"
        "  --max-restarts K     give up after K restarts [no limit]\n"
        "  --max-stalled K      give up after K restarts in a row without a step beyond the highest ever reached, 0: "
        "never [3]\n"
        "  --backoff SECONDS    wait before the first restart; doubles without progress, up to a minute [0.25]\n"
        "  --hang SECONDS       a rank without a sign of life or of work for so long hangs, 0: never [60]\n"
        "  --start-timeout SECONDS  all ranks must have joined by then, 0: no limit [300]; a program without Tarn, of "
        "which none\n"
        "                       does, goes on, watched only by its exit code\n"
        "  --grace SECONDS      time for the last checkpoint after a stop [120]\n"
        "  --status FILE        the status file [supervisor.json in the checkpoint directory]\n"
        "  --mpirun COMMAND     [mpirun]\n"
        "  --mpi-option OPTION  one more option of mpirun, with its value; may be repeated\n\n"
        "SIGTERM, SIGINT, SIGHUP and SIGUSR1 to tarn run save a last checkpoint and end the run with 75: start it "
        "again "
        "with the\n"
        "same command to go on. A second SIGINT kills the ranks. Exit codes: 0 finished, 75 stopped and to be "
        "resumed,\n"
        "2 what was written is wrong (the program ended with 2 before its first step), 1 gave up, saying why.\n\n"
        "examples:\n"
        "  tarn run -n 4 -- tarn train run.yaml\n"
        "  tarn run -n 2 --max-restarts 10 --hang 120 -- ./my_program --data corpus.txt\n"
        "  tarn run -hostfile hosts.txt --min-ranks 4 -- tarn train run.yaml train.steps=20000\n"
        "  tarn run -n 8 --mpi-option '--mca btl_tcp_if_include eth0' --host a:4,b:4 -- tarn train run.yaml\n");
}

static int wrong(const char *option, const char *problem, const char *more)
{
    fprintf(stderr, "tarn run: %s%s%s%s; see tarn run --help\n", option, *option ? ": " : "", problem, more);
    return WRONG;
}

static bool integer(const char *text, int least, int *out)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < least || value > MOST_RANKS) return false;
    *out = (int)value;
    return true;
}

static bool seconds(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0) || isinf(value)) return false;
    *out = value;
    return true;
}

/* One option with its value; false: the value is wrong; *known false: no such option. */
static bool take_option(tarn_run_request *request, const char **mpi_options, int *mpi_count, const char *option,
                        const char *value, bool *known)
{
    const struct {
        const char *name;
        int *integer, least;
        double *seconds;
        const char **text;
    } options[] = {
        {"-n", &request->ranks, 1, NULL, NULL},
        {"-np", &request->ranks, 1, NULL, NULL},
        {"--max-restarts", &request->max_restarts, 0, NULL, NULL},
        {"--max-stalled", &request->max_stalled, 0, NULL, NULL},
        {"--min-ranks", &request->min_ranks, 1, NULL, NULL},
        {"--hang", NULL, 0, &request->hang, NULL},
        {"--start-timeout", NULL, 0, &request->start_limit, NULL},
        {"--grace", NULL, 0, &request->grace, NULL},
        {"--backoff", NULL, 0, &request->backoff, NULL},
        {"--regrow", NULL, 0, &request->regrow, NULL},
        {"-hostfile", NULL, 0, NULL, &request->hostfile},
        {"--hostfile", NULL, 0, NULL, &request->hostfile},
        {"--host", NULL, 0, NULL, &request->hosts},
        {"--rsh-agent", NULL, 0, NULL, &request->agent},
        {"--status", NULL, 0, NULL, &request->status},
        {"--mpirun", NULL, 0, NULL, &request->mpirun},
    };
    *known = true;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(option, options[i].name)) continue;
        if (options[i].integer) return integer(value, options[i].least, options[i].integer);
        if (options[i].seconds) return seconds(value, options[i].seconds);
        *options[i].text = value;
        return *value;
    }
    *known = !strcmp(option, "--mpi-option");
    if (*known) mpi_options[(*mpi_count)++] = value;
    return *known;
}

static int wrong_option(const char *option)
{
    static const char names[] = "-n|--host|-hostfile|--hostfile|--rsh-agent|--min-ranks|--regrow|--max-restarts|"
                                "--max-stalled|--backoff|--hang|--start-timeout|--grace|--status|--mpirun|--mpi-option";
    char nearest[32], more[64] = "";
    if (tarn_config_suggest_choice(names, option, nearest, sizeof nearest))
        snprintf(more, sizeof more, "; did you mean %s?", nearest);
    return wrong(option, "no such option", more);
}

static int parse(tarn_run_request *request, const char **mpi_options, int argc, char **argv)
{
    int mpi_count = 0, i = 1;
    for (; i < argc && strcmp(argv[i], "--"); i++) {
        const char *option = argv[i];
        if (option[0] != '-') break; /* the program, without -- */
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool known = false, good = take_option(request, mpi_options, &mpi_count, option, value ? value : "", &known);
        if (!known) return wrong_option(option);
        if (!value) return wrong(option, "its value is missing", "");
        if (!good) return wrong(option, value, " is no value for it");
        i++;
    }
    if (i < argc && !strcmp(argv[i], "--")) i++;
    if (i >= argc) return wrong("", "what is to be run is missing", ": tarn run -n 2 -- tarn train run.yaml");
    if (request->hosts && request->hostfile) return wrong("", "give one of --host and -hostfile", "");
    request->program = argv + i;
    return 0;
}

int tarn_command_run(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
    const char **mpi_options = calloc((size_t)argc + 1, sizeof *mpi_options);
    if (!mpi_options) return 1;
    tarn_run_request request = {.max_restarts = -1,
                                .max_stalled = 3,
                                .min_ranks = 1,
                                .hang = 60,
                                .start_limit = 300,
                                .grace = 120,
                                .backoff = 0.25,
                                .regrow = 60,
                                .mpirun = "mpirun",
                                .mpi_options = mpi_options};
    int code = parse(&request, mpi_options, argc, argv);
    if (!code) code = tarn_supervise(&request);
    free(mpi_options);
    return code;
}
