/* test_errands.c - what may wait in the supervisor's place: errands, and the voice on stderr. That ranks go on
 * meanwhile: tests/test_run.c.
 */
#include "launch/supervisor/errands.h"
#include "launch/supervisor/voice.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <poll.h>

typedef struct waiting {
    tarn_errand errand;
    int pipe, number;
} waiting;

static int finished[8], finished_count;

static void wait_for_byte(tarn_errand *errand)
{
    char byte;
    cr_expect_eq(read(((waiting *)errand)->pipe, &byte, 1), 1);
}

static void note(tarn_errand *errand)
{
    finished[finished_count++] = ((waiting *)errand)->number;
    free(errand);
}

Test(errands, giving_and_collecting_wait_for_nothing, .timeout = 60)
{
    tarn_errands errands;
    int ends[2];
    cr_assert(!pipe(ends));
    tarn_errands_start(&errands, "test");
    for (int i = 0; i < 3; i++) {
        waiting *one = malloc(sizeof *one);
        *one = (waiting){.errand = {.work = wait_for_byte, .done = note}, .pipe = ends[0], .number = i};
        tarn_errands_give(&errands, &one->errand);
    }
    tarn_errands_collect(&errands);
    cr_expect(finished_count == 0 && tarn_errands_open(&errands) == 3);
    cr_expect(!tarn_errands_end(&errands), "one still works");
    cr_assert_eq(write(ends[1], "abc", 3), 3);
    struct pollfd woken = {.fd = errands.wake, .events = POLLIN};
    while (finished_count < 3) {
        cr_assert_eq(poll(&woken, 1, -1), 1);
        tarn_errands_collect(&errands);
    }
    cr_expect(finished[0] == 0 && finished[1] == 1 && finished[2] == 2);
    while (!tarn_errands_end(&errands)) usleep(1000);
    close(ends[0]);
    close(ends[1]);
}

Test(errands, a_voice_nobody_hears_waits_for_nothing_and_tells_what_it_left_out, .timeout = 60)
{
    int ends[2];
    cr_assert(!pipe(ends));
    int before = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    char long_line[4000];
    memset(long_line, 'x', sizeof long_line);
    long_line[sizeof long_line - 1] = 0;
    tarn_voice_start();
    for (int i = 0; i < TARN_VOICE_LINES + 100; i++) tarn_voice_say("%d %s", i, long_line);
    cr_expect(!tarn_voice_quiet());
    char *text = malloc(64 << 20);
    size_t used = 0;
    while (!tarn_voice_quiet()) {
        struct pollfd there = {.fd = ends[0], .events = POLLIN};
        if (poll(&there, 1, 10) < 1) continue; /* the last of it has been read */
        ssize_t got = read(ends[0], text + used, 65536);
        cr_assert(got > 0);
        used += (size_t)got;
    }
    tarn_voice_say("the last");
    while (!tarn_voice_quiet()) usleep(1000);
    dup2(before, STDERR_FILENO);
    for (ssize_t got; (got = read(ends[0], text + used, 65536)) > 0;) used += (size_t)got;
    text[used] = 0;
    int left_out = 0, lines = 0;
    for (char *at = text; (at = strstr(at, "tarn run: ")); at++) lines++;
    char *told = strstr(text, "tarn run: (");
    cr_assert(told && sscanf(told, "tarn run: (%d lines are left out", &left_out) == 1);
    cr_expect_eq(lines - 2, TARN_VOICE_LINES + 100 - left_out, "%d lines, %d left out", lines, left_out);
    cr_expect(strstr(told, "\ntarn run: the last\n"));
    while (!tarn_voice_end()) usleep(1000);
    free(text);
    close(ends[0]);
    close(before);
}
