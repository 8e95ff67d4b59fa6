"""Prints what wandb's own message types find in the runs below a directory; usage: read_wandb.py DIR.

wandb 0.31 reads the framing in its Go core alone (see wandb_server.py for that); here it is read as LevelDB defines it.
"""

import pathlib
import struct
import sys
import zlib

from wandb.proto import wandb_internal_pb2 as messages

BLOCK = 32768


def records(data):
    assert data[:7] == b":W&B\xe1\xbe\x00", data[:7]
    at, pieces = 7, b""
    while at < len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        crc, length, kind = struct.unpack("<IHB", data[at:at + 7])
        if (crc, length, kind) == (0, 0, 0):
            at += BLOCK - at % BLOCK
            continue
        chunk = data[at + 7:at + 7 + length]
        assert len(chunk) == length and zlib.crc32(bytes([kind]) + chunk) == crc, f"bad chunk at {at}"
        assert at % BLOCK + 7 + length <= BLOCK
        assert (kind in (1, 2)) == (not pieces), f"type {kind} at {at}"
        pieces += chunk
        at += 7 + length
        if kind in (1, 4):
            yield pieces
            pieces = b""
    assert not pieces


def key(item):
    return item.key or "/".join(item.nested_key[1:] and [item.nested_key[0], item.nested_key[1]] or item.nested_key)


for path in sorted(pathlib.Path(sys.argv[1]).glob("offline-run-*/run-*.wandb")):
    print("file", path.name)
    assert path.parent.name.endswith(path.stem[3:])
    for number, data in enumerate(records(path.read_bytes()), 1):
        record = messages.Record.FromString(data)
        assert record.num == number, (record.num, number)
        kind = record.WhichOneof("record_type")
        assert kind
        value = getattr(record, kind)
        if kind == "history":
            items = {key(item): item.value_json for item in value.item}
            assert items["_step"] == str(value.step.num)
            print("history", *(f"{name}={items[name]}" for name in sorted(items)))
        elif kind == "stats":
            milliseconds = value.timestamp.seconds * 1000 + value.timestamp.nanos // 1000000
            print("stats", milliseconds, *(f"{item.key}={item.value_json}" for item in value.item))
        elif kind == "config":
            print("config", *(f"{item.key}={item.value_json}" for item in value.update))
        elif kind == "run":
            print("run", value.run_id, value.project, value.display_name, repr(value.notes),
                  *(f"{item.key}={item.value_json}" for item in value.config.update))
        elif kind == "environment":
            print("environment", value.username, value.program, value.git.commit)
        elif kind == "metric":
            print("metric", value.name, value.step_metric)
        elif kind == "files":
            print("files", *(item.path for item in value.files))
        elif kind == "exit":
            print("exit", value.exit_code)
        elif kind == "header":
            print("header", value.version_info.min_consumer)
        elif kind == "summary":
            items = {key(item): item.value_json for item in value.update}
            print("summary", *(f"{name}={items[name]}" for name in sorted(items) if not name.startswith("h/")))
        else:
            print("unknown", kind)
