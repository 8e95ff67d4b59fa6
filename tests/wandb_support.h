/* wandb_support.h - a place for W&B offline runs, and reading them: by our own reader and by wandb's message types. */
#ifndef TARN_TESTS_WANDB_SUPPORT_H
#define TARN_TESTS_WANDB_SUPPORT_H

#include "track/wandb/wandb.h"
#include "tests/board_support.h"

static board_place place;

__attribute__((unused)) static void begin(void)
{
    place = board_begin();
}

__attribute__((unused)) static void end(void)
{
    board_end(&place);
}

/* What wandb's message types find in the place of the boards, a line a record. NULL without Python. */
__attribute__((unused)) static char *read_with_wandb(void)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) return NULL;
    char *command = tarn_test_format("%s %s/tests/python/read_wandb.py '%s'", python, TARN_SOURCE_DIR, place.boards);
    char *output;
    cr_assert_eq(tarn_test_run(command, TARN_TEST_SECONDS, &output), 0, "%s", output);
    free(command);
    return output;
}

__attribute__((unused)) static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

/* What a file of the run holds, read by our own reader. */
typedef struct found {
    int64_t rows, points, histograms, stats, exits, runs, last_step, bad_steps;
    tarn_points seen;
    bool twice;
} found;

__attribute__((unused)) static void look_at(const char *path, found *all)
{
    /* A copy: the file itself may be locked. */
    char *copy = tarn_test_format("%s/copy", place.folder);
    size_t size, count;
    char *text = tarn_test_read(path, &size);
    tarn_board_file file;
    cr_assert(text && tarn_test_write(copy, text, size) && !tarn_board_file_open(&file, copy));
    tarn_wandb_log log = {.file = &file};
    const unsigned char *bytes;
    int got;
    while ((got = tarn_wandb_log_read(&log, &bytes, &count)) > 0) {
        tarn_protobuf_reader reader = {.at = bytes, .end = bytes + count};
        for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);) {
            all->exits += field.number == TARN_WANDB_EXIT;
            all->runs += field.number == TARN_WANDB_HEADER;
            tarn_protobuf_reader items = tarn_protobuf_inner(&field);
            if (field.number == TARN_WANDB_STATS)
                for (tarn_protobuf_field item; tarn_protobuf_next(&items, &item);) all->stats += item.number == 3;
            if (field.number != TARN_WANDB_HISTORY) continue;
            int64_t step = -1, own = -1;
            char loss[64] = "";
            all->rows++;
            for (tarn_protobuf_field item; tarn_protobuf_next(&items, &item);) {
                char key[64] = "", below[32] = "", json[64] = "";
                tarn_protobuf_reader parts = tarn_protobuf_inner(&item);
                for (tarn_protobuf_field part; tarn_protobuf_next(&parts, &part);) {
                    if (part.number == 2) tarn_protobuf_field_text(&part, *key ? below : key, *key ? 32 : 64);
                    if (part.number == 16) tarn_protobuf_field_text(&part, json, sizeof json);
                }
                if (!strcmp(key, TARN_WANDB_STEP)) step = strtoll(json, NULL, 10);
                if (!strcmp(key, "_step")) own = strtoll(json, NULL, 10);
                if (!strcmp(key, board_key(0))) memcpy(loss, json, sizeof loss);
                all->histograms += !strcmp(below, "_type");
                for (int metric = 0; metric < BOARD_METRICS; metric++) all->points += !strcmp(key, board_key(metric));
            }
            if (own <= all->last_step || own != step) all->bad_steps++;
            all->last_step = own;
            if (tarn_points_add(&all->seen, (uint64_t)step + 1) != 1) all->twice = true;
            char expected[TARN_NUMBER_TEXT];
            tarn_number_print(expected, board_value(0, step));
            cr_assert_str_eq(loss, expected, "step %lld", (long long)step);
        }
    }
    cr_assert_eq(got, 0, "%s ends in something that is no record", path);
    tarn_board_file_close(&file);
    tarn_protobuf_free(&log.pieces);
    free(text);
    free(copy);
}

__attribute__((unused)) static void check_files(int64_t steps, int files)
{
    found all = {.last_step = -1};
    char *command = tarn_test_format("ls '%s'/offline-run-*-" BOARD_RUN "/run-" BOARD_RUN ".wandb", place.boards),
         *list;
    cr_assert_eq(tarn_test_run(command, 20, &list), 0, "%s", list);
    cr_assert_eq(count_of(list, "\n"), files, "%s", list);
    for (char *path = strtok(list, "\n"); path; path = strtok(NULL, "\n")) look_at(path, &all);
    cr_assert_not(all.twice, "a step has two rows");
    cr_assert_eq(all.rows, steps);
    cr_assert_eq(all.points, 2 * steps + steps / 3);
    cr_assert_eq(all.histograms, steps / 4);
    cr_assert_eq(all.stats, steps / 5);
    cr_assert_eq(all.bad_steps, 0, "_step is not the step");
    cr_assert_eq(all.exits, files, "%lld exit records", (long long)all.exits);
    cr_assert_eq(all.runs, files);
    tarn_points_free(&all.seen);
    free(command);
    free(list);
}

#endif
