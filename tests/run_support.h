/* run_support.h - what tests of whole runs share: a folder with a text and a run file, the tarn program, digests. */
#ifndef TARN_TESTS_RUN_SUPPORT_H
#define TARN_TESTS_RUN_SUPPORT_H

#include "tests/support.h"

#include <stdint.h>

#define TARN_PROGRAM TARN_BINARY_DIR "/tarn"

/* A made-up text: sentences over 34 characters, the same on every machine. Not random enough to be unlearnable. */
__attribute__((unused)) static bool tarn_test_write_text(const char *path, int sentences)
{
    static const char *const words[] = {"the",     "tarn", "lies",  "under", "a",  "hill",      "and",
                                        "water",   "runs", "down",  "from",  "it", "to",        "sea",
                                        "quietly", "at",   "night", "Zeus",  "x",  "jvbgfqkpmc"};
    FILE *file = fopen(path, "w");
    uint32_t state = 12345;
    for (int i = 0; file && i < sentences; i++) {
        for (int k = 0; k < 6; k++) {
            state = state * 1664525u + 1013904223u;
            fprintf(file, k ? " %s" : "%s", words[(state >> 16) % 20]);
        }
        fputs(".\n", file);
    }
    return file && !fclose(file);
}

/* Runs the tarn program in `folder` on `ranks` ranks (0: without mpirun) with an environment prefix ("TARN_ISA=avx2",
 * ""). */
__attribute__((unused)) static int tarn_test_tarn(const char *folder, const char *environment, int ranks,
                                                  const char *arguments, char **output)
{
    char *launch =
        ranks ? tarn_test_format("mpirun --oversubscribe --bind-to none --timeout 200 -n %d ", ranks) : strdup("");
    char *line = tarn_test_format("cd %s && export TARN_TEST=1 %s && exec %s" TARN_PROGRAM " %s", folder, environment,
                                  launch, arguments);
    int code = (ranks ? tarn_test_run_mpi : tarn_test_run)(line, 240, output);
    free(launch);
    free(line);
    return code;
}

/* The digest of a checkpoint directory; "" when there is none. Freed by the caller. */
__attribute__((unused)) static char *tarn_test_digest(const char *folder, const char *directory)
{
    char *arguments = tarn_test_format("checkpoint digest %s", directory), *output = NULL;
    int code = tarn_test_tarn(folder, "", 0, arguments, &output);
    free(arguments);
    if (code || !output) {
        free(output);
        return strdup("");
    }
    output[strcspn(output, "\n")] = 0;
    return output;
}

/* Does this machine run the ISA? */
__attribute__((unused)) static bool tarn_test_has_isa(const char *isa)
{
    __builtin_cpu_init();
    if (!strcmp(isa, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (!strcmp(isa, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return true;
}

#endif
