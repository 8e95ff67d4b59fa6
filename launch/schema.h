/* schema.h - the keys of a run file: the contract between its author and `tarn train`. */
#ifndef TARN_LAUNCH_SCHEMA_H
#define TARN_LAUNCH_SCHEMA_H

#include "runtime/config/config.h"

/* Keys of one section stand together, in the order in which the resolved configuration shows them. */
extern const tarn_config_key tarn_run_schema[];
extern const int tarn_run_schema_count;

#endif
