/* names.c - see names.h. */
#include "track/prometheus/names.h"
#include "runtime/base/text.h"
#include "track/prometheus/families.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_KEY = 250 };

/* Units that promtool and the naming rules of Prometheus know as another unit's multiples. */
static const struct {
    const char *unit, *base;
    double times, over;
} units[] = {
    {"nanoseconds", "seconds", 1, 1e9}, {"microseconds", "seconds", 1, 1e6}, {"milliseconds", "seconds", 1, 1e3},
    {"minutes", "seconds", 60, 1},      {"hours", "seconds", 3600, 1},       {"days", "seconds", 86400, 1},
    {"kilobytes", "bytes", 1e3, 1},     {"megabytes", "bytes", 1e6, 1},      {"gigabytes", "bytes", 1e9, 1},
    {"terabytes", "bytes", 1e12, 1},    {"kibibytes", "bytes", 0x1p10, 1},   {"mebibytes", "bytes", 0x1p20, 1},
    {"gibibytes", "bytes", 0x1p30, 1},  {"tebibytes", "bytes", 0x1p40, 1},   {"percentage", "ratio", 1, 100},
    {"percent", "ratio", 1, 100}};

/* system/rank_3/x and system/node_3/x: takes the part out, and returns what follows it. */
static const char *take_part(tarn_prometheus_name *out, const char *key)
{
    static const char *const parts[] = {"rank", "node"};
    if (strncmp(key, "system/", 7)) return NULL;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t length = strlen(parts[i]);
        const char *number = key + 7 + length + 1, *end = number;
        if (strncmp(key + 7, parts[i], length) || key[7 + length] != '_') continue;
        while (isdigit((unsigned char)*end)) end++;
        if (end == number || *end != '/' || !end[1] || end - number >= TARN_PROMETHEUS_PART) continue;
        out->part = parts[i];
        snprintf(out->part_value, sizeof out->part_value, "%.*s", (int)(end - number), number);
        return end + 1;
    }
    return NULL;
}

/* Words of small letters and digits with single _ between them. */
static void add_words(char *name, const char *text)
{
    size_t used = strlen(name);
    for (const char *at = text; *at && at - text < LONGEST_KEY; at++) {
        unsigned char now = (unsigned char)*at;
        bool word = now < 128 && isalnum(now),
             hump = word && isupper(now) && at > text && islower((unsigned char)at[-1]);
        if ((!word || hump) && name[used - 1] != '_') name[used++] = '_';
        if (word) name[used++] = (char)tolower(now);
    }
    while (used && name[used - 1] == '_') used--;
    name[used] = '\0';
}

/* The last word, where it is a unit with a better-known base. */
static void to_base_unit(tarn_prometheus_name *out)
{
    char *word = strrchr(out->name, '_') + 1; /* there is the one of tarn_ */
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(word, units[i].unit)) {
            strcpy(word, units[i].base);
            out->times = units[i].times;
            out->over = units[i].over;
            return;
        }
}

/* Whether the key is the one that the simple reading of a name gives back: the first _ after tarn_ is the separator,
 * every further one a _ of the key itself. */
static bool reads_back(const tarn_prometheus_name *out, const char *key)
{
    char back[TARN_PROMETHEUS_NAME + 64];
    const char *words = out->name + strlen("tarn_");
    if (out->part) {
        snprintf(back, sizeof back, "system/%s_%s/%s", out->part, out->part_value, words + strlen(out->part) + 1);
        return !strcmp(back, key);
    }
    snprintf(back, sizeof back, "%s", words);
    char *separator = strchr(back, '_');
    if (separator) *separator = strncmp(back, "system_", 7) ? '.' : '/';
    return !strcmp(back, key);
}

void tarn_prometheus_name_of(tarn_prometheus_name *out, const char *key)
{
    static const char *const reserved[] = {"_total", "_count", "_sum", "_bucket"};
    *out = (tarn_prometheus_name){.times = 1, .over = 1};
    const char *rest = take_part(out, key);
    /* MLflow names the memory of the machine system/system_memory_...: once is enough. */
    const char *stem = rest ? rest : key;
    if (rest ? !strncmp(rest, "system_", 7) : !strncmp(key, "system/system_", 14)) stem += strlen("system_");
    strcpy(out->name, "tarn_");
    if (rest) {
        strcat(out->name, out->part);
        strcat(out->name, "_");
    }
    size_t before = strlen(out->name);
    add_words(out->name, stem);
    if (strlen(out->name) <= before) { /* nothing but separators */
        if (out->name[strlen(out->name) - 1] != '_') strcat(out->name, "_");
        strcat(out->name, "value");
    }
    to_base_unit(out);
    bool taken = tarn_prometheus_is_own(out->name);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) taken |= tarn_text_ends(out->name, reserved[i]);
    if (taken) strcat(out->name, "_value");
    out->whole = reads_back(out, key);
}
