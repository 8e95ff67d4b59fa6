/* test_run.c - `tarn run` as a whole, with ranks that do what they are told (case_supervised): every way to end, disks
 * and terminals that stand still. Nothing depends on how long anything takes: events happen at steps, and shell scripts
 * wait for files. tests/test_run_train.c has runs of `tarn train`. */
#include "launch/supervisor/workspace.h"
#include "tests/supervised_support.h"

#include <cjson/cJSON.h>

TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 300);

/* tarn run with told ranks. */
static char *told(int expected, const char *options, const char *steps_and_events)
{
    char *text = tarn_test_format("exec $T run %s -- $FAKE . %s", options, steps_and_events);
    char *output = script(expected, text);
    free(text);
    return output;
}

static cJSON *read_status(void)
{
    char *path = tarn_test_format("%s/supervisor.json", folder), *text = tarn_test_read(path, NULL);
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    cr_assert(json, "no status file: %s", text ? text : path);
    free(text);
    free(path);
    return json;
}

/* Checks the end the status file tells, and that no process, file or segment of the run is left. */
static void expect_state(const char *state, int restarts)
{
    cJSON *json = read_status();
    cr_expect_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(json, "state")), state);
    if (restarts >= 0) cr_expect_eq(cJSON_GetObjectItem(json, "restarts")->valueint, restarts);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(json, "workspace"));
    char *segments = tarn_test_format("/dev/shm/%s", name);
    cr_expect_eq(tarn_kill_named(name), 0, "processes are left");
    cr_expect(access(segments, F_OK), "%s is left", segments);
    free(segments);
    cJSON_Delete(json);
    expect_nothing_left();
}

static void expect_step(const char *step)
{
    char *path = tarn_test_format("%s/step", folder), *text = tarn_test_read(path, NULL);
    cr_expect(text && !strncmp(text, step, strlen(step)), "step %s instead of %s", text, step);
    free(text);
    free(path);
}

Test(run, every_kind_of_failure_is_survived)
{
    char *output = told(0, "-n 2", "100 0.005 kill@20:1 segv@40:0:2 exit1@60:1:3 fail@80:0:4");
    expect_step("100");
    expect_state("finished", 4);
    expect_text(output, "signal 9");
    expect_text(output, "signal 11");
    expect_text(output, "exit code 1");
    expect_text(output, "rank 0 on");
    expect_text(output, "the disk of step 80 cannot be read: look at the cable");
    free(output);
    char *path = tarn_test_format("%s/launched", folder), *launched = tarn_test_read(path, NULL);
    expect_text(launched, "ranks 2 restarted no from 0\n");
    expect_text(launched, "ranks 2 restarted yes from 80\n");
    free(launched);
    free(path);
}

Test(run, one_rank_needs_no_mpirun)
{
    char *output = told(0, "--mpirun /nowhere", "60 0.005 segv@20 kill@30:0:2");
    expect_step("60");
    expect_state("finished", 2);
    free(output);
}

Test(run, hung_ranks_are_named_their_stacks_kept_and_the_run_goes_on)
{
    static const struct {
        const char *event, *name, *text;
        int rank; /* that answers when stacks are asked for: a stopped one is woken for it */
    } table[] = {{"stop@20:1", "rank 1 on ", "nothing heard of it", 1},
                 {"stuck@20:0", "rank 0 on ", "no work done", 0},
                 {"deadlock@20:0 deadlock@20:1", "rank 1 on ", "waiting for others", 1}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *options = tarn_test_format("40 0.02 %s", table[i].event);
        char *output = told(0, "-n 2 --hang 3", options);
        expect_text(output, table[i].name);
        expect_text(output, table[i].text);
        expect_text(output, "step 20: shard ");
        expect_text(output, "stacks of all ranks: ");
        expect_state("finished", 1);
        free(output);
        char *look = tarn_test_format(
            "grep -h 'thread main of rank %d' stacks-*.txt && rm -f stacks-* step launched *.json", table[i].rank);
        free(script(0, look));
        free(look);
        free(options);
    }
}

Test(run, a_rank_that_never_joins_is_named)
{
    char *output = told(0, "-n 2 --start-timeout 3", "20 0.005 mute@-1:1");
    expect_text(output, "1 of 2 ranks joined within 3 s of the start; missing: rank 1");
    expect_state("finished", 1);
    free(output);
}

Test(run, a_program_without_tarn_is_watched_by_its_exit_code_alone)
{
    static const char *const options[] = {"", "-n 2"};
    for (int i = 0; i < 2; i++) {
        char *text = tarn_test_format("exec $T run %s --start-timeout 1 -- sleep 4", options[i]);
        char *output = script(0, text);
        expect_text(output, "no rank speaks to the supervisor");
        expect_text(output, "only by its exit code");
        cr_expect(!strstr(output, "starting again"), "%s", output);
        expect_nothing_left();
        free(output);
        free(text);
    }
}

Test(run, mpirun_killed_or_stopped)
{
    char *output = script(0, "$T run -n 2 --hang 3 -- $FAKE . 160 0.06 & P=$!\n"
                             "steps 10; kill -KILL $(child $P)\n"
                             "until grep -q 'restarted yes' launched; do sleep 0.05; done\n"
                             "kill -STOP $(child $P); wait $P");
    expect_step("160");
    expect_text(output, "mpirun was ended by signal 9");
    expect_text(output, "has been stopped for");
    expect_state("finished", 2);
    free(output);
}

Test(run, what_killed_ranks_were_writing_is_removed_unless_another_run_writes)
{
    free(script(0, "touch .lock .tmp-ckpt-1 keep"));
    free(told(0, "-n 2", "20 0.005 kill@10:1"));
    free(script(0, "[ ! -e .tmp-ckpt-1 ] && [ -e keep ] && touch .tmp-ckpt-1"));
    free(script(0, "rm -f step; flock .lock sleep 600 & P=$!\n"
                   "until ! flock -n .lock true; do sleep 0.05; done\n"
                   "$T run -n 2 -- $FAKE . 20 0.005; code=$?; pkill -P $P; wait $P; exit $code"));
    free(script(0, "[ -e .tmp-ckpt-1 ]"));
}

Test(run, a_stop_saves_ends_with_75_and_the_same_command_goes_on)
{
    static const char *const signals[] = {"TERM", "INT", "USR1", "HUP"};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        char *text = tarn_test_format("rm -f step launched\n"
                                      "$T run -n 2 -- $FAKE . 400 0.01 & P=$!\n"
                                      "steps 10; kill -%s $P; wait $P; echo \"code $?\"",
                                      signals[i]);
        char *output = script(0, text), *cause = tarn_test_format("stopped (SIG%s)", signals[i]);
        expect_text(output, "code 75");
        expect_text(output, cause);
        expect_state("stopped", 0);
        free(cause);
        free(output);
        free(text);
    }
    free(told(0, "-n 2", "60 0.005"));
    expect_step("60");
    expect_state("finished", 0);
}

Test(run, a_program_that_does_not_stop_is_killed)
{
    char *output = script(0, "$T run -n 2 --grace 1 -- $FAKE . 100000 0.01 deaf@5:0 deaf@5:1 & P=$!\n"
                             "steps 10; kill -TERM $P; wait $P; echo \"code $?\"");
    expect_text(output, "code 75");
    expect_text(output, "no end 1 s after the stop");
    expect_state("stopped", 0);
    free(output);
    output = script(0, "rm -f step; $T run -n 2 -- $FAKE . 100000 0.01 deaf@5:0 deaf@5:1 & P=$!\n"
                       "steps 10; kill -INT $P; until grep -q stopping supervisor.json; do sleep 0.05; done\n"
                       "kill -INT $P; wait $P; echo \"code $?\"");
    expect_text(output, "code 75");
    expect_text(output, "second interrupt");
    expect_state("stopped", 0);
    free(output);
}

Test(run, preempted_ranks_are_started_again_and_a_leaving_host_ends_the_run)
{
    char *output = told(0, "-n 2 --max-restarts 0", "40 0.005 stopself@20:0 stopself@20:1");
    expect_text(output, "preempted: signal 15");
    expect_step("40");
    free(output);
    output = told(75, "-n 2", "80 0.005 spot@60:0 spot@60:1");
    expect_text(output, "stopped (spot aws host ");
    expect_state("stopped", 0);
    free(output);
}

Test(run, what_would_come_again_is_not_tried_again)
{
    char *output = told(1, "-n 2", "40 0.005 failformat@0:0:*");
    expect_text(output, "gave up: starting again would bring the same: ");
    expect_text(output, "none of the 2 checkpoints can be read");
    cr_expect(!strstr(output, "starting again;") && !strstr(output, "; starting again"), "%s", output);
    expect_state("failed", 0);
    free(output);
    char *path = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(path, 30));
    free(path);
    output = script(1, "printf 'model: {kind: gpt, layers: 1, heads: 1, width: 8, context: 8}\n"
                       "data: {kind: text, path: text.txt}\ntrain: {steps: 9}\ntrack: {store: null}\n' > run.yaml\n"
                       "touch file; exec $T run -n 2 -- $T train run.yaml --quiet checkpoint.dir=file/x");
    expect_text(output, "; starting again");
    expect_text(output, "gave up: starting again would bring the same: ");
    const char *once = strstr(output, "; starting again");
    cr_expect(once && !strstr(once + 1, "; starting again"), "one more try: %s", output);
    free(output);
}

Test(run, what_is_wrong_is_not_tried_again)
{
    char *output = told(2, "-n 2", "40 0.005 failconfig@0");
    expect_text(output, "run.yaml:3: train.steps is wrong");
    expect_state("failed", 0);
    free(output);
    static const struct {
        const char *arguments, *text;
    } table[] = {{"-n x -- true", "-n: x is no value for it"},
                 {"-n 0 -- true", "-n: 0 is no value"},
                 {"--foo 1 -- true", "--foo: no such option"},
                 {"--max-restart 1 -- true", "--max-restart: no such option; did you mean --max-restarts?"},
                 {"-n 2 --mpi-option --no-such-thing -- true", "mpirun started no process (exit code "},
                 {"-n", "-n: its value is missing"},
                 {"-n 2", "what is to be run is missing"},
                 {"-n 2 -- ./none", "there is no program ./none"},
                 {"-n 2 --mpirun none -- true", "there is no none: install Open MPI"},
                 {"-n 2 --min-ranks 3 -- true", "--min-ranks 3 is more than the 2 ranks"},
                 {"--host a --hostfile b -- true", "give one of"},
                 {"--host a:b -- true", "'a:b' is no host"},
                 {"--hostfile none -- true", "-hostfile none: No such file or directory: give a file you may read"},
                 {"--status /nowhere/x.json -- true",
                  "--status /nowhere/x.json: No such file or directory: name a file in a directory"},
                 {"--hang -1 -- true", "--hang: -1 is no value"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *text = tarn_test_format("exec $T run %s", table[i].arguments);
        output = script(2, text);
        expect_text(output, table[i].text);
        free(output);
        free(text);
    }
    expect_nothing_left();
}

Test(run, no_progress_ends_the_run_and_the_reason_is_told)
{
    char *output = told(1, "-n 2 --max-stalled 2 --backoff 0.01", "50 0.005 fail@20:0:*");
    expect_text(output, "gave up: 2 restarts in a row without a step beyond 20");
    expect_text(output, "rank 0 on ");
    expect_text(output, "look at the cable");
    expect_text(output, "goes on from step 20");
    expect_state("failed", 2);
    free(output);
    output = told(1, "-n 2 --max-restarts 1 --backoff 0.01", "90 0.005 fail@30:0 fail@40:0:2");
    expect_text(output, "gave up after 1 restart (--max-restarts)");
    free(output);
    output = script(1, "exec $T run -n 2 --max-stalled 1 --backoff 0.01 -- false");
    expect_text(output, "gave up: 1 restart in a row and never a first step");
    free(output);
}

Test(run, a_directory_another_run_still_holds_is_waited_for)
{
    char *output = told(0, "-n 2 --max-restarts 0", "20 0.005 busy@0:0 busy@0:0:2");
    expect_text(output, "busy: ");
    expect_state("finished", 0);
    free(output);
}

Test(run, children_that_ranks_leave_do_not_outlive_the_run)
{
    free(told(0, "-n 2", "30 0.005 kidleft@10"));
    expect_state("finished", 0);
}

Test(run, a_second_supervisor_is_refused_and_a_killed_one_leaves_nothing_to_the_next)
{
    char *output = script(
        0,
        "$T run -n 2 -- $FAKE . 100000 0.01 & P=$!\n"
        "steps 10; until [ -f supervisor.json ]; do sleep 0.05; done\n"
        "$T run -n 1 --status supervisor.json -- $FAKE . 5 0.01; echo \"code $?\"\n"
        "until grep -q '\"begun\":.true' supervisor.json; do sleep 0.05; done\n"
        "kill -KILL $P; wait $P; echo \"killed $?\"\n"
        "$T run -n 2 --status supervisor.json -- $FAKE . 50 0.01; echo \"code $?\"; grep -c 'restarted yes' launched");
    expect_text(output, "another tarn run supervises this run: process ");
    expect_text(output, "code 2");
    expect_text(output, "killed 137");
    expect_text(output, "code 0\n1\n");
    expect_state("finished", 0);
    free(output);
}

Test(run, fewer_ranks_when_hosts_are_gone_and_more_when_they_return)
{
    /* "Other" hosts are this one behind an agent that can be told to fail: tests/hosts has real ones. */
    static const char agent[] = "#!/bin/sh\nhost=$1; shift\n[ -e down.$host ] && exit 1\nexec sh -c \"$*\"\n";
    char *path = tarn_test_format("%s/agent", folder);
    tarn_test_write(path, agent, strlen(agent));
    chmod(path, 0755);
    char *output =
        script(0, "touch down.other\n"
                  "$T run --regrow 0.2 --rsh-agent ./agent --host localhost:1,other:1 -- $FAKE . 300 0.02 &\n"
                  "P=$!; steps 10; rm down.other; wait $P");
    expect_step("300");
    expect_text(output, "room for 1 of 2 ranks");
    expect_text(output, "room for 2 ranks again");
    expect_state("finished", 0);
    free(output);
    char *name = tarn_test_format("%s/launched", folder), *launched = tarn_test_read(name, NULL);
    expect_text(launched, "ranks 1 restarted no from 0\n");
    expect_text(launched, "ranks 2 restarted yes");
    free(launched);
    free(name);
    output = script(
        0, "rm -f step; touch down.other\n"
           "$T run --min-ranks 2 --rsh-agent ./agent --host localhost:1,other:1 -- $FAKE . 30 0.01 > log 2>&1 &\n"
           "P=$!; until grep -q waiting log; do sleep 0.05; done; rm down.other; wait $P; cat log");
    expect_text(output, "--min-ranks is 2: waiting");
    expect_step("30");
    free(output);
    free(path);
}

/* Ranks end themselves when they hear nothing for --hang. */
Test(run, ranks_go_on_while_the_disk_of_the_status_file_stands_still)
{
    char *output = script(
        0, "FILES=supervisor.json\n" STALL "$STALL $T run -n 2 --hang 2 -- $FAKE . 100000 0.01 >log 2>&1 & P=$!\n"
           "steps 10; until grep -q '\"begun\":.true' supervisor.json; do sleep 0.05; done\n"
           /* the next text is due after five seconds */
           "touch still; sleep 1; cp supervisor.json before; sleep 10; cmp before supervisor.json && echo stood\n"
           "A=$(cat step); steps $((A + 5)); rm still\n"
           "while cmp -s before supervisor.json; do sleep 0.05; done; echo written\n"
           "kill -TERM $P; wait $P; echo \"code $?\"; cat launched log");
    expect_text(output, "stood\nwritten\ncode 75\nranks 2 restarted no from 0\n");
    cr_expect(!strstr(output, "restarted yes"), "%s", output);
    expect_state("stopped", 0);
    free(output);
}

Test(run, a_claim_that_waits_for_the_disk_keeps_nobody_who_trains_and_comes_too_late_for_none)
{
    char *output = script(0, "FILES=supervisor.json\n" STALL
                             "touch still; $STALL $T run -n 2 --hang 2 -- $FAKE . 100000 0.01 >log 2>&1 & P=$!\n"
                             "steps 10; sleep 5; A=$(cat step); steps $((A + 5))\n"
                             /* another one has the file when the disk is back */
                             "flock supervisor.json sleep 600 & Q=$!\n"
                             "until ! flock -n supervisor.json true; do sleep 0.05; done; rm still\n"
                             "until grep -q 'this run trains there and goes on' log; do sleep 0.05; done\n"
                             "A=$(cat step); steps $((A + 100)); pkill -P $Q; wait $Q\n"
                             "until grep -q '\"begun\":.true' supervisor.json; do sleep 0.05; done\n"
                             "kill -TERM $P; wait $P; echo \"code $?\"; cat launched log");
    expect_text(output, "code 75\nranks 2 restarted no from 0\n");
    expect_text(output, "another tarn run supervises this run");
    expect_state("stopped", 0);
    free(output);
}

/* A terminal that is held, a pipe whose reader is busy. */
Test(run, a_stderr_that_nobody_reads_holds_up_nothing_but_its_lines)
{
    char *output =
        script(0, "mkfifo pipe; exec 9<>pipe\n"
                  "dd if=/dev/zero of=pipe bs=512 oflag=nonblock 2>/dev/null\n"
                  "$T run -n 2 --hang 2 -- $FAKE . 400 0.01 kill@20:1 stuck@100:0:2 2>pipe & P=$!\n"
                  "until grep -q '\"state\":.\"finished\"' supervisor.json; do sleep 0.05; done 2>/dev/null\n"
                  "cat step; tr -d '\\000' <pipe 9>&- & R=$!; wait $P; echo \"code $?\"; sleep 1\n"
                  "exec 9>&-; wait $R");
    cr_expect(!strncmp(output, "400\n", 4), "%s", output);
    expect_text(output, "the first to go was rank 1");
    expect_text(output, "no work done");
    expect_text(output, "stacks of all ranks: ");
    expect_text(output, "code 0");
    expect_state("finished", 2);
    free(output);
}
