/* suggest.c - "did you mean": the nearest known name by edit distance. */
#include "runtime/config/config_internal.h"

#include <stdio.h>
#include <string.h>

#define LONGEST 63

/* Edit distance (insert, delete, replace, swap of neighbours: Damerau-Levenshtein, optimal string alignment). Names
 * longer than LONGEST are far from everything. */
static int distance(const char *a, size_t m, const char *b, size_t n)
{
    if (m > LONGEST || n > LONGEST) return 1000;
    int table[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= m; i++) table[i][0] = (int)i;
    for (size_t j = 0; j <= n; j++) table[0][j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        for (size_t j = 1; j <= n; j++) {
            int best = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (table[i - 1][j] + 1 < best) best = table[i - 1][j] + 1;
            if (table[i][j - 1] + 1 < best) best = table[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && table[i - 2][j - 2] + 1 < best)
                best = table[i - 2][j - 2] + 1;
            table[i][j] = best;
        }
    }
    return table[m][n];
}

static int near(size_t length)
{
    return length < 4 ? 1 : length < 8 ? 2 : 3;
}

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

void tarn_config_suggest(const tarn_config_key *schema, int keys, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    const char *dot = strrchr(name, '.');
    size_t section = dot ? (size_t)(dot - name) : 0;
    const char *found = NULL;
    size_t found_length = 0;
    int best = near(length) + 1;
    for (int i = 0; i < keys; i++) {
        const char *known = schema[i].name, *known_dot = strrchr(known, '.');
        size_t known_length = strlen(known);
        int far = distance(name, length, known, known_length);
        if (far < best) best = far, found = known, found_length = known_length;
        /* The right name in the wrong section, or without one: as good as one wrong letter. */
        if (!strcmp(last_part(name), last_part(known)) && best > 1)
            best = 1, found = known, found_length = known_length;
        /* A misspelt section alone. */
        if (!dot && known_dot) {
            far = distance(name, length, known, (size_t)(known_dot - known));
            if (far < best) best = far, found = known, found_length = (size_t)(known_dot - known);
        }
        /* A misspelt section with a right key is nearer than its whole name looks. */
        if (dot && known_dot && !strcmp(dot, known_dot)) {
            far = distance(name, section, known, (size_t)(known_dot - known));
            if (far <= near(section) && best > 0) best = 0, found = known, found_length = known_length;
        }
    }
    if (found) {
        snprintf(out, size, "; did you mean \"%.*s\"?", (int)found_length, found);
        return;
    }
    /* Nothing near: name what is there. */
    size_t used = 0;
    for (int i = 0; i < keys && used < size; i++)
        if (dot && !strncmp(schema[i].name, name, section + 1))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "; known here: ", schema[i].name);
    if (used) return;
    const char *before = "";
    size_t before_length = 0;
    for (int i = 0; i < keys && used < size; i++) {
        size_t part = strcspn(schema[i].name, ".");
        if (part == before_length && !strncmp(schema[i].name, before, part)) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "; known at the top: ", (int)part,
                                 schema[i].name);
        before = schema[i].name;
        before_length = part;
    }
}

bool tarn_config_suggest_choice(const char *choices, const char *word, char *out, size_t size)
{
    size_t length = strlen(word);
    int best = near(length) + 1;
    for (const char *choice = choices; *choice;) {
        size_t part = strcspn(choice, "|");
        int far = distance(word, length, choice, part);
        if (far < best) {
            best = far;
            snprintf(out, size, "%.*s", (int)part, choice);
        }
        choice += part + (choice[part] == '|');
    }
    return best <= near(length);
}
