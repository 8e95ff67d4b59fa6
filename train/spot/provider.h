/* provider.h - one cloud's way of announcing that it takes a machine away: its address, its grace, one poll.
 *
 *   aws.c     instance metadata service, version 2: a token, then spot/instance-action and the rebalance advice
 *   gcp.c     metadata server: instance/preempted
 *   azure.c   scheduled events of this machine
 *   detect.c  which cloud this machine belongs to, by its firmware's names
 *
 * Invariants
 *  1. A poll sends a few requests and returns within some seconds; tarn_http_cancel ends it at once.
 *  2. An answer that is not understood is a failure, never a notice and never silence.
 *  3. A provider keeps its state in the session: nothing is global.
 */
#ifndef TARN_TRAIN_SPOT_PROVIDER_H
#define TARN_TRAIN_SPOT_PROVIDER_H

#include "runtime/http/http.h"

typedef enum tarn_spot_kind {
    TARN_SPOT_QUIET,  /* nothing is announced */
    TARN_SPOT_NOTICE, /* the machine will be taken away */
    TARN_SPOT_ADVICE, /* something is coming that leaves time: `text` says what */
    TARN_SPOT_FAILED  /* the metadata service did not answer, or not in its own words: `text` says how */
} tarn_spot_kind;

typedef struct tarn_spot_news {
    tarn_spot_kind kind;
    char action[32]; /* "terminate", "stop", "hibernate", "preempt" */
    char when[48];   /* as the provider wrote it; "" when it did not say */
    double seconds;  /* until then by this machine's clock; NaN when unknown */
    char text[512];
} tarn_spot_news;

/* What a provider keeps between polls. */
typedef struct tarn_spot_session {
    tarn_http *http;
    char endpoint[256];   /* without a slash at its end */
    char token[512];      /* AWS; "" = none */
    double token_expires; /* monotonic clock */
    char machine[256];    /* Azure: this machine's name; "" = not known yet */
    bool answered;        /* Azure: the first request takes long */
} tarn_spot_session;

typedef struct tarn_spot_provider {
    const char *name;
    const char *endpoint;
    double grace;  /* seconds from the notice to the end */
    double period; /* seconds between polls */
    void (*poll)(tarn_spot_session *session, tarn_spot_news *news);
} tarn_spot_provider;

enum { TARN_SPOT_PROVIDERS = 3 };
extern const tarn_spot_provider *const tarn_spot_providers[TARN_SPOT_PROVIDERS];
extern const tarn_spot_provider tarn_spot_aws, tarn_spot_gcp, tarn_spot_azure;

/* By the files of /sys/class/dmi/id (or another such directory): no request is sent. NULL = none of them. */
const tarn_spot_provider *tarn_spot_detect(const char *dmi_directory);

/* ---- for the providers ---- */
/* A request to the endpoint, with one header, straight (no proxy); false after filling in a failure. */
bool tarn_spot_ask(tarn_spot_session *session, const char *method, const char *path, const char *header, double seconds,
                   tarn_http_answer *answer, tarn_spot_news *news);
void tarn_spot_failed(tarn_spot_news *news, const char *format, ...) TARN_PRINTF(2, 3);
/* Seconds until a moment written as 2017-09-18T08:22:00Z or Mon, 18 Sep 2017 08:22:00 GMT; NaN for anything else. */
double tarn_spot_seconds_until(const char *text);

#endif
