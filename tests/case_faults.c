/* case_faults.c - the fault suite by hand; the tests test_faults_*.c run it, too. See docs/internals/faults.md.
 *
 *   case_faults io|media|power [options]   a campaign; exit code 1 when an invariant was violated
 *   case_faults train DIR [options]        the training under test alone, for a preloaded fault_io
 *   case_faults load DIR [options]         loads, prints "step S life L digest D", or "nothing", "refused MESSAGE"
 *
 * Options: --subject store|in-place|rename-first, --scenario series|back|quarantine, --background (the writer
 * thread works under the next step), --parts N, --no-sync file|directory|all (weakens the
 * writer), --long, --stride N (every Nth point), --seed N, --workers N, --verbose.
 */
#include "tests/faults/campaign.h"
#include "tests/support.h"

#include <inttypes.h>
#include <sys/statvfs.h>

/* A RAM disk when it is large enough: thousands of saves, each with its fsync. */
static char *make_base(void)
{
    struct statvfs info;
    char template[] = "/dev/shm/tarn-faults-XXXXXX";
    bool ram = !statvfs("/dev/shm", &info) && (double)info.f_bavail * (double)info.f_bsize > 256e6;
    if (ram && mkdtemp(template)) return strdup(template);
    char *made = tarn_test_directory(), *real = made ? realpath(made, NULL) : NULL;
    free(made);
    return real;
}

static bool choose(const char *value, const char *const names[], int count, int *out)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(value, names[i])) {
            *out = i;
            return true;
        }
    return false;
}

static bool parse(int argc, char **argv, fault_campaign *campaign)
{
    static const char *const subjects[] = {"store", "in-place", "rename-first"}, *const scenarios[] = {"series", "back",
                                                                                                       "quarantine"};
    for (int i = 0; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        int choice = 0;
        if (!strcmp(name, "--long")) {
            campaign->long_form = true;
        } else if (!strcmp(name, "--verbose")) {
            campaign->verbose = true;
        } else if (!strcmp(name, "--background")) {
            campaign->options.in_background = true;
        } else if (!strcmp(name, "--subject") && choose(value, subjects, 3, &choice)) {
            campaign->options.kind = (fault_subject_kind)choice;
            i++;
        } else if (!strcmp(name, "--scenario") && choose(value, scenarios, 3, &choice)) {
            campaign->options.scenario = (fault_scenario)choice;
            i++;
        } else if (!strcmp(name, "--no-sync")) {
            campaign->no_file_sync = !strcmp(value, "file") || !strcmp(value, "all");
            campaign->no_directory_sync = !strcmp(value, "directory") || !strcmp(value, "all");
            i++;
        } else if (!strcmp(name, "--stride") && atoll(value) > 0) {
            campaign->stride = atoll(argv[++i]);
        } else if (!strcmp(name, "--seed")) {
            campaign->seed = strtoull(argv[++i], NULL, 10);
        } else if (!strcmp(name, "--parts")) {
            campaign->options.parts = atoi(value);
            i++;
        } else if (!strcmp(name, "--workers") && atoi(value) > 0) {
            campaign->workers = atoi(argv[++i]);
        } else {
            fprintf(stderr, "case_faults: %s %s: not an option; see the top of tests/case_faults.c\n", name, value);
            return false;
        }
    }
    return true;
}

static int load(const fault_campaign *campaign, const char *directory)
{
    fault_verdict verdict = {0};
    char digest[65] = "";
    fault_judge(&campaign->options, directory, false, &verdict);
    if (verdict.refused) printf("refused %s\n", verdict.message);
    if (!verdict.refused && !verdict.found) printf("nothing\n");
    if (!verdict.found) return verdict.refused;
    if (verdict.wrong) printf("wrong bytes\n");
    fault_golden_digest(verdict.life, verdict.step, digest);
    printf("step %" PRId64 " life %" PRId64 " digest %s\n", verdict.step, verdict.life, digest);
    return verdict.wrong;
}

int main(int argc, char **argv)
{
    bool has_directory = argc > 2 && (!strcmp(argv[1], "train") || !strcmp(argv[1], "load"));
    fault_campaign campaign = {.workers = 2, .stride = 1, .seed = 1};
    int skipped = has_directory ? 3 : 2;
    if (argc < skipped || !parse(argc - skipped, argv + skipped, &campaign)) return 2;
    if (has_directory && !strcmp(argv[1], "load")) return load(&campaign, argv[2]);
    if (has_directory) {
        fault_progress progress = {0};
        campaign.options.loud = true;
        return fault_train(&campaign.options, argv[2], &progress);
    }
    char *base = make_base();
    if (!base) return 2;
    campaign.base = base;
    fault_tally tally;
    bool known = true;
    if (!strcmp(argv[1], "io"))
        tally = fault_campaign_io(&campaign);
    else if (!strcmp(argv[1], "media"))
        tally = fault_campaign_media(&campaign);
    else if (!strcmp(argv[1], "power"))
        tally = fault_campaign_power(&campaign);
    else
        known = false;
    if (known) fault_print("total", &tally);
    tarn_test_remove(base);
    free(base);
    return !known ? 2 : tally.violations ? 1 : 0;
}
