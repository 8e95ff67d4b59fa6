/* test_faults_media.c - cut, zeroed, flipped, mixed up and exchanged files (docs/internals/faults.md). */
#include "tests/faults/campaign_support.h"

TestSuite(faults_media, .timeout = 4000);

Test(faults_media, no_damaged_byte_is_believed)
{
    check_holds("media", 3000);
}

Test(faults_media, nor_of_any_part_or_the_manifest)
{
    check_holds("media --parts 2 --stride 7", 1000);
}

Test(faults_media, control_without_a_digest)
{
    check_bites("media --subject in-place", 80);
    check_bites("media --subject rename-first", 80);
}
