/* test_inbox.c - the inbox of a spool: large files, makers that live, die or are slow, damage, what a spool of somebody
 * else may not do. */
#include "runtime/base/context.h"
#include "tests/spool_support.h"
#include "track/inbox.h"
#include "track/tracker_internal.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <utime.h>

#define ID "0123456789abcdef0123456789abcdef"
#define T0 1795412345678

static tarn_context *context;
static char *folder, *store, *spools, *spool, *inbox;
static char heard[16384];
static int warnings;
static pthread_t heard_by;

static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level != TARN_LOG_WARN) return;
    warnings++;
    heard_by = pthread_self();
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", line);
}

/* A spool of one event, begun by a process that is gone. */
static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/mlruns", folder);
    spools = tarn_test_format("%s/spool", folder);
    spool = tarn_test_format("%s/" ID, spools);
    inbox = tarn_test_format("%s/inbox", spool);
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_RUN_ID");
    use_taker();
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, spool, 1 << 30), TARN_SPOOL_OPENED);
    tarn_spool_add(&writer,
                   &(tarn_track_event){.kind = TARN_TRACK_BEGIN, .text = "{\"experiment\":\"inbox\"}", .time_ms = T0});
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    tarn_spool_close_writer(&writer);
}

static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spools);
    free(spool);
    free(inbox);
    forget_taken();
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(inbox, .init = begin, .fini = end, .timeout = 300);

static tarn_tracker *open_tracker(void)
{
    tarn_tracker *tracker = NULL;
    tarn_track_options options = {.store = store, .spool = spools, .run_id = ID, .flush_timeout = 120};
    tarn_status status = tarn_track_open(&tracker, context, &options);
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context) ? tarn_get_error(context)->message : "");
    return tracker;
}

static tarn_status push(tarn_spool_pushed *report)
{
    return tarn_spool_push(spool, &(tarn_track_options){.store = store, .flush_timeout = 120}, report);
}

static void add_points(tarn_spool_writer *writer, const char *key, int64_t from, int64_t to)
{
    for (int64_t step = from; step < to; step++)
        cr_assert(tarn_spool_add(writer, &(tarn_track_event){.kind = TARN_TRACK_METRIC,
                                                             .key = key,
                                                             .value = (double)step,
                                                             .step = step,
                                                             .time_ms = T0 + step}) > 0);
}

/* What a rank left whose job was killed. */
static void leave_points(const char *name, const char *key, int64_t points)
{
    tarn_spool_writer writer;
    cr_assert_eq(tarn_inbox_open_writer(&writer, spool, name), 0);
    add_points(&writer, key, 0, points);
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    cr_assert_eq(tarn_spool_sync(&writer), 0);
    tarn_spool_close_writer(&writer);
}

static void leave_event(const char *name, const tarn_track_event *event)
{
    tarn_spool_writer writer;
    cr_assert_eq(tarn_inbox_open_writer(&writer, spool, name), 0);
    cr_assert(tarn_spool_add(&writer, event) > 0);
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    tarn_spool_close_writer(&writer);
}

/* The entries of a folder whose names begin so. */
static int entries_of(const char *path, const char *prefix)
{
    int count = 0;
    DIR *directory = opendir(path);
    cr_assert_not_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
                 !strncmp(entry->d_name, prefix, strlen(prefix));
    closedir(directory);
    return count;
}

/* ---- the system calls that matter ------------------------------------------------------------------------------- */

static int seen_without_lock, inbox_syncs;
static bool no_locks;

static bool lies_in(int file, const char *end)
{
    char link[64];
    tarn_path path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    return strstr(path, end);
}

/* In place of the C library's: at the moment a maker locks its file, nothing of it may be seen in the inbox. */
int flock(int file, int operation)
{
    bool maker = (fcntl(file, F_GETFL) & O_ACCMODE) == O_WRONLY && lies_in(file, "/inbox/");
    if (maker)
        for (char *first = "abcdefghijklmnopqrstuvwxyz"; *first; first++)
            seen_without_lock += entries_of(inbox, (char[2]){*first});
    if (maker && no_locks) {
        errno = ENOLCK;
        return -1;
    }
    return (int)syscall(SYS_flock, file, operation);
}

int fsync(int file)
{
    struct stat info;
    if (!fstat(file, &info) && S_ISDIR(info.st_mode)) inbox_syncs += lies_in(file, "/inbox");
    return (int)syscall(SYS_fsync, file);
}

Test(inbox, a_file_is_locked_before_it_is_seen)
{
    tarn_spool_writer writer;
    cr_assert_eq(tarn_inbox_open_writer(&writer, spool, "rank-1-slow"), 0);
    add_points(&writer, "loss", 0, 10);
    no_locks = true; /* then nobody could tell it from one that was left */
    cr_assert_eq(tarn_spool_flush(&writer), -1);
    cr_assert_eq(errno, ENOLCK);
    cr_assert_eq(entries_of(inbox, ""), 0, "nothing is left there");
    no_locks = false;
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    cr_assert_eq(seen_without_lock, 0);
    cr_assert_eq(inbox_syncs, 1, "its name is durable");
    char *path = tarn_test_format("%s/rank-1-slow", inbox);
    int other = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    cr_assert(other >= 0 && flock(other, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK);
    tarn_tracker *tracker = open_tracker();
    add_points(&writer, "loss", 10, 20);
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    tarn_track_close(tracker, "FINISHED");
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 20);
    cr_assert_eq(entries_of(inbox, ""), 1, "its maker lives");
    tarn_spool_close_writer(&writer);
    close(other);
    tarn_spool_pushed report;
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, "loss"), 20);
    cr_assert_eq(entries_of(inbox, ""), 0);
}

/* ---- much ------------------------------------------------------------------------------------------------------- */

enum { FILES = 4, POINTS = 60000, LARGE = 150000 };

static void leave_much(void)
{
    for (int i = 0; i < FILES; i++) {
        char name[32], key[32];
        snprintf(name, sizeof name, "rank-%d-killed", i + 1);
        snprintf(key, sizeof key, "rank/%d", i + 1);
        leave_points(name, key, POINTS);
    }
    leave_points("rank-9-killed", "rank/9", LARGE);
}

static void expect_much(void)
{
    int64_t next[16] = {0};
    for (int64_t i = 0; i < taken_count; i++) { /* each once, in the order of its rank */
        const taken_event *event = &taken_events[i];
        if (event->kind != TARN_TRACK_METRIC) continue;
        int rank = event->key[5] - '0';
        cr_assert_eq(event->step, next[rank]++, "%s at step %" PRId64, event->key, event->step);
        cr_assert(event->value == (double)event->step && event->time_ms == T0 + event->step);
    }
    for (int i = 0; i < FILES; i++) cr_assert_eq(next[i + 1], POINTS, "rank %d: %" PRId64, i + 1, next[i + 1]);
    cr_assert_eq(next[9], LARGE, "%" PRId64, next[9]);
    cr_assert_eq(entries_of(inbox, ""), 0, "what is durable in the spool is gone from the inbox");
}

Test(inbox, one_push_takes_in_all_of_many_large_files)
{
    leave_much();
    tarn_spool_pushed report;
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    cr_assert(!report.lost && !report.behind && !report.corrupt, "%" PRId64 " lost, %" PRId64 " behind", report.lost,
              report.behind);
    expect_much();
}

Test(inbox, closing_takes_in_all_of_many_large_files)
{
    leave_much();
    tarn_tracker *tracker = open_tracker();
    cr_assert_eq(tarn_track_close(tracker, "FINISHED"), TARN_OK);
    cr_assert_eq(warnings, 0, "%s", heard);
    expect_much();
}

Test(inbox, closing_takes_of_a_maker_that_lives_what_it_had_written_by_then)
{
    tarn_tracker *tracker = tarn_tracker_create(NULL);
    tarn_inbox *looked_into = tarn_inbox_create(spool);
    tarn_spool_writer writer;
    cr_assert_eq(tarn_inbox_open_writer(&writer, spool, "process-1-lives"), 0);
    add_points(&writer, "rank/1", 0, 10);
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    cr_assert_eq(tarn_inbox_look(looked_into, tracker, true), TARN_INBOX_TOOK);
    add_points(&writer, "rank/1", 10, 20);
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    cr_assert_eq(tarn_inbox_look(looked_into, tracker, true), TARN_INBOX_NOTHING, "else it could go on for ever");
    cr_assert_eq(tarn_inbox_left(looked_into), 10);
    cr_assert_eq(tracker->queue.count, 11, "10 points, and how far the file was read");
    tarn_spool_close_writer(&writer);
    cr_assert_eq(tarn_inbox_look(looked_into, tracker, true), TARN_INBOX_TOOK);
    cr_assert_eq(tarn_inbox_left(looked_into), 0);
    cr_assert_eq(tracker->queue.count, 22);
    cr_assert_eq(entries_of(inbox, ""), 1, "it is not durable yet");
    tarn_inbox_destroy(looked_into);
    tarn_tracker_free(tracker);
}

static atomic_bool stops;

static void *write_on(void *user)
{
    for (int64_t step = 0; !stops; step += 100) {
        add_points(user, "rank/1", step, step + 100);
        if (tarn_spool_flush(user)) break;
        usleep(200);
    }
    return NULL;
}

Test(inbox, a_maker_that_goes_on_does_not_hold_up_the_end)
{
    tarn_spool_writer writer;
    pthread_t thread;
    cr_assert_eq(tarn_inbox_open_writer(&writer, spool, "process-1-lives"), 0);
    cr_assert_eq(pthread_create(&thread, NULL, write_on, &writer), 0);
    struct stat info = {0};
    char *path = tarn_test_format("%s/process-1-lives", inbox);
    while (stat(path, &info) || !info.st_size) usleep(1000);
    free(path);
    cr_assert_eq(tarn_track_close(open_tracker(), "KILLED"), TARN_OK);
    cr_assert(taken_of(TARN_TRACK_METRIC, "rank/1") > 0);
    tarn_spool_pushed report;
    push(&report);
    cr_assert_eq(report.lost, 0);
    stops = true;
    pthread_join(thread, NULL);
    tarn_spool_close_writer(&writer);
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    int64_t next = 0;
    for (int64_t i = 0; i < taken_count; i++)
        if (taken_events[i].kind == TARN_TRACK_METRIC) cr_assert_eq(taken_events[i].step, next++);
    cr_assert_eq(next % 100, 0);
    cr_assert_eq(entries_of(inbox, ""), 0);
}

/* ---- what is told ----------------------------------------------------------------------------------------------- */

static void damage(const char *name, const char *at)
{
    char *path = tarn_test_format("%s/%s", inbox, name);
    size_t length = 0;
    char *text = tarn_test_read(path, &length), *place = strstr(text, at);
    cr_assert_not_null(place);
    *place ^= 1;
    tarn_test_write(path, text, length);
    free(text);
    free(path);
}

Test(inbox, damage_is_told)
{
    leave_points("rank-1-a", "rank/1", 50);
    damage("rank-1-a", "rank/1\t20");
    tarn_spool_pushed report;
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    cr_assert_eq(report.corrupt, 1);
    leave_points("rank-2-a", "rank/2", 50);
    damage("rank-2-a", "rank/2\t20");
    damage("rank-2-a", "rank/2\t30");
    tarn_track_close(open_tracker(), "FINISHED");
    cr_assert_eq(warnings, 1, "%s", heard);
    cr_assert(strstr(heard, "2 damaged lines were left out") && strstr(heard, spool), "%s", heard);
    cr_assert_eq(taken_of(TARN_TRACK_METRIC, NULL), 97);
}

Test(inbox, what_a_push_cannot_take_in_is_counted_with_its_reason)
{
    leave_points("rank-1-a", "accuracy/train", 10);
    tarn_spool_pushed report;
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    leave_points("rank-2-a", "accuracy", 1);
    cr_assert_eq(push(&report), TARN_OK);
    cr_assert_eq(report.lost, 1);
    cr_assert(strstr(report.problem, "accuracy/train") && strstr(report.problem, "a file and a folder"), "%s",
              report.problem);
}

static void *log_quietly(void *tracker)
{
    tarn_track_quiet_thread();
    tarn_log_param(tracker, "lr", "1");
    tarn_log_param(tracker, "lr", "2"); /* there is something to tell now */
    tarn_log_metric(tracker, "system/cpu", 1, 0);
    return NULL;
}

Test(inbox, a_quiet_thread_leaves_it_to_others_to_tell)
{
    tarn_tracker *tracker = open_tracker();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, log_quietly, tracker), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(warnings, 0, "%s", heard);
    tarn_log_metric(tracker, "loss", 1, 0);
    cr_assert_eq(warnings, 1, "%s", heard);
    cr_assert(strstr(heard, "parameter lr was recorded as") && pthread_equal(heard_by, pthread_self()), "%s", heard);
    tarn_track_close(tracker, "FINISHED");
}

/* ---- what comes from somebody else ------------------------------------------------------------------------------- */

Test(inbox, nothing_leads_out_of_the_spool_or_the_store)
{
    char *secret = tarn_test_format("%s/secret", folder);
    tarn_test_write(secret, "key", 3);
    const tarn_track_event events[] = {
        {.kind = TARN_TRACK_ARTIFACT, .key = "a", .file = "../../secret", .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "a", .file = "files/../../../secret", .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "a", .file = secret, .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "a", .file = "lock", .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "../../a", .file = "files/1-a", .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "a/..", .file = "files/1-a", .time_ms = T0},
        {.kind = TARN_TRACK_ARTIFACT, .key = "/tmp/a", .file = "files/1-a", .time_ms = T0},
        {.kind = TARN_TRACK_MODEL, .key = "../m", .text = "{}", .file = "files/1-m", .time_ms = T0},
        {.kind = TARN_TRACK_MODEL, .key = "m", .text = "{}", .file = "files/..", .time_ms = T0},
        {.kind = TARN_TRACK_METRIC, .key = "../../../loss", .time_ms = T0},
        {.kind = TARN_TRACK_PARAM, .key = "/etc/x", .text = "1", .time_ms = T0},
        {.kind = TARN_TRACK_TAG, .key = "x/../../../y", .text = "1", .time_ms = T0},
    };
    enum { COUNT = sizeof events / sizeof *events };
    tarn_spool_writer writer;
    cr_assert_eq(tarn_spool_open_writer(&writer, spool, 1 << 30), TARN_SPOOL_OPENED);
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "rank-%d-x", i);
        leave_event(name, &events[i]);
        cr_assert(tarn_spool_add(&writer, &events[i]) > 0);
    }
    /* Names that only look like it. */
    char *file = tarn_test_format("%s/files/1-..a", spool);
    tarn_test_write(file, "text", 4);
    tarn_spool_add(&writer, &(tarn_track_event){
                                .kind = TARN_TRACK_ARTIFACT, .key = "..a/b..", .file = "files/1-..a", .time_ms = T0});
    cr_assert_eq(tarn_spool_flush(&writer), 0);
    tarn_spool_close_writer(&writer);
    tarn_spool_pushed report;
    cr_assert_eq(push(&report), TARN_OK, "%s", report.problem);
    cr_assert_eq(taken_count, 2);
    const taken_event *artifact = taken_first(TARN_TRACK_ARTIFACT, "..a/b..");
    cr_assert_not_null(artifact);
    cr_assert_str_eq(artifact->file, file);
    cr_assert_eq(report.corrupt, 2 * COUNT, "%" PRId64, report.corrupt);

    char *link = tarn_test_format("%s/files/2-b", spool);
    cr_assert_eq(symlink(secret, link), 0);
    cr_assert_eq(push(&report), TARN_ERROR_ARGUMENT);
    cr_assert(strstr(report.problem, "files/2-b in it is a symbolic link"), "%s", report.problem);
    free(link);
    free(file);
    free(secret);
}

/* ---- leftovers -------------------------------------------------------------------------------------------------- */

Test(inbox, what_killed_processes_left_half_made_goes_when_it_is_old)
{
    static const char *const names[] = {"inbox/.new-rank-1-x", "inbox/.launch-x", "model-77/data/weights",
                                        "inbox/.new-rank-2-x", "inbox/.launch-y", "model-78/data/weights"};
    struct utimbuf old = {.actime = time(NULL) - 7200, .modtime = time(NULL) - 7200};
    for (int i = 0; i < 6; i++) {
        char *path = tarn_test_format("%s/%s", spool, names[i]);
        cr_assert_eq(tarn_path_make_parents(path), 0);
        tarn_test_write(path, "", 0);
        char *whole = i % 3 == 2 ? tarn_test_format("%s/%.8s", spool, names[i]) : strdup(path);
        if (i < 3) cr_assert_eq(utime(whole, &old), 0);
        free(whole);
        free(path);
    }
    tarn_track_close(open_tracker(), "FINISHED");
    cr_assert_eq(entries_of(inbox, ""), 2);
    cr_assert_eq(entries_of(spool, "model-77"), 0);
    cr_assert_eq(entries_of(spool, "model-78"), 1);
}
