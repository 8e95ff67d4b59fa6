/* track_outage.c - a million metrics recorded while the MLflow server is down; then it comes up: is all there, each
 * once, with its value, and how much memory did it take.
 *
 * usage: track_outage PYTHON [METRICS]   PYTHON has mlflow, and starts the server (tests/python/mlflow_server.py)
 *
 * Nothing listens at the server's port while the metrics are logged. What the server has is read from its data base.
 */
#include "runtime/base/clock.h"
#include "tests/mlflow_process.h"

#include <sys/resource.h>
#include <tarn/tarn.h>

enum { KEYS = 10 };

static tarn_test_mlflow server;

static void quit(const char *why)
{
    fprintf(stderr, "track_outage: %s\n", why);
    tarn_test_mlflow_kill(&server);
    exit(1);
}

/* The most memory this process ever held, in MiB. */
static double peak(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

/* Rows, distinct (key, step), wrong values and finished runs at the server. */
static void count(long found[4])
{
    char *output, *command = tarn_test_format(
                      "%s -c \"\nimport sqlite3\nbase = sqlite3.connect('%s/mlflow.db')\n"
                      "print(*base.execute('select count(*), count(distinct key || step), total(value != step * 0.25 + "
                      "substr(key, 2)) from metrics').fetchone(), base.execute('select count(*) from runs where status "
                      "= \\'FINISHED\\'').fetchone()[0])\n\"",
                      server.python, server.folder);
    double wrong;
    if (tarn_test_run(command, 600, &output) ||
        sscanf(output, "%ld %ld %lf %ld", &found[0], &found[1], &wrong, &found[3]) != 4)
        quit(output);
    found[2] = (long)wrong;
    free(command);
    free(output);
}

int main(int argc, char **argv)
{
    long metrics = argc > 2 ? atol(argv[2]) : 1000000;
    if (argc < 2 || metrics < KEYS || metrics % KEYS) {
        fprintf(stderr, "usage: track_outage PYTHON [METRICS, a multiple of %d]\n", KEYS);
        return 2;
    }
    server = (tarn_test_mlflow){.python = argv[1], .folder = tarn_test_directory(), .port = tarn_test_free_port()};
    if (!server.port) quit("there is no free port");
    snprintf(server.address, sizeof server.address, "http://127.0.0.1:%d", server.port);
    char *spool = tarn_test_format("%s/spool", server.folder);
    tarn_context *context;
    tarn_tracker *tracker;
    if (tarn_init(&context, NULL, NULL)) quit("tarn does not start");
    if (tarn_track_open(&tracker, context,
                        &(tarn_track_options){.store = server.address, .spool = spool, .flush_timeout = 3600}))
        quit(tarn_get_error(context)->message);
    double memory = peak(), start = tarn_seconds();
    for (long i = 0; i < metrics; i++) {
        char key[8] = {'k', (char)('0' + i % KEYS)};
        tarn_log_metric(tracker, key, (double)(i / KEYS) * 0.25 + (double)(i % KEYS), i / KEYS);
    }
    printf("recorded %ld metrics in %.2f s while nothing listens at %s: %.0f MiB of memory at most, %.0f before\n",
           metrics, tarn_seconds() - start, server.address, peak(), memory);
    fflush(stdout);
    if (!tarn_test_mlflow_start(&server, false)) quit("the MLflow server does not start: has that Python mlflow?");
    start = tarn_seconds();
    tarn_track_close(tracker, "FINISHED");
    double seconds = tarn_seconds() - start;
    long found[4];
    count(found);
    printf("the server came up and got all within %.0f s: %ld rows, %ld different (key, step), %ld wrong values, "
           "finished runs: %ld; %.0f MiB of memory at most\n",
           seconds, found[0], found[1], found[2], found[3], peak());
    tarn_test_mlflow_kill(&server);
    tarn_exit(context);
    tarn_test_remove(server.folder);
    free(server.folder);
    free(spool);
    return found[0] != metrics || found[1] != metrics || found[2] || found[3] != 1;
}
