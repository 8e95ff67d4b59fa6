/* command_track.c - `tarn track ls|show|ui|push|alias`: looking at records, publishing what a node without network
 * recorded, moving aliases of the model registry.
 */
#include "launch/command.h"
#include "launch/track/track.h"
#include "runtime/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct action {
    const char *name;
    int (*run)(const tarn_track_arguments *arguments);
    int least, most; /* words */
    const char *words, *options, *help;
} actions[] = {
    {"ls", tarn_track_ls, 0, 1, "[STORE|DIR]", "|--json|",
     "the runs of a file store, or of a directory of spools or of checkpoints: id, name, experiment, status, start, "
     "steps, last loss"},
    {"show", tarn_track_show, 1, 1, "RUN", "|--json|--store|",
     "parameters, last metrics, tags, data sets, models and artifacts of a run: its id or name (or their beginning), "
     "its folder in a store or spool, or the directory of its checkpoints"},
    {"ui", tarn_track_ui, 0, 1, "[STORE]", "|", "what to run to look at the runs in MLflow's pages"},
    {"push", tarn_track_push, 1, 1, "DIR", "|--store|--experiment|--name|--tensorboard|--wandb|--wait|",
     "publishes what was recorded and not yet published: DIR is the spool of a run, a directory of them, or of "
     "checkpoints. What is "
     "there already is not sent again"},
    {"alias", tarn_track_alias, 3, 3, "NAME ALIAS VERSION", "|--store|",
     "lets an alias (champion) of a registered model point at a version"},
};
enum { ACTIONS = sizeof actions / sizeof *actions };

static void usage(FILE *out)
{
    fprintf(out, "usage: tarn track ACTION ...\n\n");
    for (int i = 0; i < ACTIONS; i++)
        fprintf(out, "  %s %s\n      %s\n", actions[i].name, actions[i].words, actions[i].help);
    fprintf(
        out,
        "\noptions:\n"
        "  --store STORE     (show, push, alias) a directory, file:..., or http(s)://..., as track.store\n"
        "  --json            (ls, show) for programs, and long values whole\n"
        "  --experiment E    (push) instead of the one that was recorded; --name N likewise\n"
        "  --tensorboard DIR, --wandb DIR    (push) to these as well\n"
        "  --wait SECONDS    (push) for a server that does not answer [10]\n\n"
        "Where no store is given it is MLFLOW_TRACKING_URI, else mlruns. Exit code 2: a wrong call, 1: it failed.\n\n"
        "examples:\n"
        "  tarn track ls\n"
        "  tarn track show 3f2a\n"
        "  MLFLOW_TRACKING_URI=http://mlflow:5000 tarn track push runs/shakespeare/spool\n"
        "  tarn track alias shakespeare champion 3\n");
}

void tarn_track_say(const char *action, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "tarn track%s%s: ", action ? " " : "", action ? action : "");
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

bool tarn_track_where(const char *action, const char *text, tarn_track_place *place, tarn_path store)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_track_resolved resolved;
    if (tarn_track_resolve(&resolved, &(tarn_track_options){.store = text}, false, problem)) {
        tarn_track_say(action, "%s", problem);
        return false;
    }
    *place = resolved.place;
    memcpy(store, resolved.store, sizeof(tarn_path));
    if (*place != TARN_TRACK_NOWHERE) return true;
    tarn_track_say(action, "the store \"none\" holds nothing: give a directory, or the address of a server");
    return false;
}

void tarn_track_time_text(int64_t time_ms, char out[32])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    if (!time_ms || !localtime_r(&seconds, &parts))
        snprintf(out, 32, "-");
    else
        strftime(out, 32, "%Y-%m-%d %H:%M:%S", &parts);
}

void tarn_track_print(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        putchar(*at == '\n' ? ' ' : *at < 32 || *at == 127 ? '?' : *at);
}

/* Puts the value of an option in its place; false: wrong, and told. */
static bool take_option(const struct action *action, tarn_track_arguments *out, const char *option, const char *value,
                        bool *took)
{
    const struct {
        const char *name;
        const char **place;
    } texts[] = {{"--store", &out->store},
                 {"--experiment", &out->experiment},
                 {"--name", &out->name},
                 {"--tensorboard", &out->tensorboard},
                 {"--wandb", &out->wandb}};
    char wanted[64], nearest[64];
    *took = true;
    snprintf(wanted, sizeof wanted, "|%.50s|", option);
    if (!strstr(action->options, wanted)) {
        bool near = action->options[1] &&
                    tarn_config_suggest_choice(action->options + 1, option, nearest, sizeof nearest) && *nearest;
        tarn_track_say(action->name, "there is no option %s%s%s%s", option, near ? "; did you mean " : "",
                       near ? nearest : "", near ? "?" : "");
        return false;
    }
    if (!strcmp(option, "--json")) {
        out->json = true;
        *took = false;
        return true;
    }
    if (!value) {
        tarn_track_say(action->name, "%s needs a value", option);
        return false;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(option, texts[i].name)) *texts[i].place = value;
    if (!strcmp(option, "--wait")) {
        char *end;
        out->wait = strtod(value, &end);
        if (!isdigit((unsigned char)*value) || *end || !(out->wait < 1e9)) {
            tarn_track_say(action->name, "--wait %s: expected seconds", value);
            return false;
        }
    }
    return true;
}

static bool parse(const struct action *action, int argc, char **argv, tarn_track_arguments *out)
{
    *out = (tarn_track_arguments){.wait = 10};
    for (int i = 2; i < argc; i++) {
        bool took;
        if (!strncmp(argv[i], "--", 2)) {
            if (!take_option(action, out, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &took)) return false;
            i += took;
        } else if (out->words == action->most) {
            tarn_track_say(action->name, "\"%s\" is one word too many: tarn track %s %s", argv[i], action->name,
                           action->words);
            return false;
        } else
            out->word[out->words++] = argv[i];
    }
    if (out->words >= action->least) return true;
    tarn_track_say(action->name, "something is missing: tarn track %s %s", action->name, action->words);
    return false;
}

int tarn_command_track(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            usage(stdout);
            return 0;
        }
    char names[64] = "", nearest[64];
    for (int i = 0; argc > 1 && i < ACTIONS; i++) {
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? "|" : "", actions[i].name);
        if (strcmp(argv[1], actions[i].name)) continue;
        tarn_track_arguments arguments;
        if (!parse(&actions[i], argc, argv, &arguments)) return TARN_TRACK_WRONG;
        int code = actions[i].run(&arguments);
        if (fflush(stdout) && code == TARN_TRACK_FINE) {
            tarn_track_say(actions[i].name, "writing to stdout: %s", strerror(errno));
            return TARN_TRACK_FAILED;
        }
        return code;
    }
    if (argc > 1) {
        bool near = tarn_config_suggest_choice(names, argv[1], nearest, sizeof nearest);
        tarn_track_say(NULL, "there is no action \"%s\"%s%s%s", argv[1], near ? "; did you mean " : "",
                       near ? nearest : "", near ? "?" : "");
        fputc('\n', stderr);
    }
    usage(stderr);
    return TARN_TRACK_WRONG;
}
