/* host.c - see host.h. */
#include "runtime/base/host.h"

#include <stdio.h>
#include <sys/utsname.h>

void tarn_host_name(char *out, size_t size)
{
    /* Not gethostname: it says nothing of whether a name that was cut off is ended. */
    struct utsname system;
    snprintf(out, size, "%s", !uname(&system) && *system.nodename ? system.nodename : "unknown");
}
