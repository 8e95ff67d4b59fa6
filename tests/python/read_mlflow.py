"""Reads one run of an MLflow store with the real MlflowClient and prints it as JSON.

Usage: read_mlflow.py STORE RUN_ID      (STORE: a directory, sqlite:///FILE, or http://...)

Keys of metrics, params, tags and artifacts are given as one object each, so that the test in C can look values up by
"steps.<metric>", "values.<metric>", "params.<param>" and so on. Values are hexadecimal: no digit is lost or made up.
"""

import json
import os
import sys

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow  # noqa: E402
from mlflow.entities import ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


def artifacts_of(client, run_id, path=None):
    """Paths of all files among the artifacts, folders walked."""
    found = []
    for info in client.list_artifacts(run_id, path):
        found += artifacts_of(client, run_id, info.path) if info.is_dir else [info.path]
    return sorted(found)


def inputs_of(run):
    """Datasets of a run by name."""
    found = {}
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        data = entry.dataset
        found[data.name] = {
            "digest": data.digest,
            "source": data.source,
            "source_type": data.source_type,
            "schema": data.schema,
            "profile": data.profile,
            "tags": {tag.key: tag.value for tag in entry.tags},
        }
    return found


def models_of(client, run):
    """Logged models of a run by name, with the files of each."""
    found = {}
    for output in run.outputs.model_outputs if run.outputs else []:
        model = client.get_logged_model(output.model_id)
        files = []
        for folder, _, names in os.walk(model.artifact_location):
            files += [os.path.relpath(os.path.join(folder, name), model.artifact_location) for name in names]
        found[model.name] = {
            "model_id": model.model_id,
            "model_type": model.model_type,
            "status": str(model.status),
            "source_run_id": model.source_run_id,
            "experiment_id": model.experiment_id,
            "location": model.artifact_location,
            "created": model.creation_timestamp,
            "step": output.step,
            "params": dict(model.params),
            "files": sorted(files),
        }
    return found


def registry_of(client):
    """Registered models with their versions and aliases."""
    found = {}
    for registered in client.search_registered_models():
        registered = client.get_registered_model(registered.name)
        versions = {}
        for version in client.search_model_versions(f"name = '{registered.name}'"):
            versions[f"v{version.version}"] = {
                "run_id": version.run_id,
                "source": version.source,
                "status": str(version.status),
                "created": version.creation_timestamp,
                "download": client.get_model_version_download_uri(version.name, version.version),
            }
        found[registered.name] = {
            "versions": versions,
            "aliases": {alias: str(version) for alias, version in registered.aliases.items()},
        }
        for alias, version in registered.aliases.items():
            assert str(client.get_model_version_by_alias(registered.name, alias).version) == str(version)
    return found


def read(store, run_id):
    mlflow.set_tracking_uri(store)  # the file store's registry looks there for models
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
        "datasets": inputs_of(run),
        "models": models_of(client, run),
        "registry": registry_of(client),
    }
    for key in run.data.metrics:
        history = client.get_metric_history(run_id, key)
        out["steps"][key] = [point.step for point in history]
        out["values"][key] = [point.value.hex() for point in history]
        out["times"][key] = [point.timestamp for point in history]
    for path in out["artifacts"]:
        with open(client.download_artifacts(run_id, path), encoding="utf-8", errors="replace") as file:
            out["artifact_texts"].append(file.read())
    return out


def main():
    out = read(*sys.argv[1:3])
    # Non-ASCII text bare: the test reads this with a YAML parser, which knows no surrogate pairs.
    json.dump(out, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
