/* aws.c - spot notices of Amazon EC2, by version 2 of the instance metadata service.
 *
 * A PUT gives a token, which every GET carries. spot/instance-action is 404 until the notice, then
 * {"action": "terminate", "time": "2017-09-18T08:22:00Z"}, two minutes ahead (hibernate: at once). The rebalance advice
 * says only that a notice has become likelier: training goes on.
 */
#include "runtime/base/context.h"
#include "track/json.h"
#include "train/spot/provider.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_SECONDS   21600 /* the longest the service grants */
#define REQUEST_SECONDS 2.0

static bool take_token(tarn_spot_session *session, tarn_spot_news *news)
{
    double now = tarn_seconds();
    if (*session->token && now < session->token_expires) return true;
    char header[64];
    tarn_http_answer answer;
    snprintf(header, sizeof header, "X-aws-ec2-metadata-token-ttl-seconds: %d", TOKEN_SECONDS);
    *session->token = 0;
    if (!tarn_spot_ask(session, "PUT", "/latest/api/token", header, REQUEST_SECONDS, &answer, news)) {
        /* The usual reason in containers: the answer may not travel one hop further than to the host. */
        size_t used = strlen(news->text);
        snprintf(news->text + used, sizeof news->text - used,
                 "; in a container the instance's HttpPutResponseHopLimit must be 2");
        return false;
    }
    if (answer.code == 200 && answer.bytes && answer.bytes < sizeof session->token) {
        memcpy(session->token, answer.body, answer.bytes + 1);
        session->token[strcspn(session->token, "\r\n")] = 0;
        session->token_expires = now + 0.8 * TOKEN_SECONDS;
    } else {
        tarn_spot_failed(news, "%s/latest/api/token: answered %d with %zu bytes, not with a token%s", session->endpoint,
                         answer.code, answer.bytes,
                         answer.code == 403 ? "; the instance's metadata service is switched off (HttpEndpoint)" : "");
    }
    tarn_http_answer_free(&answer);
    return *session->token;
}

/* One GET with a token. A refused token (its instance was stopped in between) is replaced once. */
static bool get(tarn_spot_session *session, const char *path, tarn_http_answer *answer, tarn_spot_news *news)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        char header[sizeof session->token + 64];
        if (!take_token(session, news)) return false;
        snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", session->token);
        if (!tarn_spot_ask(session, NULL, path, header, REQUEST_SECONDS, answer, news)) return false;
        if (answer->code == 200 || answer->code == 404) return true;
        int code = answer->code;
        tarn_http_answer_free(answer);
        if (code != 401 || attempt) {
            tarn_spot_failed(news, "%s%s: answered %d", session->endpoint, path, code);
            return false;
        }
        *session->token = 0;
    }
    return false;
}

static void read_action(const tarn_spot_session *session, const char *body, tarn_spot_news *news)
{
    cJSON *json = cJSON_Parse(body);
    const char *action = tarn_json_text(json, "action"), *when = tarn_json_text(json, "time");
    if (*action) {
        news->kind = TARN_SPOT_NOTICE;
        snprintf(news->action, sizeof news->action, "%s", action);
        snprintf(news->when, sizeof news->when, "%s", when);
        news->seconds = tarn_spot_seconds_until(when);
    } else {
        tarn_spot_failed(news, "%s/latest/meta-data/spot/instance-action: no action in \"%.100s\"", session->endpoint,
                         body);
    }
    cJSON_Delete(json);
}

static void poll(tarn_spot_session *session, tarn_spot_news *news)
{
    tarn_http_answer answer;
    if (!get(session, "/latest/meta-data/spot/instance-action", &answer, news)) return;
    if (answer.code == 200) read_action(session, answer.body, news);
    tarn_http_answer_free(&answer);
    if (news->kind != TARN_SPOT_QUIET) return;
    if (!get(session, "/latest/meta-data/events/recommendations/rebalance", &answer, news)) return;
    if (answer.code == 200) {
        news->kind = TARN_SPOT_ADVICE;
        snprintf(news->text, sizeof news->text,
                 "a rebalance recommendation: a spot notice for this machine has become likelier (%.120s)",
                 answer.body);
    }
    tarn_http_answer_free(&answer);
}

const tarn_spot_provider tarn_spot_aws = {"aws", "http://169.254.169.254", 120, 5, poll};
