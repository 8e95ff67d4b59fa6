/* json.c - see json.h. */
#include "track/json.h"

#include <math.h>

const char *tarn_json_string(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

const char *tarn_json_text(const cJSON *object, const char *name)
{
    const char *text = tarn_json_string(object, name);
    return text ? text : "";
}

int64_t tarn_json_integer(const cJSON *object, const char *name, int64_t otherwise)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) && fabs(item->valuedouble) < 0x1p62 ? (int64_t)item->valuedouble : otherwise;
}
