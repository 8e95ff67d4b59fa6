/* text.h - pieces of the exposition format 0.0.4: lines of HELP and TYPE, labels, numbers. */
#ifndef TARN_TRACK_PROMETHEUS_TEXT_H
#define TARN_TRACK_PROMETHEUS_TEXT_H

#include <stdbool.h>
#include <stdio.h>

void tarn_prometheus_write_head(FILE *out, const char *name, const char *type, const char *help);
/* A label with its value escaped; what is no UTF-8 becomes ?, since Prometheus refuses a whole text over it. first: no
 * comma before. */
void tarn_prometheus_write_label(FILE *out, const char *name, const char *value, bool first);
/* The shortest decimal that reads back as the same double, whatever the locale; NaN, +Inf, -Inf. */
void tarn_prometheus_write_value(FILE *out, double value);

#endif
