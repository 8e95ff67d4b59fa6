/* mlflow.h - an MLflow server, or one that speaks its REST interface, as a sink. */
#ifndef TARN_TRACK_MLFLOW_H
#define TARN_TRACK_MLFLOW_H

#include "track/sink.h"

/* For a store that is an address (http://, https://). State: run.json, models.json. */
tarn_sink_open tarn_mlflow_sink_open;

#endif
