/* voice.c - see voice.h. */
#include "launch/supervisor/voice.h"
#include "launch/supervisor/errands.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct spoken {
    tarn_errand errand;
    size_t bytes;
    char text[];
} spoken;

static struct {
    tarn_errands errands;
    bool started;
    int left_out;
} voice;

/* By write(2), not stdio: whoever else uses stderr would wait for its lock. */
static void put(const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t written = write(STDERR_FILENO, text, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EAGAIN) { /* a terminal that another program has set so */
            struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&room, 1, 1000);
            continue;
        }
        if (written < 0) return;
        text += written;
        bytes -= (size_t)written;
    }
}

static void speak(tarn_errand *errand)
{
    const spoken *line = (const spoken *)errand;
    put(line->text, line->bytes);
}

void tarn_voice_start(void)
{
    if (voice.started) return;
    tarn_errands_start(&voice.errands, "tarn-voice");
    voice.left_out = 0;
    voice.started = true;
}

void tarn_voice_write(const char *text, size_t bytes)
{
    if (!voice.started) {
        put(text, bytes);
        return;
    }
    spoken *line = tarn_errands_open(&voice.errands) < TARN_VOICE_LINES ? malloc(sizeof *line + bytes) : NULL;
    if (!line) {
        voice.left_out++;
        return;
    }
    *line = (spoken){.errand.work = speak, .bytes = bytes};
    memcpy(line->text, text, bytes);
    tarn_errands_give(&voice.errands, &line->errand);
}

void tarn_voice_say(const char *format, ...)
{
    char text[8192];
    static const char begin[] = "tarn run: ";
    int used = 0;
    if (voice.left_out) /* before the line that may find room */
        used = snprintf(text, sizeof text, "%s(%d lines are left out here: nobody took them)\n", begin, voice.left_out);
    int left_out = voice.left_out;
    used += snprintf(text + used, sizeof text - (size_t)used, "%s", begin);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, sizeof text - (size_t)used - 1, format, arguments);
    va_end(arguments);
    size_t bytes = strlen(text);
    text[bytes] = '\n';
    tarn_voice_write(text, bytes + 1);
    if (voice.left_out == left_out) voice.left_out = 0;
}

bool tarn_voice_quiet(void)
{
    return !voice.started || !tarn_errands_open(&voice.errands);
}

bool tarn_voice_end(void)
{
    if (!voice.started) return true;
    if (!tarn_errands_end(&voice.errands)) return false;
    voice.started = false;
    return true;
}
