/* trace.c - see trace.h. */
#include "tests/faults/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_text(FILE *file, size_t bytes)
{
    char *text = malloc(bytes + 1);
    if (text && bytes && fread(text, bytes, 1, file) != 1) {
        free(text);
        return NULL;
    }
    if (text) text[bytes] = '\0';
    return text;
}

fault_trace fault_trace_read(const char *path)
{
    fault_trace trace = {0};
    FILE *file = fopen(path, "rb");
    fault_call call = {0};
    int64_t capacity = 0;
    while (file && fread(&call.head, sizeof call.head, 1, file) == 1) {
        call.path = read_text(file, call.head.path_bytes);
        call.other = read_text(file, call.head.other_bytes);
        call.data = (uint8_t *)read_text(file, (size_t)call.head.data_bytes);
        if (!call.path || !call.other || !call.data) {
            fprintf(stderr, "faults: the trace %s is cut off\n", path);
            free(call.path);
            free(call.other);
            free(call.data);
            break;
        }
        if (trace.count == capacity)
            trace.calls = realloc(trace.calls, (size_t)(capacity = capacity ? 2 * capacity : 64) * sizeof call);
        trace.calls[trace.count++] = call;
    }
    if (file) fclose(file);
    return trace;
}

void fault_trace_free(fault_trace *trace)
{
    for (int64_t i = 0; i < trace->count; i++) {
        free(trace->calls[i].path);
        free(trace->calls[i].other);
        free(trace->calls[i].data);
    }
    free(trace->calls);
    *trace = (fault_trace){0};
}

void fault_trace_plain(char name[128])
{
    char *probe = strstr(name, ".tmp-probe-"), *lock = strstr(name, "/.lock ");
    if (probe) {
        probe += strlen(".tmp-probe-");
        size_t digits = strspn(probe, "0123456789");
        memmove(probe, probe + digits, strlen(probe + digits) + 1);
    }
    /* "process 1234 on host" */
    if (lock) lock[strlen("/.lock")] = '\0';
}

void fault_trace_name(const fault_trace *trace, int64_t number, char out[128])
{
    out[0] = '\0';
    for (int64_t i = 0; i < trace->count; i++) {
        const fault_call *call = &trace->calls[i];
        if (call->head.number != number || call->head.kind == TARN_FAULT_NOTE) continue;
        snprintf(out, 128, "%s %s %lld", tarn_fault_kind_name((tarn_fault_kind)call->head.kind), call->path,
                 (long long)call->head.length);
        fault_trace_plain(out);
    }
}

int64_t fault_trace_last(const fault_trace *trace)
{
    int64_t last = 0;
    for (int64_t i = 0; i < trace->count; i++)
        if (trace->calls[i].head.number > last) last = trace->calls[i].head.number;
    return last;
}
