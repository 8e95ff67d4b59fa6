#!/usr/bin/env python3
"""Checks exported models: onnx_check.py FOLDER/model.onnx...

Each folder holds model.onnx and cases: case-N.txt ("dtype shape / dtype shape" of input and output), case-N.in and
case-N.out, the bytes of an input and of Tarn's own output. onnx.checker looks at the whole model with strict shape
inference, then ONNX Runtime must give the same outputs to 1e-5 (times the largest of them where that is over 1). Prints one line a folder; exit code 1 at the first
that fails. A folder with MLmodel is opened by mlflow as well, both ways.

onnx_check.py --registered STORE NAME FOLDER loads models:/NAME@champion from an MLflow store instead, and compares its
predictions with the cases of the folder.
"""
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime

warnings.simplefilter("ignore")


def cases(folder):
    for description in sorted(folder.glob("case-*.txt")):
        arrays = []
        for text, end in zip(description.read_text().split("/"), (".in", ".out")):
            dtype, *shape = text.split()
            data = np.fromfile(description.with_suffix(end), dtype)
            arrays.append(data.reshape([int(size) for size in shape]))
        yield arrays


def compare(what, ours, theirs):
    ours, theirs = feed(ours), np.asarray(theirs)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        sys.exit(f"{what}: {theirs.dtype} {theirs.shape}, Tarn says {ours.dtype} {ours.shape}")
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    if not (difference <= 1e-5 * max(1, np.abs(ours).max(initial=0))).all():
        sys.exit(f"{what}: the largest difference is {difference.max()}, of values up to {np.abs(ours).max()}")
    return difference.max(initial=0)


def feed(array):
    return array.astype(np.int64) if array.dtype == np.int32 else array


def check(folder):
    path = folder / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    names = [i.name for i in model.graph.initializer]
    outputs = [o for n in model.graph.node for o in n.output]
    assert len(set(names + outputs)) == len(names) + len(outputs), f"{folder}: a name occurs twice"
    assert [i.name for i in model.graph.input] == ["input"] and [o.name for o in model.graph.output] == ["output"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    largest, count = 0, 0
    for x, y in cases(folder):
        largest = max(largest, compare(f"{folder} {x.shape}", y, session.run(None, {"input": feed(x)})[0]))
        count += 1
    if (folder / "MLmodel").exists():
        largest = max(largest, check_mlflow(folder))
    print(f"{folder.name}: opset {model.opset_import[0].version} ir {model.ir_version} nodes {len(model.graph.node)} "
          f"cases {count} largest difference {largest:.2e}")


def check_mlflow(folder):
    import mlflow

    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.metadata.signature.inputs.input_names() == ["input"]
    assert loaded.metadata.signature.outputs.input_names() == ["output"]
    example = loaded.metadata.load_input_example(str(folder))
    assert loaded.predict(example)["output"].shape[0] == 1
    largest = 0
    for x, y in cases(folder):
        largest = max(largest, compare(f"{folder} pyfunc", y, loaded.predict({"input": feed(x)})["output"]))
        largest = max(largest, compare(f"{folder} pyfunc, array", y, loaded.predict(feed(x))["output"]))
    assert mlflow.onnx.load_model(str(folder)).graph.output[0].name == "output"
    return largest


def check_registered(store, name, folder):
    import mlflow

    mlflow.set_tracking_uri(store)
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    for x, y in cases(pathlib.Path(folder)):
        print(f"{name}: largest difference", compare(name, y, loaded.predict({"input": feed(x)})["output"]))
    print("run", loaded.metadata.run_id)


if sys.argv[1] == "--registered":
    check_registered(*sys.argv[2:])
else:
    for argument in sys.argv[1:]:
        check(pathlib.Path(argument).parent)
