/* test_faults_power.c - loss of power after every call of a series of saves (docs/internals/faults.md). */
#include "tests/faults/campaign_support.h"

TestSuite(faults_power, .timeout = 4000);

Test(faults_power, what_was_acknowledged_survives)
{
    check_holds("power", 1000);
}

Test(faults_power, also_while_the_writer_thread_works_under_the_next_step)
{
    check_holds("power --background", 1000);
}

Test(faults_power, in_parts_too)
{
    check_holds("power --parts 2 --stride 4", 300);
    check_holds("power --parts 2 --stride 2 --scenario back", 300);
    check_holds("power --parts 2 --scenario quarantine", 2);
}

Test(faults_power, control_in_parts_without_fsync_of_the_directory)
{
    check_bites("power --parts 2 --stride 8 --no-sync directory", 30);
}

Test(faults_power, also_when_a_run_goes_back_behind_its_checkpoints)
{
    check_holds("power --scenario back", 500);
}

Test(faults_power, also_when_a_checkpoint_is_set_aside)
{
    check_holds("power --scenario quarantine", 2);
}

Test(faults_power, control_without_fsync_of_files)
{
    check_bites("power --no-sync file", 30);
}

Test(faults_power, control_without_fsync_of_the_directory)
{
    check_bites("power --no-sync directory", 30);
}

Test(faults_power, control_without_any_fsync)
{
    check_bites("power --no-sync all", 50);
}

Test(faults_power, control_in_place_without_a_digest)
{
    check_bites("power --subject in-place", 50);
}

Test(faults_power, control_rename_before_fsync)
{
    check_bites("power --subject rename-first", 25);
}
