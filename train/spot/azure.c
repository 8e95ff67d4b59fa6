/* azure.c - scheduled events of Azure machines: Preempt (spot) and Terminate (scale-in), 30 s ahead and more.
 *
 * The list holds the events of a whole scale set or availability set: only those that name this machine count, and all
 * of them while its name is not known. The service is switched on by the first request, which may take two minutes.
 * Events are not acknowledged: that would only make them come sooner.
 */
#include "track/json.h"
#include "train/spot/provider.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HEADER          "Metadata: true"
#define REQUEST_SECONDS 5.0
#define FIRST_SECONDS   150.0

static void learn_name(tarn_spot_session *session)
{
    tarn_spot_news ignored = {0};
    tarn_http_answer answer;
    if (*session->machine) return;
    if (!tarn_spot_ask(session, NULL, "/metadata/instance/compute/name?api-version=2021-02-01&format=text", HEADER,
                       REQUEST_SECONDS, &answer, &ignored))
        return;
    if (answer.code == 200 && answer.bytes < sizeof session->machine) {
        memcpy(session->machine, answer.body, answer.bytes + 1);
        session->machine[strcspn(session->machine, "\r\n")] = 0;
    }
    tarn_http_answer_free(&answer);
}

static bool concerns(const cJSON *event, const char *machine)
{
    const cJSON *resources = cJSON_GetObjectItemCaseSensitive(event, "Resources"), *resource;
    if (!*machine || !cJSON_IsArray(resources) || !cJSON_GetArraySize(resources)) return true;
    cJSON_ArrayForEach(resource, resources)
    {
        const char *name = cJSON_GetStringValue(resource);
        if (name && !strcasecmp(name, machine)) return true;
    }
    return false;
}

static void read_event(const cJSON *event, tarn_spot_news *news)
{
    const char *type = tarn_json_text(event, "EventType"), *when = tarn_json_text(event, "NotBefore");
    bool taken = !strcasecmp(type, "Preempt") || !strcasecmp(type, "Terminate");
    if (taken && news->kind != TARN_SPOT_NOTICE) {
        news->kind = TARN_SPOT_NOTICE;
        snprintf(news->action, sizeof news->action, "%s", !strcasecmp(type, "Preempt") ? "preempt" : "terminate");
        snprintf(news->when, sizeof news->when, "%s", when);
        news->seconds = tarn_spot_seconds_until(when);
    } else if (!taken && *type && news->kind == TARN_SPOT_QUIET) {
        news->kind = TARN_SPOT_ADVICE;
        snprintf(news->text, sizeof news->text, "%.40s is planned for this machine%s%.48s", type,
                 *when ? ", not before " : "", when);
    }
}

static void poll(tarn_spot_session *session, tarn_spot_news *news)
{
    static const char path[] = "/metadata/scheduledevents?api-version=2020-07-01";
    tarn_http_answer answer;
    learn_name(session);
    if (!tarn_spot_ask(session, NULL, path, HEADER, session->answered ? REQUEST_SECONDS : FIRST_SECONDS, &answer, news))
        return;
    cJSON *json = answer.code == 200 ? cJSON_Parse(answer.body) : NULL;
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(json, "Events"), *event;
    if (cJSON_IsArray(events)) {
        session->answered = true;
        cJSON_ArrayForEach(event, events) if (concerns(event, session->machine)) read_event(event, news);
    } else {
        tarn_spot_failed(news, "%s%s: answered %d, no list of events in \"%.100s\"", session->endpoint, path,
                         answer.code, answer.body);
    }
    cJSON_Delete(json);
    tarn_http_answer_free(&answer);
}

const tarn_spot_provider tarn_spot_azure = {"azure", "http://169.254.169.254", 30, 2, poll};
