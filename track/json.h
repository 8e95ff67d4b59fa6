/* json.h - what an object of JSON says, or what stands for it where it does not. */
#ifndef TARN_TRACK_JSON_H
#define TARN_TRACK_JSON_H

#include <cjson/cJSON.h>
#include <stdint.h>

/* The string at `name`, borrowed from the object; NULL when there is none. */
const char *tarn_json_string(const cJSON *object, const char *name);
/* The same, but "" when there is none. */
const char *tarn_json_text(const cJSON *object, const char *name);
/* The number at `name` without its fraction; `otherwise` when there is none that fits. */
int64_t tarn_json_integer(const cJSON *object, const char *name, int64_t otherwise);

#endif
