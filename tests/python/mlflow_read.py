"""Reads one run of an MLflow server, found by its tag tarn.run_id, with the real MlflowClient, and prints it as JSON.

Usage: mlflow_read.py ADDRESS TARN_RUN_ID [REGISTERED_MODEL ALIAS [TOKENS]]

Values are given as hexadecimal floats: no digit is lost or made up. The model is loaded through its alias, as
models:/NAME@ALIAS, by mlflow.pyfunc; what it predicts for 1, 2, 3 (or for TOKENS tokens: a language model) is in
"prediction".
"""
import json
import os
import sys
import tempfile

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow  # noqa: E402
from mlflow.entities import ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


def artifacts_of(client, run_id, path=None):
    found = []
    for info in client.list_artifacts(run_id, path):
        found += artifacts_of(client, run_id, info.path) if info.is_dir else [info.path]
    return sorted(found)


def main():
    address, local = sys.argv[1:3]
    mlflow.set_tracking_uri(address)
    client = MlflowClient()
    experiments = client.search_experiments(view_type=ViewType.ALL)
    runs = client.search_runs([e.experiment_id for e in experiments], f"tags.`tarn.run_id` = '{local}'", ViewType.ALL)
    out = {"runs": len(runs)}
    if runs:
        run = client.get_run(runs[0].info.run_id)
        out.update(
            run_id=run.info.run_id, experiment=client.get_experiment(run.info.experiment_id).name,
            status=run.info.status, start_time=run.info.start_time, end_time=run.info.end_time,
            run_name=run.info.run_name, user_id=run.info.user_id, params=dict(run.data.params),
            tags=dict(run.data.tags), latest={key: value.hex() for key, value in run.data.metrics.items()},
            metrics={}, artifacts={},
            datasets=[{"name": i.dataset.name, "digest": i.dataset.digest, "source": i.dataset.source,
                       "source_type": i.dataset.source_type, "profile": i.dataset.profile, "schema": i.dataset.schema,
                       "tags": {t.key: t.value for t in i.tags}} for i in run.inputs.dataset_inputs],
            outputs=[{"model_id": o.model_id, "step": o.step} for o in run.outputs.model_outputs],
        )
        for key in run.data.metrics:
            out["metrics"][key] = [[p.step, p.value.hex(), p.timestamp] for p in client.get_metric_history(run.info.run_id, key)]
        with tempfile.TemporaryDirectory() as folder:
            for path in artifacts_of(client, run.info.run_id):
                with open(client.download_artifacts(run.info.run_id, path, folder), "rb") as file:
                    out["artifacts"][path] = file.read().decode("latin-1")
        out["models"] = []
        for output in run.outputs.model_outputs:
            model = client.get_logged_model(output.model_id)
            out["models"].append({"model_id": model.model_id, "name": model.name, "status": str(model.status),
                                  "source_run_id": model.source_run_id, "model_type": model.model_type,
                                  "params": model.params, "tags": model.tags})
    if len(sys.argv) > 4:
        name, alias = sys.argv[3:5]
        version = client.get_model_version_by_alias(name, alias)
        out["version"] = {"version": str(version.version), "run_id": version.run_id, "source": version.source}
        out["versions"] = len(client.search_model_versions(f"name='{name}'"))
        loaded = mlflow.pyfunc.load_model(f"models:/{name}@{alias}")
        out["loaded"] = {"run_id": loaded.metadata.run_id, "model_id": loaded.metadata.model_id}
        if len(sys.argv) > 5:
            import numpy
            answer = loaded.predict(numpy.arange(int(sys.argv[5]), dtype=numpy.int64).reshape(1, -1) % 7)
            (answer,) = answer.values() if isinstance(answer, dict) else (answer,)
            out["prediction"] = [float(value) for value in numpy.asarray(answer).ravel()]
        else:
            out["prediction"] = [float(value) for value in loaded.predict([1.0, 2.0, 3.0])]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
