/* families.h - the names that /metrics has of its own, and what is said of them and of Tarn's metrics (HELP, TYPE).
 *
 * docs/monitoring.md shows these; launch/monitoring uses them, and a test holds all of it to what a run exports.
 */
#ifndef TARN_TRACK_PROMETHEUS_FAMILIES_H
#define TARN_TRACK_PROMETHEUS_FAMILIES_H

#include <stdbool.h>

/* Names that follow from no key: what the sink itself knows. */
typedef enum tarn_prometheus_own {
    TARN_PROMETHEUS_BUILD_INFO,
    TARN_PROMETHEUS_RUN_INFO,
    TARN_PROMETHEUS_RUN_STATUS,
    TARN_PROMETHEUS_BEGIN_TIME,
    TARN_PROMETHEUS_STEPS,
    TARN_PROMETHEUS_LAST_STEP_TIME,
    TARN_PROMETHEUS_SKIPPED,
    TARN_PROMETHEUS_RESTARTS,
    TARN_PROMETHEUS_CHECKPOINTS,
    TARN_PROMETHEUS_LAST_CHECKPOINT_TIME,
    TARN_PROMETHEUS_LAST_CHECKPOINT_STEP,
    TARN_PROMETHEUS_NONFINITE,
    TARN_PROMETHEUS_BROKEN_PROMISE,
    TARN_PROMETHEUS_EVENTS,
    TARN_PROMETHEUS_LOST,
    TARN_PROMETHEUS_THINNED,
    TARN_PROMETHEUS_SPOOL_BYTES,
    TARN_PROMETHEUS_BEHIND,
    TARN_PROMETHEUS_LEFT_OUT,
    TARN_PROMETHEUS_OWN
} tarn_prometheus_own;

typedef struct tarn_prometheus_family {
    const char *name;
    const char *type; /* "gauge", "counter" */
    const char *help; /* one line without backslashes */
} tarn_prometheus_family;

extern const tarn_prometheus_family tarn_prometheus_families[TARN_PROMETHEUS_OWN];

/* Whether a name is one of these. */
bool tarn_prometheus_is_own(const char *name);
/* What is said of the gauge that keys became: of Tarn's metrics what they are, of others one sentence for all, so that
 * processes whose files are read together never contradict each other. */
const char *tarn_prometheus_help(const char *name);

#endif
