/* test_hosts.c - runs on several hosts: the network and the hosts fail, the run ends in time or goes on, with the same
 * bits.
 *
 * A host is a set of namespaces on this machine: see tests/hosts/README.md. What happens in each test is written in
 * tests/hosts/scenarios; here they are only called. Where namespaces are not permitted the tests are skipped.
 */
#include "tests/support.h"

#include <criterion/criterion.h>

/* Runs one scenario. */
static void scenario(const char *words)
{
    char *output, *line = tarn_test_format("export TARN_PROGRAM=%s/tarn HOSTS_RELAY=%s/tests/hosts_relay\n"
                                           "exec %s/tests/hosts/scenarios %s",
                                           TARN_BINARY_DIR, TARN_BINARY_DIR, TARN_SOURCE_DIR, words);
    int code = tarn_test_run(line, 900, &output);
    free(line);
    if (code == 77) cr_skip("%s", output);
    cr_assert_eq(code, 0, "%s: exit code %d: %s", words, code, output);
    free(output);
}

static bool is_long(void)
{
    const char *value = getenv("TARN_TEST_LONG");
    return value && *value;
}

TestSuite(hosts, .timeout = 3000);

Test(hosts, hosts_share_only_their_network_and_leave_nothing)
{
    scenario("harness");
}

Test(hosts, several_hosts_give_the_digest_of_one)
{
    scenario("digest");
}

Test(hosts, lost_and_late_frames_change_nothing)
{
    scenario("relay 1");
    if (!is_long()) return;
    static const char *const networks[] = {"relay 2 0.03 '0.1 2'", "relay 3 0.10 '0 0'", "relay 4 0.02 '5 5'",
                                           "relay 5 0.05 '1 20'"};
    for (int i = 0; i < 4; i++) scenario(networks[i]);
}

Test(hosts, a_cable_that_is_out_for_a_moment_changes_nothing)
{
    scenario("break");
}

/* Under mpirun alone: ranks on both sides end themselves and say what they waited for. */
Test(hosts, ranks_beyond_a_partition_end_themselves)
{
    scenario("partition link");
    scenario("partition loss");
    if (!is_long()) return;
    scenario("partition blackhole");
    scenario("partition relay");
    scenario("partition kill");
}

/* With keep-alive mpirun and its daemons end too. */
Test(hosts, mpirun_with_keep_alive_ends_on_both_sides)
{
    scenario("partition blackhole alive");
    scenario("partition kill alive");
    if (!is_long()) return;
    scenario("partition link alive");
    scenario("partition relay alive");
    scenario("partition loss alive");
}

Test(hosts, a_host_that_crashes_ends_the_run)
{
    scenario("partition crash");
}

/* Under tarn run: restarted without the host that is gone, and with it when it is back. */
Test(hosts, the_supervisor_goes_on_without_a_host_and_takes_it_back)
{
    scenario("recovery link");
    scenario("recovery kill");
    if (!is_long()) return;
    scenario("recovery blackhole 2");
    scenario("recovery relay 2");
    scenario("recovery loss 2");
    scenario("recovery crash 3");
    scenario("recovery kill 3");
}

Test(hosts, a_killed_supervisor_leaves_no_rank_on_any_host)
{
    scenario("orphans");
}

Test(hosts, the_supervisor_begins_without_a_late_host_or_waits_for_it)
{
    scenario("late");
}

Test(hosts, two_hosts_that_do_not_reach_each_other_are_not_used_together)
{
    scenario(is_long() ? "split whole" : "split");
}

Test(hosts, faults_at_random_moments)
{
    if (!is_long()) cr_skip("only with TARN_TEST_LONG=1");
    for (int seed = 1; seed <= 5; seed++) {
        char *words = tarn_test_format("storm %d 10", seed);
        scenario(words);
        free(words);
    }
}

Test(hosts, a_checkpoint_directory_that_is_not_shared_is_refused)
{
    scenario("unshared");
}
