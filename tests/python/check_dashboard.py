"""Compares a dashboard with Grafana's own published model: usage: check_dashboard.py dashboard.json

A field that the model does not know is lost on the way through it. Those of the Prometheus plug-in's annotations and
variables, and what Grafana's export adds, are not part of the model. Prints what is wrong; exit 0 when nothing is, 77
without the package.
"""
import json
import re
import sys

try:
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import dashboard
except ImportError:
    sys.exit(77)

BEYOND = re.compile(
    r"^/(__inputs|__requires|id)$|^/templating/list/\d+/definition$"
    r"|^/annotations/list/\d+/(useValueForTime|titleFormat|textFormat|tagKeys|step)$"
)
problems = []


def compare(given, back, where):
    if isinstance(given, dict):
        for key, value in given.items():
            place = f"{where}/{key}"
            if BEYOND.match(place):
                continue
            if not isinstance(back, dict) or key not in back:
                problems.append(f"{place} is not in the model")
            else:
                compare(value, back[key], place)
    elif isinstance(given, list):
        if not isinstance(back, list) or len(given) != len(back):
            problems.append(f"{where} came back otherwise")
        else:
            for i, (a, b) in enumerate(zip(given, back)):
                compare(a, b, f"{where}/{i}")
    elif given != back:
        problems.append(f"{where}: {given!r} came back as {back!r}")


plugins.register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    shipped = json.load(file)
compare(shipped, json.loads(JSONEncoder().encode(dashboard.Dashboard.from_json(shipped))), "")
print("\n".join(problems))
sys.exit(bool(problems))
