/* alias.c - `tarn track alias`: which version of a registered model an alias means. */
#include "launch/track/track.h"
#include "track/environment.h"
#include "track/file_store/catalog.h"
#include "track/mlflow/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tarn_track_alias(const tarn_track_arguments *arguments)
{
    const char *name = arguments->word[0], *alias = arguments->word[1], *number = arguments->word[2];
    tarn_track_place place;
    tarn_path store;
    char problem[TARN_SINK_PROBLEM] = "", *end;
    if (*number == 'v' || *number == 'V') number++; /* as MLflow's pages write it */
    long long version = strtoll(number, &end, 10);
    if (version < 1 || *end || end == number) {
        tarn_track_say("alias",
                       "\"%s\" is no version: expected a number such as 3 (tarn track alias NAME ALIAS VERSION)",
                       arguments->word[2]);
        return TARN_TRACK_WRONG;
    }
    const char *wrong = tarn_registry_name_problem(name), *wrong_alias = tarn_registry_alias_problem(alias);
    if (wrong || wrong_alias) {
        tarn_track_say("alias", "\"%s\" can be no %s: %s", wrong ? name : alias, wrong ? "registered model" : "alias",
                       wrong ? wrong : wrong_alias);
        return TARN_TRACK_WRONG;
    }
    if (!tarn_track_where("alias", arguments->store, &place, store)) return TARN_TRACK_WRONG;
    if (place == TARN_TRACK_SERVER) {
        tarn_status status = tarn_mlflow_set_alias(store, name, alias, number, problem);
        if (status) {
            tarn_track_say("alias", "%s", problem);
            return status == TARN_ERROR_IO ? TARN_TRACK_FAILED : TARN_TRACK_WRONG;
        }
        printf("%s@%s is version %lld now\n", name, alias, version);
        return TARN_TRACK_FINE;
    }
    if (tarn_registry_alias(store, name, alias, version, tarn_environment_time_ms(), problem)) {
        tarn_track_say("alias", "%s", problem);
        return TARN_TRACK_WRONG;
    }
    printf("%s@%s is version %lld now\n", name, alias, version);
    return TARN_TRACK_FINE;
}
