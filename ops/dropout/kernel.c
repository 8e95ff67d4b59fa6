/* kernel.c - dropout: Philox on sixteen blocks at once gives the words of 64 elements. */
#include "ops/attributes.h"
#include "ops/dropout/mask.h"
#include "ops/fast.h"

typedef struct dropout_work {
    const float *from;
    float *to;
    bool add;
    int64_t elements, groups; /* of a sample; groups of 64 elements, the last one partial */
    const tarn_call *call;
} dropout_work;

/* Philox4x32-10 (runtime/random/random.c) of sixteen counters that differ in their first word. */
TARN_INLINE void philox_sixteen(vi block, const dropout_words *words, vi out[4])
{
    vi c0 = block, c1 = vi_set1((int32_t)words->counter[1]), c2 = vi_set1((int32_t)words->counter[2]);
    vi c3 = vi_set1((int32_t)words->counter[3]);
    vi multiplier0 = vi_set1((int32_t)0xD2511F53u), multiplier1 = vi_set1((int32_t)0xCD9E8D57u);
    uint32_t k0 = words->key[0], k1 = words->key[1];
    for (int round = 0; round < 10; round++) {
        vi high0 = vi_mul_hi(multiplier0, c0), low0 = vi_mul_lo(multiplier0, c0);
        vi high1 = vi_mul_hi(multiplier1, c2), low1 = vi_mul_lo(multiplier1, c2);
        c0 = vi_xor(vi_xor(high1, c1), vi_set1((int32_t)k0));
        c1 = low1;
        c2 = vi_xor(vi_xor(high0, c3), vi_set1((int32_t)k1));
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Groups [begin, end) of all samples. */
static void groups_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const dropout_work *work = argument;
    float probability = ((const tarn_dropout_attrs *)work->call->attrs)->probability;
    vf limit = vf_set1(probability), factor = vf_set1(1.0f / (1.0f - probability)), unit = vf_set1(0x1p-24f);
    for (int64_t g = begin; g < end; g++) {
        int64_t sample = g / work->groups, group = g % work->groups;
        dropout_words words = dropout_words_of(&work->call->random, sample);
        vi word[4];
        philox_sixteen(vi_add(vi_set1((int32_t)(uint32_t)(16 * group)), vi_lane_index()), &words, word);
        int64_t first = sample * work->elements + group * 64, left = work->elements - group * 64;
        for (int w = 0; w < 4 && left > 0; w++, first += VF_LANES, left -= VF_LANES) {
            vm kept = vf_ge(vf_mul(vi_to_vf(vi_shr(word[w], 8)), unit), limit);
            vf value = vf_select(kept, vf_mul(vf_load_partial(work->from + first, left), factor), vf_zero());
            if (work->add) value = vf_add(vf_load_partial(work->to + first, left), value);
            vf_store_partial(work->to + first, value, left);
        }
    }
}

static void apply(const tarn_call *call, const float *from, float *to, bool add)
{
    int64_t numel = tarn_view_numel(&call->in[0]), samples = dropout_samples(&call->random, numel);
    int64_t elements = numel / samples, groups = (elements + 63) / 64;
    dropout_work work = {from, to, add, elements, groups, call};
    tarn_team_for(call->team, samples * groups, 16, groups_piece, &work);
}

static void forward(const tarn_call *call)
{
    apply(call, call->in[0].data, call->out[0].data, false);
}

static void backward(const tarn_call *call)
{
    if (call->grad_in[0].data) apply(call, call->grad_out.data, call->grad_in[0].data, call->add[0]);
}

TARN_FAST(dropout, forward, backward)
