/* text.h - how a text begins and ends. */
#ifndef TARN_RUNTIME_BASE_TEXT_H
#define TARN_RUNTIME_BASE_TEXT_H

#include <stdbool.h>
#include <string.h>

static inline bool tarn_text_begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static inline bool tarn_text_ends(const char *text, const char *with)
{
    size_t length = strlen(text), tail = strlen(with);
    return length >= tail && !strcmp(text + length - tail, with);
}

#endif
