/* options.h - the options of tarn launch render: parsed, checked, completed with defaults. */
#ifndef TARN_LAUNCH_RENDER_OPTIONS_H
#define TARN_LAUNCH_RENDER_OPTIONS_H

#include "launch/render/render.h"

#include <stdio.h>

typedef struct tarn_render_options {
    tarn_render render;
    const char *kind_name, *file, *out, *name;
    const char **override; /* owned list of borrowed strings */
} tarn_render_options;

/* Reads the words after the kind; those of argv are borrowed. Fails with TARN_ERROR_ARGUMENT and a message that names
 * the option and what it takes. tarn_render_options_free in either case. */
tarn_status tarn_render_parse(tarn_render_options *options, tarn_context *context, tarn_render_kind kind,
                              const char *kind_name, int argc, char **argv);
/* Fills in what depends on the run (the name) and on other options, and checks what has to fit together. Needs
 * render.config. */
tarn_status tarn_render_complete(tarn_render_options *options, tarn_context *context);
/* Logs warnings about what may well be a mistake, but need not be one. After tarn_render_complete. */
void tarn_render_warn(const tarn_render *render, tarn_context *context);
void tarn_render_options_free(tarn_render_options *options);
void tarn_render_print_options(FILE *out);

#endif
