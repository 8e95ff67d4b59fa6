/* test_faults_io.c - kill, torn and short writes, EIO and ENOSPC at every call of a series of saves
 * (docs/internals/faults.md).
 */
#include "tests/faults/campaign_support.h"

TestSuite(faults_io, .timeout = 4000);

Test(faults_io, nothing_is_lost_at_any_call_of_a_series)
{
    check_holds("io", 400);
}

Test(faults_io, nor_while_the_writer_thread_works_under_the_next_step)
{
    check_holds("io --background", 400);
}

Test(faults_io, nor_when_a_run_goes_back_behind_its_checkpoints)
{
    check_holds("io --scenario back", 300);
}

Test(faults_io, nor_when_a_checkpoint_is_set_aside)
{
    check_holds("io --scenario quarantine", 15);
}

/* A kill while a file is overwritten, and an error after half of it, leave a mixture that is believed. */
Test(faults_io, control_in_place_without_a_digest)
{
    check_bites("io --subject in-place", 20);
}
