/* supervised_support.h - shell scripts around `tarn run` in a folder, and what it left there. */
#ifndef TARN_TESTS_SUPERVISED_SUPPORT_H
#define TARN_TESTS_SUPERVISED_SUPPORT_H

#include "tests/run_support.h"

#include <criterion/criterion.h>

#define FAKE TARN_BINARY_DIR "/tests/case_supervised"

/* $STALL before a command: what `tarn run` does to files that begin with $FILES waits while the file `still` exists. */
#define STALL                                                                                                          \
    "STALL=\"env LD_PRELOAD=" TARN_BINARY_DIR "/tests/libstall_io.so TARN_STALL_PREFIX=$PWD/$FILES "                   \
    "TARN_STALL_WHILE=$PWD/still TARN_STALL_WORD=run ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0\"\n"

static char *folder;

__attribute__((unused)) static void set_up(void)
{
    folder = tarn_test_fast_directory();
    setenv("TMPDIR", folder, 1); /* sessions lie here: what is left can be seen */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
}

/* The temporary folder must hold what it held before: called by tests after a run. */
__attribute__((unused)) static void expect_nothing_left(void)
{
    DIR *opened = opendir(folder);
    for (struct dirent *entry; opened && (entry = readdir(opened));)
        cr_expect(strncmp(entry->d_name, "tarn-run-", 9) && strncmp(entry->d_name, "ompi.", 5) &&
                      !strstr(entry->d_name, ".tmp"),
                  "left: %s", entry->d_name);
    if (opened) closedir(opened);
}

__attribute__((unused)) static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

/* Runs a shell script in the folder: $T is the program, $FAKE the told rank; the functions wait for things. */
__attribute__((unused)) static char *script(int expected, const char *text)
{
    static const char head[] =
        "cd %s; T=" TARN_PROGRAM "; FAKE=" FAKE "\n"
        /* steps N: waits until the told ranks have done N steps */
        "steps() { until [ -f step ] && [ \"$(cat step)\" -ge \"$1\" ]; do sleep 0.05; done; }\n"
        "child() { until pgrep -P \"$1\" >/dev/null; do sleep 0.05; done; pgrep -P \"$1\" | head -n 1; }\n"
        "%s\n";
    char *command = tarn_test_format(head, folder, text), *output;
    int code = tarn_test_run(command, 240, &output);
    cr_expect_eq(code, expected, "%s\nexit code %d instead of %d: %s", text, code, expected, output);
    free(command);
    return output;
}

__attribute__((unused)) static void expect_text(char *output, const char *text)
{
    cr_expect(strstr(output, text), "'%s' is missing in: %s", text, output);
}

#endif
