/* provider.c - what the providers share, see provider.h. */
#include "train/spot/provider.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The service is on this machine's own link: it answers in milliseconds or is not there. */
#define CONNECT_SECONDS 1.0
#define MOST_BYTES      ((size_t)1 << 20)

const tarn_spot_provider *const tarn_spot_providers[TARN_SPOT_PROVIDERS] = {&tarn_spot_aws, &tarn_spot_gcp,
                                                                            &tarn_spot_azure};

void tarn_spot_failed(tarn_spot_news *news, const char *format, ...)
{
    va_list arguments;
    news->kind = TARN_SPOT_FAILED;
    va_start(arguments, format);
    vsnprintf(news->text, sizeof news->text, format, arguments);
    va_end(arguments);
}

bool tarn_spot_ask(tarn_spot_session *session, const char *method, const char *path, const char *header, double seconds,
                   tarn_http_answer *answer, tarn_spot_news *news)
{
    char url[512];
    const char *const headers[] = {header, NULL};
    snprintf(url, sizeof url, "%s%s", session->endpoint, path);
    tarn_http_error error = tarn_http_perform(session->http,
                                              &(tarn_http_request){.method = method,
                                                                   .url = url,
                                                                   .headers = headers,
                                                                   .connect_seconds = CONNECT_SECONDS,
                                                                   .total_seconds = seconds,
                                                                   .most_bytes = MOST_BYTES,
                                                                   .direct = true},
                                              answer);
    if (error) tarn_spot_failed(news, "%s (%s)", answer->problem, tarn_http_error_name(error));
    return !error;
}

double tarn_spot_seconds_until(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm moment = {0};
    char month[4] = "";
    int year = 0, number = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &year, &number, &moment.tm_mday, &moment.tm_hour, &moment.tm_min,
               &moment.tm_sec) == 6) {
        moment.tm_mon = number - 1;
    } else if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d", &moment.tm_mday, month, &year, &moment.tm_hour,
                      &moment.tm_min, &moment.tm_sec) == 6) {
        const char *found = strlen(month) == 3 ? strstr(months, month) : NULL;
        if (!found || (found - months) % 3) return NAN;
        moment.tm_mon = (int)(found - months) / 3;
    } else {
        return NAN;
    }
    if (moment.tm_mon < 0 || moment.tm_mon > 11) return NAN;
    moment.tm_year = year - 1900;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)timegm(&moment) - ((double)now.tv_sec + (double)now.tv_nsec * 1e-9);
}
