/* spot.c - which metadata service a run watches, the watcher thread, and what a notice does. See spot.h. */
#include "runtime/base/host.h"
#include "runtime/comm/comm.h"
#include "track/environment.h"
#include "train/spot/spot_internal.h"
#include "train/trainer.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DMI_DIRECTORY "/sys/class/dmi/id"

/* ---- what is watched --------------------------------------------------------------------------------------------- */

/* The environment comes before the option: it belongs to the machine, the option to the run. */
static const char *chosen(const char *variable, const char *option)
{
    const char *value = tarn_environment_variable(variable);
    return value ? value : option;
}

static const char *chosen_provider(const tarn_train_options *options)
{
    const char *name = chosen("TARN_SPOT", options->spot);
    return name && *name ? name : "auto";
}

static const tarn_spot_provider *find_provider(const char *name)
{
    for (int i = 0; i < TARN_SPOT_PROVIDERS; i++)
        if (!strcmp(name, tarn_spot_providers[i]->name)) return tarn_spot_providers[i];
    return NULL;
}

tarn_status tarn_spot_check(tarn_context *context, const tarn_train_options *options)
{
    const char *name = chosen_provider(options), *endpoint = chosen("TARN_SPOT_ENDPOINT", options->spot_endpoint);
    if (strcmp(name, "auto") != 0 && strcmp(name, "off") != 0 && !find_provider(name))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "spot (environment: TARN_SPOT) is \"%s\": expected auto, aws, gcp, azure or off", name);
    if (endpoint && *endpoint && strncasecmp(endpoint, "http://", 7) != 0 && strncasecmp(endpoint, "https://", 8) != 0)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "spot_endpoint (environment: TARN_SPOT_ENDPOINT) is \"%s\": it must begin with http:// or "
                         "https://, as http://169.254.169.254 does",
                         endpoint);
    if (endpoint && strlen(endpoint) >= sizeof((tarn_spot_session *)NULL)->endpoint)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "spot_endpoint is longer than 255 characters");
    if (!(options->spot_grace >= 0) || !isfinite(options->spot_grace))
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                         "spot_grace is %g: seconds, 0 for what the provider grants", options->spot_grace);
    return TARN_OK;
}

static const tarn_spot_provider *provider_of_this_host(const tarn_train_options *options)
{
    const char *name = chosen_provider(options);
    return !strcmp(name, "auto") ? tarn_spot_detect(chosen("TARN_SPOT_DMI", DMI_DIRECTORY)) : find_provider(name);
}

/* ---- the watcher ------------------------------------------------------------------------------------------------- */

/* False when the watcher shall end. */
static bool sleep_for(tarn_spot *spot, double seconds)
{
    double until = tarn_seconds() + seconds;
    pthread_mutex_lock(&spot->lock);
    while (!spot->ending && tarn_condition_wait(&spot->wake, &spot->lock, until)) continue;
    bool goes_on = !spot->ending;
    pthread_mutex_unlock(&spot->lock);
    return goes_on;
}

static bool is_ending(tarn_spot *spot)
{
    pthread_mutex_lock(&spot->lock);
    bool ending = spot->ending;
    pthread_mutex_unlock(&spot->lock);
    return ending;
}

static void take_notice(tarn_spot *spot, const tarn_spot_news *news)
{
    char reason[512], left[64] = "";
    int used = snprintf(reason, sizeof reason, "spot %s host %s: %s", spot->provider->name, spot->host, news->action);
    if (*news->when) snprintf(reason + used, sizeof reason - (size_t)used, " at %s", news->when);
    if (isfinite(news->seconds)) snprintf(left, sizeof left, " (%.0f s from now)", news->seconds);
    tarn_log(spot->context, TARN_LOG_WARN, "%s%s. The run is saved after this step and stops, to be resumed elsewhere",
             reason, left);
    tarn_stop_because(reason);
}

/* Advice that was given before is not repeated. */
static void pass_advice_on(tarn_spot *spot, const tarn_spot_news *news, char last[512])
{
    if (!strcmp(last, news->text)) return;
    snprintf(last, sizeof news->text, "%s", news->text);
    tarn_log(spot->context, TARN_LOG_WARN, "spot %s host %s: %s. Training goes on", spot->provider->name, spot->host,
             news->text);
}

/* Pause after so many failures in a row: a service that is gone is not asked all the time, one that comes back is
 * found within a quarter of the grace. */
static double pause_after(const tarn_spot_provider *provider, int failures)
{
    double seconds = provider->period, most = provider->grace / 4;
    for (int i = 1; i < failures && seconds < most; i++) seconds *= 2;
    return failures > 1 && seconds > most ? most : seconds;
}

static void *watch(void *user)
{
    tarn_spot *spot = user;
    char advice[512] = "";
    int failures = 0;
    bool complained = false;
    do {
        tarn_spot_news news = {.seconds = NAN};
        spot->provider->poll(&spot->session, &news);
        if (is_ending(spot)) break;
        if (news.kind == TARN_SPOT_NOTICE) {
            take_notice(spot, &news);
            break;
        }
        if (news.kind == TARN_SPOT_ADVICE) pass_advice_on(spot, &news, advice);
        if (news.kind == TARN_SPOT_FAILED) {
            failures++;
            tarn_log(spot->context, complained ? TARN_LOG_DEBUG : TARN_LOG_WARN,
                     "spot %s host %s: the metadata service: %s. Training goes on, and so do the requests; set spot to "
                     "off when this is no spot machine",
                     spot->provider->name, spot->host, news.text);
            complained = true;
        } else if (failures) {
            tarn_log(spot->context, TARN_LOG_INFO, "spot %s host %s: the metadata service answers again",
                     spot->provider->name, spot->host);
            failures = 0;
        }
    } while (sleep_for(spot, pause_after(spot->provider, failures)));
    return NULL;
}

/* ---- start and end ----------------------------------------------------------------------------------------------- */

static void start_watcher(tarn_spot *spot, const tarn_train_options *options)
{
    const tarn_spot_provider *provider = spot->provider;
    const char *endpoint = chosen("TARN_SPOT_ENDPOINT", options->spot_endpoint);
    snprintf(spot->session.endpoint, sizeof spot->session.endpoint, "%s",
             endpoint && *endpoint ? endpoint : provider->endpoint);
    size_t length = strlen(spot->session.endpoint);
    if (spot->session.endpoint[length - 1] == '/') spot->session.endpoint[length - 1] = 0;
    tarn_host_name(spot->host, sizeof spot->host);
    spot->session.http = tarn_http_open();
    tarn_condition_init(&spot->wake);
    pthread_mutex_init(&spot->lock, NULL);
    sigset_t before;
    tarn_block_signals(&before);
    int failed = spot->session.http ? pthread_create(&spot->thread, NULL, watch, spot) : ENOMEM;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    spot->running = !failed;
    if (failed)
        tarn_log(spot->context, TARN_LOG_WARN, "spot: notices of %s are not watched: %s", provider->name,
                 strerror(failed));
    else
        tarn_log(spot->context, TARN_LOG_INFO, "spot: watching %s of %s on host %s every %g s", spot->session.endpoint,
                 provider->name, spot->host, provider->period);
}

/* Which providers are watched anywhere, one bit each: rank 0, which writes, may sit on another kind of machine. */
static tarn_status gather_providers(tarn_context *context, const tarn_spot_provider *mine, uint64_t *watched)
{
    *watched = 0;
    for (int i = 0; i < TARN_SPOT_PROVIDERS; i++)
        if (mine == tarn_spot_providers[i]) *watched |= (uint64_t)1 << i;
    return tarn_comm_or_all(tarn_get_comm(context), watched, 1, "telling which hosts watch for spot notices");
}

static double shortest_grace(const tarn_train_options *options, uint64_t watched)
{
    double grace = INFINITY;
    for (int i = 0; i < TARN_SPOT_PROVIDERS; i++)
        if (watched >> i & 1 && tarn_spot_providers[i]->grace < grace) grace = tarn_spot_providers[i]->grace;
    return options->spot_grace > 0 ? options->spot_grace : grace;
}

tarn_status tarn_spot_start(tarn_spot **out, tarn_trainer *trainer)
{
    tarn_context *context = trainer->context;
    const tarn_train_options *options = &trainer->options;
    *out = NULL;
    if (!options->checkpoint_directory) return TARN_OK;
    const tarn_spot_provider *provider =
        tarn_get_comm(context)->local_rank == 0 ? provider_of_this_host(options) : NULL;
    uint64_t watched;
    tarn_status status = gather_providers(context, provider, &watched);
    bool keeps_budget = watched && tarn_rank(context) == 0;
    if (status || (!provider && !keeps_budget)) return status;
    tarn_spot *spot = calloc(1, sizeof *spot);
    if (!spot) {
        tarn_log(context, TARN_LOG_WARN, "spot: notices are not watched: no memory");
        return TARN_OK;
    }
    *spot = (tarn_spot){.context = context, .provider = provider, .keeps_budget = keeps_budget, .save_seconds = -1};
    if (provider) start_watcher(spot, options);
    if (keeps_budget) {
        spot->grace = shortest_grace(options, watched);
        double seconds = tarn_spot_probe(trainer);
        if (seconds >= 0)
            tarn_log(context, TARN_LOG_INFO, "spot: a checkpoint takes about %.3g s; a notice leaves %.3g s", seconds,
                     spot->grace);
        tarn_spot_budget_start(spot, seconds);
    }
    *out = spot;
    return TARN_OK;
}

void tarn_spot_end(tarn_spot *spot)
{
    if (!spot) return;
    if (spot->running) {
        pthread_mutex_lock(&spot->lock);
        spot->ending = true;
        pthread_cond_signal(&spot->wake);
        pthread_mutex_unlock(&spot->lock);
        tarn_http_cancel(spot->session.http);
        pthread_join(spot->thread, NULL);
    }
    if (spot->provider) {
        pthread_mutex_destroy(&spot->lock);
        pthread_cond_destroy(&spot->wake);
        tarn_http_close(spot->session.http);
    }
    free(spot);
}
