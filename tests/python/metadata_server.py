#!/usr/bin/env python3
"""A metadata service of AWS, GCP and Azure, and a few odd servers, on a free port of 127.0.0.1. Standard library only.

usage: metadata_server.py FOLDER
FOLDER/port    written when the server listens
FOLDER/mode    read at every request for the notice; words:
               none       no notice (also when there is no such file)
               notice     the machine is taken away
               rebalance  AWS: a recommendation; Azure: a reboot is planned; no notice
               other      Azure: a notice for another machine
               broken     an answer that is no JSON
               error      500
               slow       no answer for 600 s
               drop       the connection is closed without an answer
               expire     AWS: tokens given so far are refused from now on (then as none)
FOLDER/requests  one line a request: METHOD PATH CODE
"""
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

FOLDER = sys.argv[1]
lock = threading.Lock()
tokens = set()
expired = False


def mode():
    try:
        with open(os.path.join(FOLDER, "mode")) as file:
            return file.read().strip() or "none"
    except FileNotFoundError:
        return "none"


def stamp(seconds, form):
    return time.strftime(form, time.gmtime(time.time() + seconds))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, text="", kind="text/plain", headers=()):
        data = text.encode()
        with lock, open(os.path.join(FOLDER, "requests"), "a") as log:
            log.write(f"{self.command} {self.path} {code}\n")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def misbehaves(self, how):
        if how == "slow":
            time.sleep(600)
        elif how == "error":
            self.answer(500, "out of order")
        elif how == "broken":
            self.answer(200, "<html>no json</html>")
        elif how == "drop":
            self.close_connection = True
        else:
            return False
        return True

    # ---- the three clouds
    def aws(self):
        global expired
        how = mode()
        if self.command == "PUT" and self.path == "/latest/api/token":
            seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            if not seconds or not 1 <= int(seconds) <= 21600 or self.headers.get("X-Forwarded-For"):
                return self.answer(400)
            token = f"token-{len(tokens)}=="
            tokens.add(token)
            return self.answer(200, token)
        if how == "expire" and not expired:
            tokens.clear()
            tokens.add("the one before is gone")
            expired = True
        if self.headers.get("X-aws-ec2-metadata-token") not in tokens:
            return self.answer(401)
        if self.path == "/latest/meta-data/events/recommendations/rebalance":
            if how == "rebalance":
                return self.answer(200, json.dumps({"noticeTime": stamp(0, "%Y-%m-%dT%H:%M:%SZ")}))
            return self.answer(404)
        if self.path != "/latest/meta-data/spot/instance-action":
            return self.answer(404)
        if self.misbehaves(how):
            return None
        if how == "notice":
            return self.answer(200, json.dumps({"action": "terminate", "time": stamp(120, "%Y-%m-%dT%H:%M:%SZ")}))
        return self.answer(404)

    def gcp(self):
        how = mode()
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(403)
        if self.path != "/computeMetadata/v1/instance/preempted":
            return self.answer(404)
        if self.misbehaves(how):
            return None
        return self.answer(200, "TRUE" if how == "notice" else "FALSE", headers=[("Metadata-Flavor", "Google")])

    def azure(self):
        how = mode()
        if self.headers.get("Metadata") != "true":
            return self.answer(400)
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        if parts.path == "/metadata/instance/compute/name":
            return self.answer(200, "worker_3") if query.get("format") == ["text"] else self.answer(400)
        if parts.path != "/metadata/scheduledevents" or query.get("api-version") != ["2020-07-01"]:
            return self.answer(400)
        if self.misbehaves(how):
            return None
        event = {
            "EventId": "A123", "ResourceType": "VirtualMachine", "EventStatus": "Scheduled",
            "EventType": "Reboot" if how == "rebalance" else "Preempt",
            "Resources": ["worker_4"] if how == "other" else ["worker_1", "Worker_3"],
            "NotBefore": stamp(30, "%a, %d %b %Y %H:%M:%S GMT"),
        }
        events = [event] if how in ("notice", "rebalance", "other") else []
        return self.answer(200, json.dumps({"DocumentIncarnation": 1, "Events": events}), "application/json")

    # ---- for the client's own tests
    def plain(self):
        parts = urllib.parse.urlsplit(self.path)
        argument = parts.query
        if parts.path == "/echo":
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
            text = json.dumps({"method": self.command, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body})
            return self.answer(200, text, "application/json")
        if parts.path == "/status":
            return self.answer(int(argument), "the body")
        if parts.path == "/later":
            return self.answer(429, "", headers=[("Retry-After", urllib.parse.unquote(argument))])
        if parts.path == "/redirect":
            return self.answer(302, "", headers=[("Location", "/echo")])
        if parts.path == "/large":
            return self.answer(200, "x" * int(argument))
        if parts.path == "/slow":
            return time.sleep(600)
        if parts.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        elif parts.path == "/noise":
            self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        self.close_connection = True
        return None

    def handle_any(self):
        if self.path.startswith("/latest/"):
            return self.aws()
        if self.path.startswith("/computeMetadata/"):
            return self.gcp()
        if self.path.startswith("/metadata/"):
            return self.azure()
        return self.plain()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
with open(os.path.join(FOLDER, "port.new"), "w") as file:
    file.write(f"{server.server_address[1]}\n")
os.rename(os.path.join(FOLDER, "port.new"), os.path.join(FOLDER, "port"))
server.serve_forever()
