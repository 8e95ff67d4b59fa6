/* checkpoint_state.h - a made-up training state of every type a checkpoint knows, for test_checkpoint.c and its case.
 */
#ifndef TARN_TESTS_CHECKPOINT_STATE_H
#define TARN_TESTS_CHECKPOINT_STATE_H

#include "checkpoint/store.h"

#include <string.h>

#define STATE_ENTRIES 10

typedef struct made_state {
    float weight[37 * 53], bias[53], moment[37 * 53], table[5000];
    uint16_t half[5];
    int32_t counts[7];
    int64_t step;
    double scale[1];
    uint8_t bytes[1001];
    tarn_checkpoint_entry entries[STATE_ENTRIES];
} made_state;

static inline void state_describe(made_state *s)
{
    const tarn_checkpoint_entry entries[STATE_ENTRIES] = {
        {"model/blocks.0.attention.weight", TARN_F32, 2, {37, 53}, s->weight, .in_digest = true},
        {"model/blocks.0.attention.bias", TARN_F32, 1, {53}, s->bias, .in_digest = true},
        {"optim/m/blocks.0.attention.weight", TARN_F32, 2, {37, 53}, s->moment, .in_digest = true},
        {"model/table", TARN_F32, 3, {5, 10, 100}, s->table, .in_digest = true},
        {"state/half", TARN_BF16, 1, {5}, s->half, .in_digest = true},
        {"state/counts", TARN_I32, 1, {7}, s->counts, .in_digest = false},
        {"state/step", TARN_I64, 0, {0}, &s->step, .in_digest = true},
        {"state/scale", TARN_F64, 1, {1}, s->scale, .in_digest = true},
        {"state/bytes", TARN_BOOL, 1, {1001}, s->bytes, .in_digest = false},
        {"state/empty", TARN_F32, 2, {0, 4}, NULL, .in_digest = true},
    };
    memcpy(s->entries, entries, sizeof entries);
}

/* Every byte of the state (subnormals, NaN and -0 among the floats) as a function of seed. */
static inline void state_fill(made_state *s, uint64_t seed)
{
    state_describe(s);
    static const size_t sizes[] = {sizeof s->weight, sizeof s->bias, sizeof s->moment, sizeof s->table, sizeof s->half,
                                   sizeof s->counts, sizeof s->step, sizeof s->scale,  sizeof s->bytes};
    uint64_t z = seed * 0x9E3779B97F4A7C15ull + 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizes[i]; k++) {
            z ^= z << 13;
            z ^= z >> 7;
            z ^= z << 17;
            ((uint8_t *)s->entries[i].data)[k] = (uint8_t)(z >> 40);
        }
}

#endif
