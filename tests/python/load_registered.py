"""Loads a registered model as Python does that serves it, and predicts.

Usage: load_registered.py STORE URI ROWS LENGTH      (URI: models:/NAME@ALIAS)

Prints "shape (ROWS, LENGTH, V) run RUN_ID", and exits 1 when a number is not finite.
"""

import os
import sys

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow  # noqa: E402
import numpy  # noqa: E402


def main():
    store, uri = sys.argv[1:3]
    rows, length = int(sys.argv[3]), int(sys.argv[4])
    mlflow.set_tracking_uri(store)
    model = mlflow.pyfunc.load_model(uri)
    output = model.predict(numpy.zeros((rows, length), dtype=numpy.int64))
    values = numpy.asarray(output["output"] if isinstance(output, dict) else output)
    print("shape", values.shape, "run", model.metadata.run_id)
    return 0 if numpy.isfinite(values).all() else 1


if __name__ == "__main__":
    sys.exit(main())
