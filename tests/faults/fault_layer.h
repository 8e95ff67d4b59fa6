/* fault_layer.h - inside libfault_io: what its calls (fault_calls.c) have of its plan, its counter and its trace
 * (fault_io.c). */
#ifndef TARN_TESTS_FAULTS_FAULT_LAYER_H
#define TARN_TESTS_FAULTS_FAULT_LAYER_H

#include "fault_io.h"

#include <dlfcn.h>
#include <sys/types.h>

#define FAULT_DESCRIPTORS 4096

extern tarn_fault_plan fault_plan;
/* Paths of open descriptors below the directory, relative to it. */
extern char *fault_names[FAULT_DESCRIPTORS];
extern bool fault_folders[FAULT_DESCRIPTORS];

/* The next definition of a name: libc's, or that of a sanitizer before it. */
#define FAULT_REAL(name, type, ...)                                                                                    \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

ssize_t fault_real_write(int fd, const void *data, size_t bytes);
ssize_t fault_real_pwrite(int fd, const void *data, size_t bytes, off_t at);
int fault_real_close(int fd);

/* The path relative to the directory, or NULL when it is elsewhere. Freed by the caller. */
char *fault_inside(int at, const char *path);
bool fault_tracked(int fd);

void fault_lock(void);
void fault_unlock(void);
_Noreturn void fault_die(void);

typedef enum fault_outcome { FAULT_THROUGH, FAULT_FAILS, FAULT_HALF, FAULT_HALF_THEN_DIE } fault_outcome;

/* Counts a call; what is to become of it. FAULT_FAILS has set errno. */
fault_outcome fault_meet(tarn_fault_kind kind, const char *path, int64_t length);

/* Puts a call into the trace, when there is one. */
void fault_record(tarn_fault_kind kind, uint32_t flags, int fd, int64_t offset, int64_t length, const char *path,
                  const char *other, const void *data, int64_t data_bytes);
uint32_t fault_no_effect(int failed);

#endif
