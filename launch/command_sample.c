/* command_sample.c - tarn sample: text from a gpt checkpoint, one token at a time.
 *
 * The text is a function of (checkpoint, prompt, length, temperature, top-k, seed) alone: Philox gives the numbers, and
 * the probabilities come from the portable exponential.
 */
#include "launch/command.h"
#include "launch/run.h"
#include "runtime/base/portable_math.h"
#include "runtime/dist/control.h"
#include "runtime/random/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double MOST_TOKENS = 1e9, LARGEST_SEED = 0x1p53 - 1;

typedef struct settings {
    const char *path, *prompt;
    int64_t length, top_k;
    double temperature;
    uint64_t seed;
} settings;

static void print_help(void)
{
    printf("usage: tarn sample CHECKPOINT [--prompt TEXT] [--length N] [--temperature T] [--top-k K] [--seed S]\n\n"
           "Generates text from the newest valid checkpoint of a directory, or from a file, of a gpt.\n\n"
           "  --prompt TEXT      what the text goes on from [a newline]\n"
           "  --length N         tokens to generate [200]\n"
           "  --temperature T    0 takes the most probable token; larger is more daring [0.8]\n"
           "  --top-k K          choose among the K most probable tokens; 0 = all [0]\n"
           "  --seed S           another seed, another text [1]\n");
}

/* A number of [low, high]; whole: without a fraction. (Infinities and NaN are in no range.) */
static tarn_status parse_number(tarn_context *context, const char *option, const char *text, double low, double high,
                                bool whole, double *value)
{
    char *end;
    *value = text ? strtod(text, &end) : 0;
    if (!text || *end || end == text || !(*value >= low && *value <= high) ||
        (whole && (double)(int64_t)*value != *value)) {
        *value = low;
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "tarn sample %s %s: expected a %snumber from %g to %g", option, text ? text : "(nothing)",
                         whole ? "whole " : "", low, high);
    }
    return TARN_OK;
}

static tarn_status parse(tarn_context *context, int argc, char **argv, settings *out)
{
    *out = (settings){.prompt = "\n", .length = 200, .temperature = 0.8, .seed = 1};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *text = i + 1 < argc ? argv[i + 1] : NULL;
        double number = 0;
        tarn_status status = TARN_OK;
        if (!strcmp(option, "--prompt") && text)
            out->prompt = text, i++;
        else if (!strcmp(option, "--length"))
            status = parse_number(context, option, text, 1, MOST_TOKENS, true, &number), out->length = (int64_t)number,
            i++;
        else if (!strcmp(option, "--temperature"))
            status = parse_number(context, option, text, 0, 1e6, false, &number), out->temperature = number, i++;
        else if (!strcmp(option, "--top-k"))
            status = parse_number(context, option, text, 0, MOST_TOKENS, true, &number), out->top_k = (int64_t)number,
            i++;
        else if (!strcmp(option, "--seed"))
            status = parse_number(context, option, text, 0, LARGEST_SEED, true, &number), out->seed = (uint64_t)number,
            i++;
        else if (option[0] != '-' && !out->path)
            out->path = option;
        else
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "tarn sample: unexpected %s: see tarn sample --help", option);
        if (status) return status;
    }
    if (out->path) return TARN_OK;
    return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "tarn sample needs a checkpoint directory or file");
}

/* Logits of the token after ids[0..count): the last row of the model's output. */
static tarn_status next_logits(tarn_context *context, tarn_module *model, const int32_t *ids, int64_t count,
                               float *logits, int64_t vocabulary)
{
    tarn_step *step;
    tarn_status status = tarn_step_open(&step, context, &(tarn_step_options){.no_gradient = true});
    if (status) return status;
    tarn_tensor *input = tarn_leaf(step, TARN_I32, 2, (int64_t[]){1, count}, ids, false);
    tarn_tensor *last = tarn_slice(tarn_forward(step, model, input), 1, -1, count);
    tarn_tensor_read(last, logits, (size_t)vocabulary * sizeof *logits);
    return tarn_step_close(step);
}

/* The cut below which a token is not among the k most probable. */
static float kth_largest(const float *logits, int64_t n, int64_t k)
{
    float cut = 0;
    for (int64_t round = 0; round < k; round++) {
        float best = 0;
        bool found = false;
        for (int64_t i = 0; i < n; i++)
            if ((!round || logits[i] < cut) && (!found || logits[i] > best)) best = logits[i], found = true;
        if (!found) break;
        cut = best;
    }
    return cut;
}

static int32_t choose(const settings *s, const float *logits, int64_t n, int64_t position)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    if (s->temperature <= 0) return (int32_t)best;
    bool limited = s->top_k > 0 && s->top_k < n;
    float cut = limited ? kth_largest(logits, n, s->top_k) : 0;
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        if (!limited || logits[i] >= cut)
            total += tarn_math_exp(((double)logits[i] - (double)logits[best]) / s->temperature);
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, TARN_STREAM_SAMPLE};
    const uint32_t key[2] = {(uint32_t)s->seed, (uint32_t)(s->seed >> 32)};
    uint32_t random[4];
    tarn_philox(counter, key, random);
    double target = (double)random[0] * 0x1p-32 * total, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (limited && logits[i] < cut) continue;
        sum += tarn_math_exp(((double)logits[i] - (double)logits[best]) / s->temperature);
        if (sum > target) return (int32_t)i;
    }
    return (int32_t)best;
}

static tarn_status generate(tarn_context *context, tarn_module *model, tarn_tokenizer *tokenizer, const settings *s)
{
    tarn_gpt_options gpt;
    int32_t *prompt = NULL;
    int64_t count;
    tarn_status status = tarn_gpt_get_options(model, &gpt);
    if (!status) status = tarn_tokenizer_encode(tokenizer, s->prompt, &prompt, &count);
    if (status) return status;
    int32_t *ids = malloc((size_t)(count + s->length + 1) * sizeof *ids);
    float *logits = malloc((size_t)gpt.vocabulary * sizeof *logits);
    if (!ids || !logits || !count)
        status = tarn_fail(context, !count ? TARN_ERROR_ARGUMENT : TARN_ERROR_MEMORY, TARN_HERE,
                           !count ? "--prompt is empty: give at least one character" : "no memory to sample");
    else
        memcpy(ids, prompt, (size_t)count * sizeof *ids);
    if (!status) fputs(s->prompt, stdout);
    for (int64_t i = 0; i < s->length && !status; i++) {
        int64_t seen = count < gpt.context ? count : gpt.context;
        status = next_logits(context, model, ids + count - seen, seen, logits, gpt.vocabulary);
        if (status) break;
        ids[count] = choose(s, logits, tarn_tokenizer_size(tokenizer), i);
        char piece[5];
        int bytes = tarn_tokenizer_decode(tokenizer, ids[count], piece);
        fwrite(piece, 1, (size_t)bytes, stdout);
        count++;
    }
    if (!status) fputc('\n', stdout);
    if (!status && fflush(stdout))
        status = tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "writing the text to stdout: %s", strerror(errno));
    free(prompt);
    free(ids);
    free(logits);
    return status;
}

/* Under mpirun all ranks take part in loading, which is collective; rank 0 alone generates, so that the text appears
 * once. */
static void sample(tarn_context *context, tarn_status status, const settings *s)
{
    tarn_config *config = NULL;
    tarn_module *model = NULL;
    tarn_tokenizer *tokenizer = NULL;
    char *vocabulary = NULL;
    if (!status) status = tarn_run_from_checkpoint(&config, &vocabulary, context, s->path, 0, NULL);
    if (!status && strcmp(tarn_config_string(config, "model.kind"), "gpt"))
        status = tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s holds no gpt: only text models can be sampled",
                           s->path);
    if (!status)
        status = tarn_tokenizer_create(&tokenizer, context,
                                       vocabulary && *vocabulary ? TARN_TOKENIZE_CHARACTERS : TARN_TOKENIZE_BYTES,
                                       vocabulary);
    if (!status) status = tarn_run_model(&model, context, config, tarn_tokenizer_size(tokenizer));
    if (!status) status = tarn_module_build(model, 0);
    status = tarn_agree(context, status, "reading the checkpoint");
    if (!status) status = tarn_module_init_from(model, s->path, true, NULL);
    if (!status && tarn_rank(context) == 0) generate(context, model, tokenizer, s);
    tarn_module_destroy(model);
    tarn_tokenizer_destroy(tokenizer);
    tarn_config_destroy(config);
    free(vocabulary);
}

int tarn_command_sample(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help();
            return 0;
        }
    tarn_context *context;
    settings s = {0};
    tarn_status status = tarn_init(&context, NULL, NULL);
    if (!context) return 1;
    if (!status) status = parse(context, argc, argv, &s);
    if (tarn_get_comm(context)) sample(context, status, &s);
    return tarn_exit(context);
}
