/* reference.c - dropout, see dropout.c and mask.h. */
#include "ops/attributes.h"
#include "ops/dropout/mask.h"
#include "ops/reference.h"
#include "runtime/random/random.h"

/* to[i] = (add ? to[i] : 0) + (kept ? from[i] / (1 - p) : 0) over all elements. */
static void apply(const tarn_call *call, const real *from, real *to, bool add)
{
    float probability = ((const tarn_dropout_attrs *)call->attrs)->probability;
    real factor = (real)(1.0f / (1.0f - probability));
    int64_t numel = tarn_view_numel(&call->in[0]), samples = dropout_samples(&call->random, numel);
    int64_t elements = numel / samples;
    for (int64_t i = 0; i < numel; i++) {
        dropout_words words = dropout_words_of(&call->random, i / elements);
        int64_t e = i % elements;
        uint32_t word[4];
        words.counter[0] = (uint32_t)(16 * (e / 64) + e % 16);
        tarn_philox(words.counter, words.key, word);
        real value = tarn_random_unit(word[e / 16 % 4]) >= probability ? from[i] * factor : (real)0;
        to[i] = add ? to[i] + value : value;
    }
}

static void forward(const tarn_call *call)
{
    apply(call, call->in[0].data, call->out[0].data, false);
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[0].data) apply(call, call->grad_out.data, call->grad_in[0].data, call->add[0]);
}

TARN_REFERENCE(dropout, forward, backward)
