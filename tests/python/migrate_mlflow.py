"""Moves a file store with `mlflow migrate-filestore` and compares every run before and after, as MlflowClient reads it.

Usage: migrate_mlflow.py STORE DATABASE

Prints "same: R runs, M metric points, ..." and exits 0, or the first differences and 1.
"""

import os
import subprocess
import sys

from read_mlflow import MlflowClient, ViewType, read


def run_ids(store):
    client = MlflowClient(tracking_uri=store)
    experiments = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    return sorted(run.info.run_id for run in client.search_runs(experiments, run_view_type=ViewType.ALL))


def differences(before, after, where=""):
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted(set(before) | set(after)):
            found += differences(before.get(key), after.get(key), f"{where}.{key}")
        return found
    return [] if before == after else [f"{where}: {before!r} became {after!r}"]


def main():
    store, database = sys.argv[1:3]
    command = [sys.executable, "-m", "mlflow", "migrate-filestore", "--source", store, "--target", f"sqlite:///{database}"]
    moved = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    if moved.returncode:
        print(moved.stdout, moved.stderr)
        return 1
    ids = run_ids(store)
    problems, counts = [], {"metric points": 0, "params": 0, "tags": 0, "artifacts": 0, "datasets": 0, "models": 0}
    if ids != run_ids(f"sqlite:///{database}"):
        problems.append("the runs are not the same")
    for run_id in ids if not problems else []:
        before, after = read(store, run_id), read(f"sqlite:///{database}", run_id)
        # The database has the experiment "Default" always, and gives points of a step in an order of its own.
        before.pop("experiments"), after.pop("experiments")
        problems += differences(before, after, run_id)
        counts["metric points"] += sum(len(steps) for steps in before["steps"].values())
        for key in ("params", "tags", "artifacts", "datasets", "models"):
            counts[key] += len(before[key])
    counts["versions"] = sum(len(found["versions"]) for found in before["registry"].values()) if ids else 0
    counts["aliases"] = sum(len(found["aliases"]) for found in before["registry"].values()) if ids else 0
    print("\n".join(problems[:20]))
    if not problems:
        print(f"same: {len(ids)} runs, " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
