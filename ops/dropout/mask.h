/* mask.h - where dropout's random words come from.
 *
 * Element e of a sample uses word (e / 16) % 4 of Philox block 16 (e / 64) + e % 16, so that sixteen neighbours use the
 * same word of sixteen neighbouring blocks: no shuffling on vectors. The counter is {block, stream ^ high half of the
 * sample << 16, low half of the sample, low half of the step}, the key {low half of the seed, high half of the seed ^
 * high half of the step}. Element e is kept when its word, as a number in [0, 1) of 24 bits, is at least the
 * probability.
 */
#ifndef TARN_OPS_DROPOUT_MASK_H
#define TARN_OPS_DROPOUT_MASK_H

#include <tarn/sys/op.h>

typedef struct dropout_words {
    uint32_t counter[4]; /* [0] is the block's */
    uint32_t key[2];
} dropout_words;

/* Samples the elements fall into. */
static inline int64_t dropout_samples(const tarn_random_key *random, int64_t numel)
{
    return random->samples > 0 && numel % random->samples == 0 ? random->samples : 1;
}

static inline dropout_words dropout_words_of(const tarn_random_key *random, int64_t sample)
{
    uint64_t position = random->first_sample + (uint64_t)sample;
    return (dropout_words){
        .counter = {0, random->stream ^ (uint32_t)(position >> 32) << 16, (uint32_t)position, (uint32_t)random->step},
        .key = {(uint32_t)random->seed, (uint32_t)(random->seed >> 32) ^ (uint32_t)(random->step >> 32)}};
}

#endif
