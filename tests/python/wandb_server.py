"""A W&B server for `wandb sync`: the requests that it makes of one, answered as the real one does, and kept.

usage: wandb_server.py FILE     prints its port; writes what it was sent to FILE (JSON) after each request:
  {"runs": {ID: {"upserts": [...], "history": [ROW...], "summary": {...}, "system": [...], "exit": CODE, "files": {...}}}}
History lines are placed by their offset, as the real server does: a line sent twice for the same place is one line.
"""

import gzip
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

runs = {}
unknown = []
lock = Lock()


def run_of(name):
    return runs.setdefault(name, {"upserts": [], "history": [], "summary": {}, "system": [], "exit": None, "files": {}})


def graphql(host, body):
    query, variables = body["query"], body.get("variables") or {}
    name = re.search(r"(?:query|mutation)\s+(\w+)", query)
    name = name.group(1) if name else ""
    if "upsertBucket" in query:
        run = run_of(variables["name"])
        run["upserts"].append({key: value for key, value in variables.items() if value is not None})
        project = {"id": "p", "name": variables.get("project") or "p", "entity": {"id": "e", "name": "tester"}}
        bucket = {"id": "storage-" + variables["name"], "name": variables["name"], "displayName": variables.get("displayName"),
                  "description": None, "config": "{}", "sweepName": None, "project": project,
                  "historyLineCount": len(run["history"])}
        return {"upsertBucket": {"bucket": bucket, "inserted": len(run["upserts"]) == 1}}
    if "createRunFiles" in query:
        files = [{"name": file, "uploadUrl": f"http://{host}/upload/{variables['run']}/{file}"} for file in variables["files"]]
        return {"createRunFiles": {"runID": "storage-" + variables["run"], "uploadHeaders": [], "files": files}}
    if "viewer" in query.lower():
        return {"viewer": {"id": "v", "entity": "tester", "username": "tester", "flags": "{}", "email": "",
                           "teams": {"edges": []}}}
    if "serverInfo" in query:
        return {"serverInfo": {"features": [], "cliVersionInfo": None, "latestLocalVersionInfo": None}}
    if "bucket" in query:
        return {"model": None}
    unknown.append(name or query)
    return {}


def file_stream(name, body):
    run = run_of(name)
    for file, chunk in (body.get("files") or {}).items():
        if file == "wandb-history.jsonl":
            lines = [json.loads(line) for line in chunk["content"]]
            offset = chunk["offset"]
            run["history"][offset:offset + len(lines)] = lines
        elif file == "wandb-events.jsonl":
            lines = [json.loads(line) for line in chunk["content"]]
            run["system"] += lines  # each file of a run has its own offsets here
        elif file == "wandb-summary.json":
            for line in chunk["content"]:
                run["summary"].update(json.loads(line))
    if body.get("complete"):
        run["exit"] = body.get("exitcode")
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        with open(sys.argv[1] + ".new", "w") as out:
            json.dump({"runs": runs, "unknown": unknown}, out)
        os.replace(sys.argv[1] + ".new", sys.argv[1])

    def do_POST(self):
        data = self.body()
        with lock:
            if self.path.endswith("/graphql"):
                self.answer({"data": graphql(self.headers["host"], json.loads(data))})
            elif self.path.endswith("/file_stream"):
                self.answer(file_stream(self.path.split("/")[-2], json.loads(data)))
            else:
                unknown.append(self.path)
                self.answer({})

    def do_PUT(self):
        data = self.body()
        with lock:
            run, file = self.path.split("/", 3)[2:]
            run_of(run)["files"][file] = data.decode(errors="replace")[:65536]
            self.answer({})

    def do_GET(self):
        with lock:
            unknown.append(self.path)
            self.answer({})

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # clients that hang up


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
