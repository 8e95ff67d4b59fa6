/* test_bad_input.c - whatever is wrong with what the user wrote or with the machine gives one message of ours that
 * names the place and the remedy, the right exit code, and never a hang: alone and on two ranks.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

static const char base[] = "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
                           "data: {kind: text, path: text.txt, validation: 0.1}\n"
                           "train: {batch: 8, shards: 4, steps: 2}\n"
                           "checkpoint: {dir: ckpt}\n";
static char *folder;

static void write_file(const char *name, const char *text, size_t bytes)
{
    char *path = tarn_test_format("%s/%s", folder, name);
    cr_assert(tarn_test_write(path, text, bytes));
    free(path);
}

static void set_up(void)
{
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(text, 60));
    free(text);
    write_file("run.yaml", base, strlen(base));
    write_file("tiny.txt", "abc", 3);
    write_file("empty.idx", "", 0);
    write_file("short.idx", "\0\0\10\3\0\0\0\5\0\0\0\2\0\0\0\2abc", 19);
    write_file("labels.idx", "\0\0\10\1\0\0\0\5abcde", 13);
    write_file("idx.yaml",
               "model: {kind: mlp, sizes: [4, 2]}\ndata: {kind: idx, images: empty.idx, labels: labels.idx}\n",
               strlen("model: {kind: mlp, sizes: [4, 2]}\ndata: {kind: idx, images: empty.idx, labels: labels.idx}\n"));
    write_file(
        "unknown.yaml",
        "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\ndata: {kind: text, path: text.txt}\n"
        "train:\n  bach: 8\n",
        strlen("model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\ndata: {kind: text, path: text.txt}\n"
               "train:\n  bach: 8\n"));
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(bad_input, .init = set_up, .fini = tear_down, .timeout = 600);

static void expect(int ranks, const char *arguments, int expected, const char *const *words)
{
    char *output;
    int code = tarn_test_tarn(folder, "", ranks, arguments, &output);
    cr_expect_eq(code, expected, "tarn %s (ranks %d): exit code %d instead of %d: %s", arguments, ranks, code, expected,
                 output);
    for (; *words; words++)
        cr_expect(strstr(output, *words), "tarn %s (ranks %d): no \"%s\" in: %s", arguments, ranks, *words, output);
    free(output);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct {
    const char *arguments;
    int code;
    const char *words[4];
} mistakes[] = {
    {"train unknown.yaml", 2, {"unknown.yaml:4", "bach", "batch"}},
    {"train run.yaml train.batch=many", 2, {"train.batch", "many"}},
    {"train run.yaml optim.lr=fast", 2, {"optim.lr", "fast"}},
    {"train nothere.yaml", 2, {"nothere.yaml"}},
    {"train run.yaml data.path=nothere.txt", 2, {"nothere.txt"}},
    {"train run.yaml train.batch=9", 2, {"9", "8 or 12", "train.shards"}},
    {"train run.yaml train.shards=3", 2, {"train.shards 3", "6 or 9"}},
    {"train run.yaml data.path=tiny.txt", 2, {"tiny.txt"}},
    {"train run.yaml model.heads=3", 2, {"model.heads", "16"}},
    {"train idx.yaml", 1, {"empty.idx"}},
    {"train idx.yaml data.images=short.idx", 1, {"short.idx"}},
    {"train idx.yaml data.images=labels.idx data.test_images=labels.idx", 2, {"data.test_labels: is missing"}},
    {"train run.yaml model.init_from=gone", 2, {"command line: model.init_from: gone: "}},
    {"eval nothere", 2, {"nothere"}},
    {"eval", 2, {"needs a checkpoint"}},
    {"train run.yaml --no-such-option", 2, {"--no-such-option"}},
    {"train run.yaml checkpoint.dir=text.txt/ckpt", 1, {"text.txt/ckpt"}},
    {"sample nothere", 2, {"nothere"}},
    {"frobnicate", 2, {"frobnicate"}},
};

Test(bad_input, alone)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        expect(0, mistakes[i].arguments, mistakes[i].code, mistakes[i].words);
}

Test(bad_input, on_two_ranks)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i += 2)
        expect(2, mistakes[i].arguments, mistakes[i].code, mistakes[i].words);
}

Test(bad_input, more_ranks_than_shards)
{
    expect(3, "train run.yaml train.shards=2", 2, WORDS("3 ranks", "train.shards"));
    expect(2, "train run.yaml --expect-ranks 4", 2, WORDS("--expect-ranks 4"));
}

Test(bad_input, a_loss_that_is_not_finite)
{
    expect(0, "train run.yaml optim.lr=1e30 train.steps=40", 1, WORDS("not finite", "optim.lr"));
    expect(2, "train run.yaml optim.lr=1e30 train.steps=40 checkpoint.dir=other", 1, WORDS("not finite"));
}

Test(bad_input, a_checkpoint_of_another_run)
{
    expect(0, "train run.yaml --quiet", 0, WORDS(""));
    expect(0, "train run.yaml model.width=32", 2, WORDS("model.width", "--from-scratch"));
    expect(0, "train run.yaml seed=7", 2, WORDS("seed"));
    expect(2, "train run.yaml optim.lr=0.5", 2, WORDS("optim.lr"));
    expect(0, "train run.yaml --quiet train.steps=3", 0, WORDS(""));
}

Test(bad_input, a_broken_checkpoint_is_not_started_over)
{
    expect(0, "train run.yaml --quiet", 0, WORDS(""));
    char *line = tarn_test_format("cd %s/ckpt && for f in *.h5; do truncate -s 5000 $f; done", folder);
    cr_assert_eq(tarn_test_run(line, 10, NULL), 0);
    free(line);
    expect(0, "train run.yaml train.steps=4", 1, WORDS("ckpt-000000000002.h5"));
    expect(0, "train run.yaml train.steps=4 --quiet --from-scratch", 0, WORDS(""));
}
