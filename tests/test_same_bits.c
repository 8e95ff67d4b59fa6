/* test_same_bits.c - the first promise: one digest for any number of ranks, threads and any vector unit.
 *
 * The model crosses every boundary: widths beyond one block of K with a remainder (540 > 512, 2160 > 4096 / 2), a
 * vector of 4320 > 4096, several buckets, an odd head width (45), key tiles that are cut (T = 37), tied weights,
 * dropout, active clipping, AdamW, warm-up, validation, accumulation.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

static const char run_file[] = "name: bits\n"
                               "seed: 3\n"
                               "model: {kind: gpt, layers: 1, heads: 12, width: 540, context: 37, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt, validation: 0.1}\n"
                               "train: {batch: 16, shards: 8, accumulate: 2, steps: 3, eval_every: 2}\n"
                               "optim: {kind: adamw, lr: 3.0e-3, weight_decay: 0.1, clip: 0.5}\n"
                               "schedule: {kind: cosine, warmup: 2}\n";

/* The scalar kernels are slow: a small model for them, which crosses the boundaries of tiles all the same. */
static const char small_file[] = "name: small\n"
                                 "seed: 3\n"
                                 "model: {kind: gpt, layers: 2, heads: 3, width: 33, context: 19, dropout: 0.2}\n"
                                 "data: {kind: text, path: text.txt, validation: 0.1}\n"
                                 "train: {batch: 16, shards: 8, steps: 6, eval_every: 3}\n"
                                 "optim: {kind: adamw, lr: 3.0e-3, weight_decay: 0.1, clip: 0.5}\n"
                                 "schedule: {kind: cosine, warmup: 2}\n"
                                 "checkpoint: {every: 3}\n";

/* Of the run above on every machine: made by tests/golden_digest.sh. */
static const char golden_small[] =
#include "tests/golden_digest.inc"
    ;

static char *folder;

static void set_up(void)
{
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder), *big = tarn_test_format("%s/run.yaml", folder);
    char *small = tarn_test_format("%s/small.yaml", folder);
    cr_assert(tarn_test_write_text(text, 300));
    cr_assert(tarn_test_write(big, run_file, strlen(run_file)));
    cr_assert(tarn_test_write(small, small_file, strlen(small_file)));
    free(text);
    free(big);
    free(small);
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(same_bits, .init = set_up, .fini = tear_down, .timeout = 1200);

static char *train(const char *file, const char *isa, int ranks, int threads, const char *directory, const char *more)
{
    char *environment = tarn_test_format("TARN_ISA=%s", isa), *output = NULL;
    char *arguments =
        tarn_test_format("train %s --quiet checkpoint.dir=%s train.threads=%d %s", file, directory, threads, more);
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &output);
    cr_assert_eq(code, 0, "%s ranks %d threads %d: exit code %d: %s", isa, ranks, threads, code, output);
    free(environment);
    free(arguments);
    free(output);
    return tarn_test_digest(folder, directory);
}

static void walk(const char *file, const char *const *isas, int isa_count, const int *ranks, int rank_count,
                 const int *threads, int thread_count)
{
    char *first = NULL;
    int runs = 0;
    for (int i = 0; i < isa_count; i++) {
        if (!tarn_test_has_isa(isas[i])) {
            fprintf(stderr, "skipped: %s, which this processor lacks\n", isas[i]);
            continue;
        }
        for (int r = 0; r < rank_count; r++)
            for (int t = 0; t < thread_count; t++) {
                char *directory = tarn_test_format("d-%s-%d-%d", isas[i], ranks[r], threads[t]);
                char *digest = train(file, isas[i], ranks[r], threads[t], directory, "");
                cr_assert_eq(strlen(digest), 64, "no digest from %s", directory);
                if (!first) first = strdup(digest);
                cr_assert_str_eq(digest, first, "%s, %d ranks, %d threads gave other bits", isas[i], ranks[r],
                                 threads[t]);
                free(digest);
                free(directory);
                runs++;
            }
    }
    fprintf(stderr, "%d runs, one digest: %s\n", runs, first ? first : "none");
    free(first);
}

Test(same_bits, ranks_threads_and_vector_units)
{
    static const char *const isas[] = {"avx512", "avx2"};
    static const int ranks[] = {1, 2, 3, 4, 8}, threads[] = {1, 2, 4};
    walk("run.yaml", isas, 2, ranks, 5, threads, 3);
}

Test(same_bits, scalar_too)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512"};
    static const int ranks[] = {1, 3}, threads[] = {1, 2};
    walk("small.yaml", isas, 3, ranks, 2, threads, 2);
}

Test(same_bits, every_machine_gives_the_committed_digest)
{
    char *digest = train("small.yaml", tarn_test_has_isa("avx2") ? "avx2" : "scalar", 2, 1, "golden", "");
    cr_assert_str_eq(digest, golden_small);
    free(digest);
}

Test(same_bits, stopped_and_resumed_on_other_ranks_and_vectors)
{
    const char *other = tarn_test_has_isa("avx2") ? "avx2" : "scalar";
    char *whole = train("small.yaml", other, 1, 1, "whole", "");
    char *part = train("small.yaml", "scalar", 2, 1, "parts", "train.steps=6");
    cr_assert_str_eq(whole, part);
    free(part);
    /* The newest checkpoint is taken away: the run goes on from step 3. */
    char *last = tarn_test_format("%s/parts/ckpt-000000000006.h5", folder);
    cr_assert_eq(unlink(last), 0, "%s should have been there", last);
    part = train("small.yaml", other, 3, 2, "parts", "");
    cr_assert_str_eq(whole, part);
    free(last);
    free(part);
    free(whole);
}

Test(same_bits, a_finished_run_says_so)
{
    char *output;
    free(train("small.yaml", "scalar", 0, 1, "done", ""));
    int code =
        tarn_test_tarn(folder, "TARN_ISA=scalar", 0, "train small.yaml checkpoint.dir=done train.threads=1", &output);
    cr_assert_eq(code, 0, "%s", output);
    cr_assert(strstr(output, "finished already"), "%s", output);
    free(output);
}

Test(same_bits, a_signal_saves_and_exits_75)
{
    char *output;
    char *line =
        tarn_test_format("cd %s && (" TARN_PROGRAM " train small.yaml --quiet checkpoint.dir=stop train.steps=1000000 "
                         "& pid=$!; sleep 2; kill -TERM $pid; wait $pid; echo code $?)",
                         folder);
    tarn_test_run(line, 60, &output);
    cr_assert(strstr(output, "code 75"), "%s", output);
    free(output);
    tarn_test_tarn(folder, "", 0, "checkpoint verify stop", &output);
    char *digest = tarn_test_digest(folder, "stop");
    cr_assert_eq(strlen(digest), 64, "%s", output);
    free(digest);
    free(output);
    free(line);
}
