/* write.h - writing all of something to a file descriptor. */
#ifndef TARN_RUNTIME_BASE_WRITE_H
#define TARN_RUNTIME_BASE_WRITE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes all bytes, however many calls that takes. False with errno; how much was written is then unknown. */
bool tarn_write_all(int file, const void *data, size_t bytes);

#endif
