/* values.c - see values.h. */
#include "track/boards/values.h"
#include "runtime/config/number.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

char *tarn_board_json_string(const char *text)
{
    cJSON *string = cJSON_CreateString(text);
    char *printed = string ? cJSON_PrintUnformatted(string) : NULL;
    cJSON_Delete(string);
    return printed;
}

char *tarn_board_json_value(const char *text)
{
    double number;
    if (!strcmp(text, "true") || !strcmp(text, "false") || !strcmp(text, "null")) return strdup(text);
    if (tarn_number_parse(text, &number)) {
        /* Printed anew: "+1" and "01" are numbers, and no JSON. */
        char printed[TARN_NUMBER_TEXT];
        tarn_number_print(printed, number);
        return strdup(printed);
    }
    return tarn_board_json_string(text);
}

static bool number_of(const cJSON *object, const char *key, double *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item)) return false;
    *value = item->valuedouble;
    return isfinite(*value);
}

static bool numbers_of(const cJSON *array, double *out)
{
    int i = 0;
    for (const cJSON *item = array->child; item; item = item->next) {
        if (!cJSON_IsNumber(item)) return false;
        out[i++] = item->valuedouble;
    }
    return true;
}

static bool parse(tarn_board_histogram *histogram, const cJSON *object)
{
    const cJSON *limits = cJSON_GetObjectItemCaseSensitive(object, "limits");
    const cJSON *counts = cJSON_GetObjectItemCaseSensitive(object, "counts");
    if (!number_of(object, "min", &histogram->min) || !number_of(object, "max", &histogram->max) ||
        !number_of(object, "count", &histogram->count) || !number_of(object, "sum", &histogram->sum) ||
        !number_of(object, "sum_squares", &histogram->sum_squares) || !cJSON_IsArray(limits) || !cJSON_IsArray(counts))
        return false;
    int buckets = cJSON_GetArraySize(counts), edges = cJSON_GetArraySize(limits);
    /* One limit more: the lower edge of the first bucket stands there too, and is left out. */
    if (buckets < 1 || (edges != buckets && edges != buckets + 1)) return false;
    double *both = malloc((size_t)(edges + buckets) * sizeof *both);
    if (!both) return false;
    histogram->limits = both;
    histogram->counts = both + edges;
    histogram->buckets = buckets;
    if (!numbers_of(limits, histogram->limits) || !numbers_of(counts, histogram->counts)) return false;
    if (edges > buckets) memmove(both, both + 1, (size_t)buckets * sizeof *both);
    return true;
}

bool tarn_board_histogram_parse(tarn_board_histogram *histogram, const char *text)
{
    *histogram = (tarn_board_histogram){0};
    cJSON *object = text ? cJSON_Parse(text) : NULL;
    bool read = object && parse(histogram, object);
    cJSON_Delete(object);
    if (!read) tarn_board_histogram_free(histogram);
    return read;
}

void tarn_board_histogram_free(tarn_board_histogram *histogram)
{
    free(histogram->limits);
    *histogram = (tarn_board_histogram){0};
}
