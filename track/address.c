/* address.c - where the record goes. */
#include "track/address.h"
#include "track/environment.h"
#include "runtime/config/document.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SPOOL_LIMIT   (INT64_C(1) << 30)
#define FLUSH_TIMEOUT 10.0

/* Copies with %XX decoded; false: a wrong escape, or a zero byte. */
static bool decode(char *out, const char *in)
{
    for (; *in; in++) {
        unsigned value = (unsigned char)*in;
        if (*in == '%') {
            if (!isxdigit((unsigned char)in[1]) || !isxdigit((unsigned char)in[2])) return false;
            value = (unsigned)strtoul((char[]){in[1], in[2], 0}, NULL, 16);
            if (!value) return false;
            in += 2;
        }
        *out++ = (char)value;
    }
    *out = '\0';
    return true;
}

static tarn_status refuse(const char *store, const char *why, char problem[TARN_SINK_PROBLEM])
{
    char shown[201];
    snprintf(shown, sizeof shown, "%.200s", store);
    tarn_environment_hide_logins(shown);
    snprintf(problem, TARN_SINK_PROBLEM,
             "the tracking store \"%s\" %s: give a directory such as mlruns, or the address of a server such as "
             "http://127.0.0.1:5000, with track.store or MLFLOW_TRACKING_URI",
             shown, why);
    return TARN_ERROR_CONFIG;
}

/* The path in file:PATH. */
static tarn_status read_file_address(const char *store, tarn_path text, char problem[TARN_SINK_PROBLEM])
{
    const char *path = store + 5;
    if (!strncmp(path, "//", 2)) {
        path += 2;
        if (!strncasecmp(path, "localhost/", 10)) path += 9;
        if (*path != '/')
            return refuse(store, "names a host in a file: address (file:///path has three slashes)", problem);
    }
    if (!*path) return refuse(store, "names no directory", problem);
    if (!decode(text, path)) return refuse(store, "has a wrong %XX in it", problem);
    return TARN_OK;
}

tarn_status tarn_track_address(const char *store, tarn_track_place *place, tarn_path text,
                               char problem[TARN_SINK_PROBLEM])
{
    *place = TARN_TRACK_NOWHERE;
    text[0] = '\0';
    if (!strcmp(store, "none")) {
        strcpy(text, "none");
        return TARN_OK;
    }
    if (strlen(store) >= PATH_MAX) return refuse(store, "is too long", problem);
    if (!*store) return refuse(store, "is empty", problem);
    if (!strncasecmp(store, "http://", 7) || !strncasecmp(store, "https://", 8)) {
        const char *host = strstr(store, "://") + 3;
        size_t length = strlen(store);
        while (length && store[length - 1] == '/') length--;
        if (!host[strspn(host, "/")] || strpbrk(store, " \t\r\n")) return refuse(store, "names no host", problem);
        *place = TARN_TRACK_SERVER;
        memcpy(text, store, length);
        text[length] = '\0';
        return TARN_OK;
    }
    *place = TARN_TRACK_FILES;
    if (!strncasecmp(store, "file:", 5)) return read_file_address(store, text, problem);
    static const char *const databases[] = {"sqlite:", "postgresql", "mysql", "mssql"};
    for (size_t i = 0; i < sizeof databases / sizeof *databases; i++)
        if (!strncasecmp(store, databases[i], strlen(databases[i])) && strchr(store, ':'))
            return refuse(store,
                          "is a database, which only MLflow itself should write (start mlflow server "
                          "--backend-store-uri with it, and name that server here)",
                          problem);
    if (!strcmp(store, "databricks") || !strncmp(store, "databricks:", 11) || !strcmp(store, "databricks-uc") ||
        !strcmp(store, "uc"))
        return refuse(store, "is Databricks, whose own addresses are not known here", problem);
    if (strstr(store, "://")) return refuse(store, "has a scheme that is not known here", problem);
    strcpy(text, store);
    return TARN_OK;
}

bool tarn_track_is_run_id(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static tarn_status check_names(const tarn_track_options *options, const char *run_id, const char *experiment,
                               char problem[TARN_SINK_PROBLEM])
{
    if (*run_id && !tarn_track_is_run_id(run_id)) {
        snprintf(problem, TARN_SINK_PROBLEM, "run id \"%.100s\": expected 32 hex digits", run_id);
        return TARN_ERROR_ARGUMENT;
    }
    if (strlen(experiment) > 500) {
        snprintf(problem, TARN_SINK_PROBLEM, "the experiment's name is longer than MLflow's 500 bytes");
        return TARN_ERROR_ARGUMENT;
    }
    if (options->name && strlen(options->name) > 250) {
        snprintf(problem, TARN_SINK_PROBLEM, "the run's name is longer than 250 bytes");
        return TARN_ERROR_ARGUMENT;
    }
    if (!tarn_document_is_utf8(experiment) || (options->name && !tarn_document_is_utf8(options->name))) {
        snprintf(problem, TARN_SINK_PROBLEM, "the name of a run or of an experiment is not UTF-8");
        return TARN_ERROR_ARGUMENT;
    }
    return TARN_OK;
}

tarn_status tarn_track_resolve(tarn_track_resolved *out, const tarn_track_options *options, bool planned,
                               char problem[TARN_SINK_PROBLEM])
{
    tarn_status status = tarn_track_resolve_run(out, options, planned, problem);
    if (status || !(*out->wrong_store || *out->wrong_run_id)) return status;
    memcpy(problem, *out->wrong_store ? out->wrong_store : out->wrong_run_id, TARN_SINK_PROBLEM);
    return *out->wrong_store ? TARN_ERROR_CONFIG : TARN_ERROR_ARGUMENT;
}

/* MLFLOW_RUN_ID, when it is one. */
static const char *run_id_of_environment(char wrong[TARN_SINK_PROBLEM])
{
    const char *run_id = tarn_environment_variable("MLFLOW_RUN_ID");
    if (!run_id || tarn_track_is_run_id(run_id)) return run_id;
    snprintf(wrong, TARN_SINK_PROBLEM, "run id \"%.100s\" in MLFLOW_RUN_ID: expected 32 hex digits", run_id);
    return NULL;
}

tarn_status tarn_track_resolve_run(tarn_track_resolved *out, const tarn_track_options *options, bool planned,
                                   char problem[TARN_SINK_PROBLEM])
{
    *problem = *out->wrong_store = *out->wrong_run_id = '\0';
    out->options = *options;
    const char *store = options->store ? options->store : tarn_environment_variable("MLFLOW_TRACKING_URI");
    if (tarn_track_address(store ? store : "mlruns", &out->place, out->store, out->wrong_store)) {
        out->place = TARN_TRACK_NOWHERE;
        strcpy(out->store, "none");
    }
    out->options.store = out->store;

    const char *experiment = options->experiment && *options->experiment
                                 ? options->experiment
                                 : tarn_environment_variable("MLFLOW_EXPERIMENT_NAME");
    const char *own = options->run_id && *options->run_id ? options->run_id : NULL,
               *theirs = planned || !own ? run_id_of_environment(out->wrong_run_id) : NULL,
               *run_id = planned && theirs ? theirs
                         : own             ? own
                                           : theirs;
    tarn_status status = check_names(options, run_id ? run_id : "", experiment ? experiment : "", problem);
    if (status) return status;
    snprintf(out->experiment, sizeof out->experiment, "%s", experiment ? experiment : "Default");
    snprintf(out->run_id, sizeof out->run_id, "%s", run_id ? run_id : "");
    out->options.experiment = out->experiment;
    out->options.run_id = out->run_id;
    if (options->name && !*options->name) out->options.name = NULL;

    const char *spool = options->spool && *options->spool ? options->spool : "tarn-spool";
    tarn_path here;
    if (spool[0] == '/' ? tarn_path_make(out->spool, "%s", spool)
                        : !getcwd(here, sizeof here) || tarn_path_make(out->spool, "%s/%s", here, spool)) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot name the spool \"%.200s\": %s", spool, strerror(errno));
        return TARN_ERROR_IO;
    }
    out->options.spool = out->spool;
    if (out->options.spool_limit <= 0) out->options.spool_limit = SPOOL_LIMIT;
    if (options->flush_timeout == 0)
        out->options.flush_timeout = FLUSH_TIMEOUT;
    else if (!(options->flush_timeout > 0))
        out->options.flush_timeout = 0;
    return TARN_OK;
}
