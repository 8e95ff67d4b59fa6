/* case_mlflow.c - a process that sends a run to an MLflow server, and may be killed while it does.
 *
 * usage: case_mlflow ADDRESS STATE COUNT: a start, 150 params, COUNT metrics of four keys, tags in between, an end. How
 * many events are acknowledged is kept in STATE/acknowledged, as a drain keeps it; a second process goes on from there.
 */
#include "track/mlflow/mlflow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AT_ONCE = 700 };

static tarn_track_event make(int64_t number, int64_t count, char key[32], char text[32])
{
    static const char *const keys[] = {"train.loss", "train.lr", "validation.loss", "system/cpu"};
    tarn_track_event event = {.key = key, .text = text, .time_ms = INT64_C(1795400000000) + number};
    if (number == 0) {
        event.kind = TARN_TRACK_BEGIN;
        event.text = "{\"experiment\":\"killed\",\"name\":\"killed\",\"user\":\"mo\"}";
    } else if (number <= 150) {
        event.kind = TARN_TRACK_PARAM;
        sprintf(key, "p%d", (int)number);
        sprintf(text, "%d", (int)number * 7);
    } else if (number == count + 151) {
        event.kind = TARN_TRACK_END;
        event.text = "FINISHED";
    } else if (number % 1000 == 999) {
        event.kind = TARN_TRACK_TAG;
        strcpy(key, "progress");
        sprintf(text, "%d", (int)number);
    } else {
        event.kind = TARN_TRACK_METRIC;
        strcpy(key, keys[number % 4]);
        event.step = number / 4;
        event.value = 1.0 / (double)number;
    }
    return event;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    char path[4096], next[4096], problem[TARN_SINK_PROBLEM], notice[TARN_SINK_PROBLEM];
    static char keys[AT_ONCE][32], texts[AT_ONCE][32];
    static tarn_track_event events[AT_ONCE];
    snprintf(path, sizeof path, "%s/acknowledged", argv[2]);
    snprintf(next, sizeof next, "%s/.acknowledged", argv[2]);
    int64_t count = atoll(argv[3]), total = count + 152, done = 0;
    long long stored;
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lld", &stored) == 1) done = stored;
    if (file) fclose(file);
    tarn_sink *sink;
    if (tarn_mlflow_sink_open(&sink, &(tarn_track_options){.store = argv[1]},
                              &(tarn_sink_run){.run_id = "abcdefabcdefabcdefabcdefabcdefab",
                                               .experiment = "killed",
                                               .state = argv[2],
                                               .resumed = done},
                              notice, problem)) {
        printf("%s\n", problem);
        return 1;
    }
    for (int idle = 0; done < total && idle < 900;) {
        int64_t most = total - done < AT_ONCE ? total - done : AT_ONCE;
        for (int64_t i = 0; i < most; i++) events[i] = make(done + i, count, keys[i], texts[i]);
        tarn_sink_report report;
        sink->write(sink, events, most, &report);
        done += report.taken;
        idle = report.taken ? 0 : idle + 1;
        printf("%lld of %lld, lost %lld %s\n", (long long)done, (long long)total, (long long)report.lost,
               report.problem);
        fflush(stdout);
        if ((file = fopen(next, "w"))) {
            fprintf(file, "%lld\n", (long long)done);
            fclose(file);
            rename(next, path);
        }
        if (!report.taken) nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    sink->destroy(sink);
    return done == total ? 0 : 1;
}
