#!/usr/bin/env python3
"""A small MLflow server that misbehaves as it is told, on a free port of 127.0.0.1. Standard library only.

usage: mlflow_fake.py FOLDER
FOLDER/port      written when the server listens
FOLDER/mode      read at every request; words:
                 ok        as MLflow answers (also when there is no such file)
                 500, html, garbage, empty, list, 429, slow, 401, 403, host, cut, drop, redirect, 404:
                           every request is answered so
                 poison    an error 500 for a log-batch that holds a metric named poison
                 readonly  an error 500 for every log-batch
                 mlflow2   no logged models
                 noserve   artifacts are not served
                 race      another process makes the experiment first
                 badrequest  log-batch is a BAD_REQUEST, as for any trouble with the database
FOLDER/requests  one line a request: METHOD PATH CODE
FOLDER/cert.pem  when it is there: a certificate with its key, for https
FOLDER/client    when it is there: clients must show that certificate, too
GET /dump        all that is recorded, as JSON
GET /delete, GET /purge  all runs are marked as deleted, or gone
"""
import http.server
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.parse

FOLDER = sys.argv[1]
lock = threading.Lock()
experiments, runs, models, registered, aliases, artifacts = {}, {}, {}, {}, {}, {}
KEY = re.compile(r"^[/\w.\- :]{1,250}$")


class Refused(Exception):
    def __init__(self, code, error, message):
        super().__init__(message)
        self.code, self.error = code, error


def mode():
    try:
        with open(os.path.join(FOLDER, "mode")) as file:
            return file.read().strip() or "ok"
    except FileNotFoundError:
        return "ok"


def missing(what):
    return Refused(404, "RESOURCE_DOES_NOT_EXIST", f"{what} not found")


def invalid(message):
    return Refused(400, "INVALID_PARAMETER_VALUE", message)


def run_of(body):
    run = runs.get(body["run_id"])
    if not run:
        raise missing(f"Run with id={body['run_id']}")
    if run["info"]["lifecycle_stage"] != "active":
        raise invalid(f"The run {body['run_id']} must be in the 'active' state. Current state is deleted.")
    return run


def experiment_by_name(query, _):
    name = query["experiment_name"][0]
    for experiment in experiments.values():
        if experiment["name"] == name:
            return {"experiment": experiment}
    raise missing(f"experiment with name '{name}'")


def create_experiment(_, body):
    raced = mode() == "race"
    if any(experiment["name"] == body["name"] for experiment in experiments.values()):
        raise Refused(400, "RESOURCE_ALREADY_EXISTS", "exists")
    number = str(len(experiments) + 1)
    experiments[number] = {"experiment_id": number, "name": body["name"], "lifecycle_stage": "active"}
    if raced:
        raise Refused(400, "RESOURCE_ALREADY_EXISTS", "exists")
    return {"experiment_id": number}


def create_run(_, body):
    number = f"{len(runs) + 1:032x}"
    info = {
        "run_id": number, "experiment_id": body["experiment_id"], "run_name": body.get("run_name"),
        "user_id": body.get("user_id"), "status": "RUNNING", "start_time": body.get("start_time"),
        "artifact_uri": f"mlflow-artifacts:/{body['experiment_id']}/{number}/artifacts", "lifecycle_stage": "active",
    }
    runs[number] = {"info": info, "metrics": [], "params": {}, "tags": {t["key"]: t["value"] for t in body["tags"]},
                    "inputs": [], "outputs": {"model_outputs": []}}
    return {"run": {"info": info}}


def search_runs(_, body):
    wanted = re.fullmatch(r"tags\.`tarn\.run_id` = '(.*)'", body["filter"]).group(1)
    found = [run for run in runs.values() if run["tags"].get("tarn.run_id") == wanted
             and run["info"]["lifecycle_stage"] == "active" and run["info"]["experiment_id"] in body["experiment_ids"]]
    return {"runs": found[:1]} if found else {}


def get_run(query, _):
    run = runs.get(query["run_id"][0])
    if not run:
        raise missing("Run")
    return {"run": {"info": run["info"], "outputs": run["outputs"]}}


def update_run(_, body):
    info = run_of(body)["info"]
    info.update({key: body[key] for key in ("status", "end_time", "run_name") if key in body})
    return {"run_info": info}


def log_batch(_, body):
    run = run_of(body)
    metrics, params, tags = body.get("metrics", []), body.get("params", []), body.get("tags", [])
    if len(metrics) > 1000 or len(params) > 100 or len(tags) > 100 or len(metrics) + len(params) + len(tags) > 1000:
        raise invalid("A batch logging request can contain at most ...")
    for item in metrics + params + tags:
        if not KEY.match(item["key"]):
            raise invalid(f"Invalid value \"{item['key']}\" for parameter 'name' supplied")
    if len({param["key"] for param in params}) < len(params):
        raise invalid("Duplicate parameter keys have been submitted.")
    for param in params:
        if run["params"].get(param["key"], param["value"]) != param["value"]:
            raise invalid("Changing param values is not allowed.")
    if mode() == "readonly" or mode() == "poison" and any(metric["key"] == "poison" for metric in metrics):
        raise Refused(500, "INTERNAL_ERROR", "out of order")
    if mode() == "badrequest":
        raise Refused(400, "BAD_REQUEST", "(sqlite3.DatabaseError) database disk image is malformed")
    for param in params:
        run["params"][param["key"]] = param["value"]
    for tag in tags:
        run["tags"][tag["key"]] = tag["value"]
    for metric in metrics:
        if metric not in run["metrics"]:
            run["metrics"].append(metric)
    return {}


def log_inputs(_, body):
    run_of(body)["inputs"] += [d for d in body["datasets"] if d not in run_of(body)["inputs"]]
    return {}


def log_outputs(_, body):
    outputs = run_of(body)["outputs"]["model_outputs"]
    if any(one["model_id"] == body["models"][0]["model_id"] for one in outputs):
        raise Refused(400, "BAD_REQUEST", "UNIQUE constraint failed")
    outputs += body["models"]
    return {}


def create_model(_, body):
    number = f"m-{len(models) + 1:032x}"
    models[number] = {"info": {
        "model_id": number, "name": body["name"], "status": "LOGGED_MODEL_PENDING", "tags": body.get("tags", []),
        "source_run_id": body["source_run_id"], "artifact_uri": f"mlflow-artifacts:/1/models/{number}/artifacts"}}
    return {"model": models[number]}


def search_models(_, body):
    wanted = re.search(r"tags\.`tarn\.model` = '([^']*)'", body["filter"]).group(1)
    found = [m for m in models.values() if any(t["value"] == wanted for t in m["info"]["tags"])]
    return {"models": found} if found else {}


def create_registered(_, body):
    if body["name"] in registered:
        raise Refused(400, "RESOURCE_ALREADY_EXISTS", f"Registered Model (name={body['name']}) already exists.")
    registered[body["name"]] = []
    return {"registered_model": {"name": body["name"]}}


def create_version(_, body):
    versions = registered[body["name"]]
    versions.append({**body, "version": str(len(versions) + 1)})
    return {"model_version": versions[-1]}


def search_versions(query, _):
    run = re.fullmatch(r"run_id='(.*)'", query["filter"][0]).group(1)
    return {"model_versions": [v for all_of in registered.values() for v in all_of if v["run_id"] == run]}


def set_alias(_, body):
    if int(body["version"]) > len(registered.get(body["name"], [])):
        raise missing(f"Model Version (name={body['name']}, version={body['version']})")
    aliases[f"{body['name']}@{body['alias']}"] = body["version"]
    return {}


CALLS = {
    "GET experiments/get-by-name": experiment_by_name, "POST experiments/create": create_experiment,
    "POST runs/create": create_run, "POST runs/search": search_runs, "GET runs/get": get_run,
    "POST runs/update": update_run, "POST runs/log-batch": log_batch, "POST runs/log-inputs": log_inputs,
    "POST runs/outputs": log_outputs, "POST logged-models": create_model, "POST logged-models/search": search_models,
    "POST registered-models/create": create_registered, "POST model-versions/create": create_version,
    "GET model-versions/search": search_versions, "POST registered-models/alias": set_alias,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, text, kind="application/json", headers=()):
        data = text.encode() if isinstance(text, str) else text
        with lock, open(os.path.join(FOLDER, "requests"), "a") as log:
            log.write(f"{self.command} {self.path} {code} {self.headers.get('Authorization', '-')}\n")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def misbehaves(self, how):
        if how == "slow":
            time.sleep(600)
        elif how == "500":
            self.answer(500, "<!doctype html><title>500</title>", "text/html")
        elif how == "html":
            self.answer(200, "<html>Please log in</html>", "text/html")
        elif how == "garbage":
            self.answer(200, b'{"run": {"info": \xff\x00')
        elif how == "empty":
            self.answer(200, "{}")
        elif how == "list":
            self.answer(200, '[{"experiment": 1}]')
        elif how == "429":
            self.answer(429, "slower", "text/plain", [("Retry-After", "7")])
        elif how == "401":
            self.answer(401, "You are not authenticated. Please see https://www.mlflow.org/docs", "text/plain")
        elif how == "403":
            self.answer(403, "Permission denied", "text/plain")
        elif how == "host":
            self.answer(403, "Invalid Host header - possible DNS rebinding attack detected", "text/plain")
        elif how == "404":
            self.answer(404, "<html>not here</html>", "text/html")
        elif how == "redirect":
            self.answer(302, "", headers=[("Location", "https://elsewhere.example/mlflow")])
        elif how == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            self.close_connection = True
        elif how == "drop":
            self.close_connection = True
        else:
            return False
        return True

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        parts = urllib.parse.urlsplit(self.path)
        how = mode()
        if parts.path == "/dump":
            return self.answer(200, json.dumps({
                "experiments": experiments, "runs": runs, "models": models, "registered": registered,
                "aliases": aliases, "artifacts": artifacts}))
        if parts.path == "/delete":
            for run in runs.values():
                run["info"]["lifecycle_stage"] = "deleted"
            return self.answer(200, "{}")
        if parts.path == "/purge":
            runs.clear()
            return self.answer(200, "{}")
        if self.misbehaves(how):
            return None
        if parts.path.startswith("/api/2.0/mlflow-artifacts/artifacts/"):
            if how == "noserve":
                return self.answer(503, "Endpoint disabled due to the mlflow server running with `--no-serve-artifacts`.", "text/plain")
            name = urllib.parse.unquote(parts.path[len("/api/2.0/mlflow-artifacts/artifacts/"):])
            if "#" in name:
                return self.answer(400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}))
            artifacts[name] = data.decode("latin-1") if length < 10000 else f"{length} bytes"
            return self.answer(200, "{}")
        path = parts.path.removeprefix("/api/2.0/mlflow/")
        try:
            with lock:
                if self.command == "PATCH" and path.startswith("logged-models/"):
                    models[path[14:]]["info"]["status"] = json.loads(data)["status"]
                    answer = {"model": models[path[14:]]}
                elif f"{self.command} {path}" not in CALLS or how == "mlflow2" and path.startswith("logged-models"):
                    answer = None
                else:
                    body = json.loads(data) if data else {}
                    answer = CALLS[f"{self.command} {path}"](urllib.parse.parse_qs(parts.query), body)
        except Refused as refused:
            return self.answer(refused.code, json.dumps({"error_code": refused.error, "message": str(refused)}))
        if answer is None:
            return self.answer(404, "<!doctype html><title>404 Not Found</title>", "text/html")
        return self.answer(200, json.dumps(answer))

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
certificate = os.path.join(FOLDER, "cert.pem")
if os.path.exists(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if os.path.exists(os.path.join(FOLDER, "client")):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
with open(os.path.join(FOLDER, "port.new"), "w") as file:
    file.write(f"{server.server_address[1]}\n")
os.rename(os.path.join(FOLDER, "port.new"), os.path.join(FOLDER, "port"))
server.serve_forever()
