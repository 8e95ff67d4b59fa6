/* trace.h - reading what fault_io recorded. */
#ifndef TARN_TESTS_FAULTS_TRACE_H
#define TARN_TESTS_FAULTS_TRACE_H

#include "tests/faults/fault_io.h"

typedef struct fault_call {
    tarn_fault_record head;
    char *path, *other; /* "" when there is none */
    uint8_t *data;
} fault_call;

typedef struct fault_trace {
    fault_call *calls;
    int64_t count;
} fault_trace;

/* An empty trace when the file cannot be read or is cut off. */
fault_trace fault_trace_read(const char *path);
void fault_trace_free(fault_trace *trace);
/* Takes out of "kind path length" what holds the number of the process. */
void fault_trace_plain(char name[128]);
/* The call of that number, "kind path length", plain; "" when there is none. */
void fault_trace_name(const fault_trace *trace, int64_t number, char out[128]);
/* The greatest number. */
int64_t fault_trace_last(const fault_trace *trace);

#endif
