"""Reads one run of an MLflow file store with the real MlflowClient and prints it as JSON.

Usage: read_mlflow.py STORE RUN_ID

Keys of metrics, params, tags and artifacts are given as one object each, so that the test in C can look values up by
"steps.<metric>", "values.<metric>", "params.<param>" and so on. Values are hexadecimal: no digit is lost or made up.
"""

import json
import os
import sys

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow.entities import ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


def artifacts_of(client, run_id, path=None):
    """Paths of all files among the artifacts, folders walked."""
    found = []
    for info in client.list_artifacts(run_id, path):
        found += artifacts_of(client, run_id, info.path) if info.is_dir else [info.path]
    return sorted(found)


def main():
    store, run_id = sys.argv[1:3]
    client = MlflowClient(tracking_uri=store)
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    # One bad run breaks the search for a whole experiment: all of them must come back.
    searched = client.search_runs([run.info.experiment_id], run_view_type=ViewType.ALL)
    out = {
        "experiment": experiment.name,
        "experiments": len(client.search_experiments(view_type=ViewType.ALL)),
        "by_name": client.get_experiment_by_name(experiment.name).experiment_id,
        "experiment_id": run.info.experiment_id,
        "searched": sorted(found.info.run_id for found in searched),
        "status": run.info.status,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "run_name": run.info.run_name,
        "steps": {},
        "values": {},
        "times": {},
        "latest": {key: value.hex() for key, value in run.data.metrics.items()},
        "params": dict(run.data.params),
        "tags": dict(run.data.tags),
        "artifacts": artifacts_of(client, run_id),
        "artifact_texts": [],
    }
    for key in run.data.metrics:
        history = client.get_metric_history(run_id, key)
        out["steps"][key] = [point.step for point in history]
        out["values"][key] = [point.value.hex() for point in history]
        out["times"][key] = [point.timestamp for point in history]
    for path in out["artifacts"]:
        with open(client.download_artifacts(run_id, path), encoding="utf-8") as file:
            out["artifact_texts"].append(file.read())
    # Non-ASCII text bare: the test reads this with a YAML parser, which knows no surrogate pairs.
    json.dump(out, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
