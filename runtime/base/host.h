/* host.h - the name of this machine. */
#ifndef TARN_RUNTIME_BASE_HOST_H
#define TARN_RUNTIME_BASE_HOST_H

#include <stddef.h>

/* The name that the system has for this machine, cut off to fit; "unknown" where it has none. */
void tarn_host_name(char *out, size_t size);

#endif
