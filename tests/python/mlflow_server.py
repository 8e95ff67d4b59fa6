#!/usr/bin/env python3
"""The real `mlflow server` over SQLite with served artifacts, on 127.0.0.1; ends with its process group.

usage: mlflow_server.py FOLDER [--port PORT] [--auth]
FOLDER/port  written before the server starts; without --port a free one. The server listens some seconds later.
--auth: with users and passwords; the administrator is admin, password "correct horse 12".
"""
import argparse
import os
import socket
import sys

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--auth", action="store_true")
arguments = parser.parse_args()
os.chdir(arguments.folder)
port = arguments.port
if not port:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
with open("port.new", "w") as file:
    file.write(f"{port}\n")
os.rename("port.new", "port")
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes nobody here needs
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "not a secret here"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
for name in list(os.environ):
    if name.startswith("MLFLOW_TRACKING_") or name.startswith("MLFLOW_EXPERIMENT_"):
        del os.environ[name]
command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
           "--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "./artifacts"]
if arguments.auth:
    with open("auth.ini", "w") as file:
        file.write("[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///users.db\nadmin_username = admin\n"
                   "admin_password = correct horse 12\nauthorization_function = "
                   "mlflow.server.auth:authenticate_request_basic_auth\n")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = os.path.join(os.getcwd(), "auth.ini")
    command += ["--app-name", "basic-auth"]
os.execv(sys.executable, command)
