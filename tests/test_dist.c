/* test_dist.c - shards and the canonical tree; sums; then, on several ranks through case_dist: the reducer gives the
 * same bits whatever the ranks and threads, the control word decides alike everywhere, and no failure hangs. */
#include "runtime/base/context.h"
#include "runtime/worker/worker.h"
#include "runtime/dist/shards.h"
#include "runtime/dist/sum.h"
#include "runtime/dist/reducer.h"
#include "tests/support.h"

#include <criterion/criterion.h>

/* ---- shards ------------------------------------------------------------------------------------------------------ */

Test(shards, split_is_the_largest_power_of_two_below)
{
    for (int length = 2; length <= 300; length++) {
        int left = tarn_shards_split(10, 10 + length) - 10;
        cr_assert((left & (left - 1)) == 0 && left < length && 2 * left >= length, "length %d, left %d", length, left);
    }
}

Test(shards, every_shard_belongs_to_one_rank)
{
    for (int shards = 1; shards <= 64; shards++)
        for (int ranks = 1; ranks <= shards; ranks++) {
            int next = 0, least = shards, most = 0;
            for (int rank = 0; rank < ranks; rank++) {
                tarn_shard_range range = tarn_shards_of_rank(shards, ranks, rank);
                int length = range.end - range.begin;
                cr_assert(range.begin == next && length >= 1, "V %d P %d rank %d", shards, ranks, rank);
                if (length < least) least = length;
                if (length > most) most = length;
                next = range.end;
            }
            cr_assert(next == shards && most - least <= 1, "V %d P %d", shards, ranks);
        }
}

static bool is_node(int begin, int end, tarn_shard_range node)
{
    if (begin == node.begin && end == node.end) return true;
    if (end - begin < 2) return false;
    int split = tarn_shards_split(begin, end);
    return is_node(begin, split, node) || is_node(split, end, node);
}

/* Is there a node that lies within range and contains `node` properly? */
static bool has_larger(int begin, int end, tarn_shard_range range, tarn_shard_range node)
{
    if (begin > node.begin || end < node.end) return false;
    if (begin >= range.begin && end <= range.end && end - begin > node.end - node.begin) return true;
    if (end - begin < 2) return false;
    int split = tarn_shards_split(begin, end);
    return has_larger(begin, split, range, node) || has_larger(split, end, range, node);
}

Test(shards, subtrees_are_maximal_nodes_that_cover_the_range)
{
    for (int shards = 1; shards <= 64; shards++)
        for (int begin = 0; begin < shards; begin++)
            for (int end = begin + 1; end <= shards; end++) {
                tarn_shard_range subtrees[64], range = {begin, end};
                int found = tarn_shards_subtrees(shards, range, subtrees), next = begin;
                for (int i = 0; i < found; i++) {
                    cr_assert(subtrees[i].begin == next && subtrees[i].end > next);
                    cr_assert(is_node(0, shards, subtrees[i]) && !has_larger(0, shards, range, subtrees[i]));
                    next = subtrees[i].end;
                }
                cr_assert(next == end, "V %d [%d, %d)", shards, begin, end);
            }
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

Test(sums, tree_into_any_operand)
{
    /* ((0 + 1) + 2) + (3 + 4), values whose sum depends on the order. */
    int steps[] = {0, 1, TARN_SUM_ADD, 2, TARN_SUM_ADD, 3, 4, TARN_SUM_ADD, TARN_SUM_ADD};
    tarn_sum_tree tree = {.operands = 5, .length = 9, .steps = steps};
    enum { N = 9001 };
    static float values[5][N], expected[N];
    for (int target = 0; target < 5; target++) {
        float *operand[5];
        for (int k = 0; k < 5; k++) {
            operand[k] = values[k];
            for (int i = 0; i < N; i++)
                values[k][i] = (float)((i * 7919 + k * 104729) % 1000003) * (k % 2 ? 1e-6f : 3.7f);
        }
        for (int i = 0; i < N; i++)
            expected[i] = ((values[0][i] + values[1][i]) + values[2][i]) + (values[3][i] + values[4][i]);
        double squares[3];
        tarn_sum_along(&tree, operand, values[target], 0, N, squares);
        cr_assert(!memcmp(values[target], expected, sizeof expected), "into operand %d", target);
        for (int b = 0; b < 3; b++)
            cr_assert(squares[b] == tarn_sum_squares(expected + 4096 * b, b < 2 ? 4096 : N - 8192));
    }
}

Test(sums, squares_in_sixteen_lanes)
{
    float values[50];
    double lane[16] = {0};
    for (int i = 0; i < 50; i++) values[i] = 1.0f / (float)(i + 3);
    for (int i = 0; i < 50; i++) lane[i % 16] += (double)values[i] * (double)values[i];
    for (int width = 8; width; width /= 2)
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    cr_assert(tarn_sum_squares(values, 50) == lane[0]);
    cr_assert(tarn_sum_squares(values, 0) == 0);
}

/* ---- the choice of a comm ---------------------------------------------------------------------------------------- */

Test(comm, slurm_step_without_pmi_names_the_remedy)
{
    char *output;
    int code =
        tarn_test_run("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 " TARN_BINARY_DIR "/tests/case_dist control", 20, &output);
    cr_assert(code == 2 && strstr(output, "srun --mpi=pmix") && strstr(output, "mpirun"), "%d: %s", code, output);
    free(output);
    code =
        tarn_test_run("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1 " TARN_BINARY_DIR "/tests/case_dist control", 20, &output);
    cr_assert(code == 0, "%d: %s", code, output);
    free(output);
}

Test(comm, every_operation, .timeout = 300)
{
    for (int ranks = 0; ranks <= 4; ranks++) {
        char *output;
        int code = tarn_test_mpirun(ranks, "case_dist messages", &output);
        cr_assert(code == 0 && strstr(output, "ok"), "%d ranks: %d: %s", ranks, code, output);
        free(output);
    }
}

/* ---- the reducer ------------------------------------------------------------------------------------------------- */

static void same_digests(int shards, long count, const int *ranks, int cases, const char *rest)
{
    char *command = tarn_test_format("case_dist reduce %d %ld 1 1 0 %s", shards, count, rest), *reference;
    int code = tarn_test_mpirun(0, command, &reference);
    cr_assert(code == 0 && strstr(reference, "step 2 digest"), "%s: %d: %s", command, code, reference);
    free(command);
    for (int i = 0; i < cases; i++)
        for (int threads = 1; threads <= 4; threads *= 2) {
            /* More threads than leaders and small buckets in turn. */
            command = tarn_test_format("case_dist reduce %d %ld %d %d %d %s", shards, count, threads,
                                       threads == 4 ? 3 : threads, threads == 2 ? 16384 : 0, rest);
            char *output;
            code = tarn_test_mpirun(ranks[i], command, &output);
            cr_assert(code == 0 && !strcmp(output, reference), "%d ranks: %s: %d: %s\nexpected %s", ranks[i], command,
                      code, output, reference);
            free(output);
            free(command);
        }
    free(reference);
}

Test(reducer, same_bits_for_8_shards, .timeout = 600)
{
    same_digests(8, 70001, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8}, 9, "");
}

Test(reducer, same_bits_for_odd_shards, .timeout = 600)
{
    same_digests(7, 33333, (int[]){0, 2, 3, 5, 7}, 5, "");
    same_digests(13, 4096, (int[]){0, 3, 4}, 3, "");
}

Test(reducer, small_and_empty_buffers, .timeout = 600)
{
    same_digests(5, 1, (int[]){0, 3, 5}, 3, "");
    same_digests(3, 0, (int[]){0, 2}, 2, "");
    same_digests(1, 5000, (int[]){0, 1}, 2, "");
}

Test(reducer, failed_shards_count_as_zeros, .timeout = 600)
{
    same_digests(8, 20000, (int[]){0, 2, 3}, 3, "3");
    /* A whole rank that ran nothing; the case compares with the definition. */
    for (int rank = 0; rank < 3; rank++) {
        char *command = tarn_test_format("case_dist reduce 8 20000 2 2 0 -1 %d", rank), *output;
        int code = tarn_test_mpirun(3, command, &output);
        cr_assert(code == 0, "%s: %d: %s", command, code, output);
        free(output);
        free(command);
    }
}

Test(reducer, too_many_ranks_is_an_error_that_says_what_works, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(3, "case_dist reduce 2 1000 1 1 0", &output);
    cr_assert(code == 2 && strstr(output, "at most 2 rank") && strstr(output, "3 shards or more"), "%d: %s", code,
              output);
    free(output);
}

Test(reducer, deadline_names_the_missing_rank, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(3, "case_dist late", &output);
    cr_assert(code == 1 && strstr(output, "for rank 2 at: reducing the gradients"), "%d: %s", code, output);
    free(output);
}

/* ---- control word ------------------------------------------------------------------------------------------------ */

Test(control, losses_and_flags_reach_everybody, .timeout = 300)
{
    for (int ranks = 0; ranks <= 5; ranks++) {
        char *output;
        int code = tarn_test_mpirun(ranks, "case_dist control", &output);
        cr_assert(code == 0 && strstr(output, "ok"), "%d ranks: %d: %s", ranks, code, output);
        free(output);
    }
}

static int occurrences(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

Test(control, the_lowest_shards_error_wins_everywhere, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(4, "case_dist fail 5 2", &output);
    cr_assert(code == 1 && occurrences(output, "heard: rank 3: shard 2 went wrong") == 4, "%d: %s", code, output);
    free(output);
    code = tarn_test_mpirun(4, "case_dist fail 2 5", &output);
    cr_assert(code == 1 && occurrences(output, "heard: rank 1: shard 2 went wrong") == 4, "%d: %s", code, output);
    cr_assert(occurrences(output, "tarn: rank 1: shard 2 went wrong") == 1, "printed once: %s", output);
    free(output);
}

Test(control, divergence_names_the_minority_rank, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(4, "case_dist diverge", &output);
    cr_assert(code == 1 && strstr(output, "rank 2: step 17: its parameters differ"), "%d: %s", code, output);
    free(output);
}

Test(control, agreement_at_start_up, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(3, "case_dist agree 1", &output);
    cr_assert(code == 2 && occurrences(output, "tarn: rank 1: line 3: unknown key 'wdith'") == 1, "%d: %s", code,
              output);
    free(output);
    code = tarn_test_mpirun(0, "case_dist agree 0", &output);
    cr_assert(code == 2 && strstr(output, "tarn: line 3: unknown key"), "%d: %s", code, output);
    free(output);
}

Test(control, a_failure_of_one_rank_alone_ends_all, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(3, "case_dist abort", &output);
    cr_assert(code == 1 && strstr(output, "the disk of one rank is gone"), "%d: %s", code, output);
    free(output);
}

Test(control, deadline_of_a_barrier, .timeout = 120)
{
    char *output;
    int code = tarn_test_mpirun(3, "case_dist vanish", &output);
    cr_assert(code == 1 && strstr(output, "the barrier of the test") && strstr(output, "TARN_COMM_TIMEOUT"), "%d: %s",
              code, output);
    free(output);
}

Test(control, deadline_of_joining_the_ranks, .timeout = 120)
{
    char *output;
    setenv("TARN_COMM_TIMEOUT", "2", 1);
    int code = tarn_test_mpirun(3, "case_dist absent", &output);
    cr_assert(code == 1 && strstr(output, "at: joining the ranks"), "%d: %s", code, output);
    free(output);
}

Test(control, binding_to_fewer_cores_is_told, .timeout = 120)
{
    char *output;
    int code = tarn_test_run_mpi("mpirun --oversubscribe --bind-to core "
                                 "--timeout 20 -n 1 " TARN_BINARY_DIR "/tests/case_dist binding 2",
                                 30, &output);
    /* A machine that allows no binding says so itself. */
    cr_assert(code != 0 || strstr(output, "--bind-to none") || tarn_allowed_cores() == 1, "%d: %s", code, output);
    free(output);
    code = tarn_test_mpirun(1, "case_dist binding 2", &output);
    cr_assert(code == 0 && !strstr(output, "--bind-to"), "%d: %s", code, output);
    free(output);
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

Test(workers, pool_and_teams, .timeout = 120)
{
    char *output;
    int code = tarn_test_run(TARN_BINARY_DIR "/tests/case_workers", 60, &output);
    cr_assert(code == 0 && strstr(output, "ok"), "%d: %s", code, output);
    free(output);
}
