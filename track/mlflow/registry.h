/* registry.h - the model registry of an MLflow server: versions of registered models, and aliases.
 *
 * For commands and other callers that have an address and want one thing done now; the sink uses the second half, with
 * its own client. Passwords, tokens and TLS settings come from the environment, as for tracking (client.h).
 *
 * All functions wait for the server's answer, some seconds at most. On failure `problem` holds one line that says what
 * the server said and the remedy: TARN_ERROR_CONFIG: the address or the environment is wrong; TARN_ERROR_IO: no server,
 * or it does not let us in; TARN_ERROR_ARGUMENT: it refuses (no such model or version, a reserved alias, a bad name).
 */
#ifndef TARN_TRACK_MLFLOW_REGISTRY_H
#define TARN_TRACK_MLFLOW_REGISTRY_H

#include "track/sink.h"

#include <stdbool.h>

enum { TARN_MLFLOW_VERSION = 24 }; /* bytes of a version number's text */

/* Whether a store (track.store, MLFLOW_TRACKING_URI) is the address of a server: http:// or https://. */
bool tarn_mlflow_is_address(const char *store);

/* Makes `alias` of the registered model `name` mean `version` ("3"); one that is there moves. */
tarn_status tarn_mlflow_set_alias(const char *address, const char *name, const char *alias, const char *version,
                                  char problem[TARN_SINK_PROBLEM]);
/* The version that an alias means. */
tarn_status tarn_mlflow_get_alias(const char *address, const char *name, const char *alias,
                                  char version[TARN_MLFLOW_VERSION], char problem[TARN_SINK_PROBLEM]);
/* Takes an alias away; one that is not there is fine. */
tarn_status tarn_mlflow_delete_alias(const char *address, const char *name, const char *alias,
                                     char problem[TARN_SINK_PROBLEM]);

/* What the sink's state folder knows without asking: the version of `name` that a model became, and (alias not NULL)
 * that the alias was moved to it. */
bool tarn_mlflow_noted_version(const char *state, const char *model_id, const char *name, const char *alias,
                               char version[TARN_MLFLOW_VERSION]);

#endif
