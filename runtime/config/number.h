/* number.h - numbers as text and back, the same in every locale. */
#ifndef TARN_RUNTIME_CONFIG_NUMBER_H
#define TARN_RUNTIME_CONFIG_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#define TARN_NUMBER_TEXT 40

/* Writes the shortest of %.15g, %.16g, %.17g that reads back as the same double; returns its length. Non-finite values
 * become "nan", "inf", "-inf". */
int tarn_number_print(char out[TARN_NUMBER_TEXT], double value);
/* The whole of `text` as a finite decimal number ("1", "-0.5", "1e-3"); hexadecimal, nan and inf are no numbers here.
 */
bool tarn_number_parse(const char *text, double *value);
/* The whole of `text` as a decimal integer of 64 bits. */
bool tarn_integer_parse(const char *text, int64_t *value);

#endif
