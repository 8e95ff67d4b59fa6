/* test_slurm.c - launch/slurm/train.sbatch under a real SLURM, which tests/slurm/check_slurm.py starts for the purpose.
 *
 * One test, because all jobs run side by side in one SLURM: its output names every scenario. Skipped, with the reason,
 * where the daemons cannot be started. scripts/test installs slurm-wlm and munge.
 */
#include "tests/run_support.h"

#include <criterion/criterion.h>

enum { CANNOT_RUN_HERE = 77, SECONDS = 900 };

Test(slurm, jobs_come_back_with_the_same_bits, .timeout = SECONDS + 60)
{
    char *output = NULL;
    int code = tarn_test_run("exec /usr/bin/python3 " TARN_SOURCE_DIR "/tests/slurm/check_slurm.py " TARN_PROGRAM
                             " " TARN_SOURCE_DIR "/launch/slurm/train.sbatch",
                             SECONDS, &output);
    if (code == CANNOT_RUN_HERE) {
        printf("SKIP the jobs under SLURM: %s", output); /* the reason stands in the log of scripts/test */
        fflush(stdout);
        cr_skip_test("no SLURM");
    }
    printf("%s", output);
    cr_assert_eq(code, 0, "exit %d\n%s", code, output);
    cr_assert(strstr(output, "ok time_limit"), "the scenario of the time limit did not run:\n%s", output);
    free(output);
}

/* A wrong call is told before anything is started. */
Test(slurm, the_script_outside_slurm_says_what_it_is)
{
    char *output = NULL;
    int code = tarn_test_run("unset SLURM_JOB_ID; exec bash " TARN_SOURCE_DIR "/launch/slurm/train.sbatch run.yaml", 30,
                             &output);
    cr_assert_eq(code, 2);
    cr_assert(strstr(output, "sbatch"), "%s", output);
    free(output);
}
