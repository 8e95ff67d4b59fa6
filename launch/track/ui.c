/* ui.c - `tarn track ui`: what to run to look at the runs. It starts nothing: whose machine listens where is the
 * user's business. */
#include "launch/track/track.h"
#include "track/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A word of a shell: quoted where it has to be. */
static void print_word(const char *word)
{
    if (word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,")] == '\0' &&
        *word) {
        fputs(word, stdout);
        return;
    }
    putchar('\'');
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*word);
    putchar('\'');
}

static void print_command(const char *before, const char *path, const char *after, const char *target)
{
    printf("  %s", before);
    print_word(path);
    fputs(after, stdout);
    if (target) print_word(target);
    putchar('\n');
}

static int print_store(const char *store)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_run_head *heads;
    int count;
    tarn_path database, target;
    if (access(store, F_OK)) {
        tarn_track_say("ui",
                       "there is no file store \"%s\": `tarn train` makes it where it is started; name another "
                       "directory (tarn track ui STORE), or set MLFLOW_TRACKING_URI to the address of a server",
                       store);
        return TARN_TRACK_WRONG;
    }
    if (tarn_run_list(&heads, &count, store, problem)) {
        tarn_track_say("ui", "%s", problem);
        return TARN_TRACK_WRONG;
    }
    tarn_run_heads_free(heads, count);
    tarn_path absolute;
    if (!realpath(store, absolute)) snprintf(absolute, sizeof absolute, "%s", store);
    const char *slash = strrchr(absolute, '/');
    if (tarn_path_make(database, "%.*s/mlflow.db", (int)(slash - absolute), absolute) ||
        tarn_path_make(target, "sqlite:///%s", database))
        return TARN_TRACK_FAILED;
    printf("%d run%s in the file store %s. To look at them in MLflow's pages:\n\n", count, count == 1 ? "" : "s",
           absolute);
    print_command("MLFLOW_ALLOW_FILE_STORE=true mlflow server --port 5000 --backend-store-uri ", absolute, "", NULL);
    printf("\nand open http://127.0.0.1:5000. MLflow before 3.13 needs no MLFLOW_ALLOW_FILE_STORE. Later ones would "
           "rather\n"
           "have a database; this makes one of the store, and leaves the store as it is (the files of runs and models "
           "stay\n"
           "where they are, so keep it):\n\n");
    if (!access(database, F_OK)) printf("  # %s exists: migrate-filestore asks before it replaces it\n", database);
    print_command("mlflow migrate-filestore --source ", absolute, " --target ", target);
    print_command("mlflow server --port 5000 --backend-store-uri ", target, "", NULL);
    printf("\nWithout MLflow: tarn track ls, tarn track show RUN, tarn report RUN -o report.html\n");
    return TARN_TRACK_FINE;
}

int tarn_track_ui(const tarn_track_arguments *arguments)
{
    tarn_track_place place;
    tarn_path store;
    if (!tarn_track_where("ui", arguments->word[0], &place, store)) return TARN_TRACK_WRONG;
    if (place == TARN_TRACK_FILES) return print_store(store);
    printf("The runs are on an MLflow server. Open in a browser:\n\n  %s/#/experiments\n  %s/#/models\n", store, store);
    return TARN_TRACK_FINE;
}
