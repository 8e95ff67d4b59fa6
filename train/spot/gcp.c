/* gcp.c - pre-emption of Google Compute Engine machines: instance/preempted turns from FALSE to TRUE, 30 s ahead.
 *
 * The server is asked by its address, not by the name metadata.google.internal: no resolver is needed.
 */
#include "train/spot/provider.h"

#include <stdio.h>
#include <string.h>

#define GRACE           30
#define REQUEST_SECONDS 2.0

static void poll(tarn_spot_session *session, tarn_spot_news *news)
{
    static const char path[] = "/computeMetadata/v1/instance/preempted";
    tarn_http_answer answer;
    if (!tarn_spot_ask(session, NULL, path, "Metadata-Flavor: Google", REQUEST_SECONDS, &answer, news)) return;
    char word[16];
    snprintf(word, sizeof word, "%.15s", answer.body);
    word[strcspn(word, " \r\n")] = 0;
    if (answer.code == 200 && !strcmp(word, "TRUE")) {
        news->kind = TARN_SPOT_NOTICE;
        snprintf(news->action, sizeof news->action, "preempt");
        news->seconds = GRACE; /* it does not say when: at most this long */
    } else if (answer.code != 200 || strcmp(word, "FALSE") != 0) {
        tarn_spot_failed(news, "%s%s: answered %d \"%s\", neither TRUE nor FALSE", session->endpoint, path, answer.code,
                         word);
    }
    tarn_http_answer_free(&answer);
}

const tarn_spot_provider tarn_spot_gcp = {"gcp", "http://169.254.169.254", GRACE, 2, poll};
