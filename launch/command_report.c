/* command_report.c - `tarn report RUN...`: a page that shows runs. Reads only; a run may be going on meanwhile. */
#include "launch/command.h"
#include "launch/report/find.h"
#include "launch/report/report.h"
#include "runtime/base/write.h"
#include "track/address.h"
#include "track/environment.h"
#include "track/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(FILE *out)
{
    fputs(
        "usage: tarn report RUN [RUN ...] [-o FILE] [--store DIR]\n\n"
        "Writes one page (HTML) that shows runs: curves, configuration, restarts, and a comparison of several. It is\n"
        "complete in itself: open it without network, send it as it is.\n\n"
        "RUN is one of\n"
        "  a run's id or name, or the beginning of one, in the file store (of several runs of a name: the newest)\n"
        "  the path of a run's folder in a file store, or of a spool\n"
        "  a directory of checkpoints: the run that wrote them\n\n"
        "  -o FILE      the page [report.html]; - is stdout\n"
        "  --store DIR  the file store [MLFLOW_TRACKING_URI where that is one, else mlruns]\n\n"
        "examples:\n"
        "  tarn report runs/shakespeare\n"
        "  tarn report lr-0.001 lr-0.01 lr-0.03 -o learning-rates.html\n",
        out);
}

typedef struct arguments {
    const char *out, *store;
    const char **runs;
    int count;
} arguments;

static tarn_status parse(arguments *arguments, tarn_context *context, int argc, char **argv)
{
    *arguments = (struct arguments){.out = "report.html"};
    arguments->runs = calloc((size_t)argc, sizeof *arguments->runs);
    if (!arguments->runs) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "report: out of memory");
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char **value = NULL;
        if (options && !strcmp(word, "-o")) value = &arguments->out;
        if (options && !strcmp(word, "--store")) value = &arguments->store;
        if (options && !strcmp(word, "--"))
            options = false;
        else if (value && i + 1 < argc)
            *value = argv[++i];
        else if (value)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn report: %s needs a value", word);
        else if (options && word[0] == '-')
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "tarn report does not know the option %s: see tarn report --help", word);
        else
            arguments->runs[arguments->count++] = word;
    }
    if (!*arguments->out)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn report: -o needs the name of a file");
    return TARN_OK;
}

/* Where names of runs are looked up; an empty path: on a server, which is none of our sources. */
static tarn_status find_store(tarn_path path, tarn_context *context, const char *store)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_track_place place;
    const char *named = store ? store : getenv("MLFLOW_TRACKING_URI");
    tarn_status status = tarn_track_address(named && *named ? named : "mlruns", &place, path, problem);
    if (status) return tarn_fail(context, status, TARN_HERE, "tarn report: %s", problem);
    if (place == TARN_TRACK_FILES) return TARN_OK;
    path[0] = '\0';
    if (!store) return TARN_OK; /* runs may be named by their folders */
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "tarn report: --store %s is no file store: give a directory, or the folders of spools as runs",
                     store);
}

/* Nobody named a run: says which there are. */
static tarn_status fail_without_runs(tarn_context *context, const char *store)
{
    tarn_run_head *heads;
    int count;
    char problem[TARN_SINK_PROBLEM], names[512] = "";
    if (!*store || tarn_run_list(&heads, &count, store, problem))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn report needs a run: see tarn report --help");
    size_t used = 0;
    for (int i = 0; i < count && i < 8; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.40s", i ? ", " : "", heads[i].name);
    tarn_run_heads_free(heads, count);
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn report needs a run%s%s%s: see tarn report --help",
                     count ? "; the newest are: " : ": the store holds none", names, count > 8 ? ", ..." : "");
}

static tarn_status read_runs(tarn_run_view **views, int *count, tarn_context *context, const arguments *arguments,
                             const char *store)
{
    for (int i = 0; i < arguments->count; i++) {
        tarn_run_head head;
        char problem[TARN_SINK_PROBLEM];
        tarn_status status = tarn_report_find(&head, context, store, arguments->store, arguments->runs[i]);
        if (status) return status;
        bool twice = false;
        for (int k = 0; k < *count; k++) twice |= !strcmp(views[k]->head.folder, head.folder);
        int failed = twice ? 0 : tarn_run_read(&views[*count], &head, TARN_RUN_GROUPS, problem);
        tarn_run_head_free(&head);
        if (failed) return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "tarn report: %s", problem);
        if (!twice) ++*count;
    }
    return TARN_OK;
}

/* The whole page or what was there before. */
static tarn_status put(tarn_context *context, const char *path, const char *text, size_t length)
{
    if (!strcmp(path, "-")) {
        if (tarn_write_all(STDOUT_FILENO, text, length)) return TARN_OK;
        return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "tarn report: writing to stdout: %s", strerror(errno));
    }
    tarn_path temporary;
    if (!tarn_path_make(temporary, "%s.tmp-%ld", path, (long)getpid()) && !tarn_file_put(path, temporary, text, length))
        return TARN_OK;
    return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "tarn report: writing %s: %s; choose another place with -o",
                     path, strerror(errno));
}

static tarn_status report(tarn_context *context, const arguments *arguments)
{
    tarn_path store;
    tarn_status status = find_store(store, context, arguments->store);
    if (status) return status;
    if (!arguments->count) return fail_without_runs(context, store);
    if (arguments->count > TARN_REPORT_MOST_RUNS)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn report: %d runs; a page shows %d at most",
                         arguments->count, TARN_REPORT_MOST_RUNS);
    tarn_run_view *views[TARN_REPORT_MOST_RUNS] = {NULL};
    int count = 0;
    tarn_report made = {0};
    char *page = NULL;
    size_t length = 0;
    status = read_runs(views, &count, context, arguments, store);
    if (!status && (!tarn_report_arrange(&made, views, count, tarn_environment_time_ms()) ||
                    !(page = tarn_report_page(&made, &length))))
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "tarn report: out of memory while making the page");
    if (!status) status = put(context, arguments->out, page, length);
    if (!status && strcmp(arguments->out, "-"))
        printf("%s: %d run%s, %.0f kB\n", arguments->out, count, count == 1 ? "" : "s", (double)length / 1e3);
    free(page);
    tarn_report_close(&made);
    for (int i = 0; i < count; i++) tarn_run_view_free(views[i]);
    return status;
}

int tarn_command_report(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            usage(stdout);
            return 0;
        }
    tarn_context *context;
    arguments arguments = {0};
    /* Under mpirun the others only come along. */
    if (!tarn_init(&context, NULL, NULL) && tarn_rank(context) == 0 && !parse(&arguments, context, argc, argv))
        report(context, &arguments);
    free(arguments.runs);
    return tarn_exit(context);
}
