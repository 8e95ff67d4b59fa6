/* environment.h - facts about the process that a run is tagged with. Each writes "" when it is unknown. */
#ifndef TARN_TRACK_ENVIRONMENT_H
#define TARN_TRACK_ENVIRONMENT_H

#include <stddef.h>
#include <stdint.h>

/* What the variable holds; NULL when it is not set, or empty. */
const char *tarn_environment_variable(const char *name);
void tarn_environment_user(char *out, size_t size);
/* The program's name as it was called. */
void tarn_environment_source(char *out, size_t size);
/* The commit checked out in the repository that the working directory lies in, read from .git without running git. */
void tarn_environment_commit(char out[65]);
/* 32 hex digits from the kernel's generator; 0, or -1 with errno. */
int tarn_environment_new_id(char out[33]);
/* Milliseconds since 1970. */
int64_t tarn_environment_time_ms(void);

/* Takes user names and passwords out of the addresses in a text ("scheme://name:password@host" keeps three stars of
 * it), for what goes to a record that others read. */
void tarn_environment_hide_logins(char *text);

#endif
