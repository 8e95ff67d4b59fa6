"""check_manifest.py - does a manifest of `tarn launch render` fit the schema of the system that is to take it?

usage: check_manifest.py kubernetes|mpijob|volcano|sagemaker FILE RUN.yaml      exit 0 it fits, 1 it does not (stdout says why)

What is compared with what:
  Job, ConfigMap, every pod   the JSON schemas Kubernetes publishes, strict (package kubernetes-validate)
  CreateTrainingJob           the service model AWS publishes (package botocore)
  MPIJob, Volcano Job         their definitions come in no package: the tables below state their fields, written after the
                              CustomResourceDefinitions of mpi-operator 0.8.2 and Volcano 1.15. With TARN_TEST_CRDS naming a
                              folder with mpijob.yaml and volcano.yaml, the definitions themselves are used as well.
Unknown fields are errors everywhere: the real systems would drop them without a word.
"""
import json
import os
import sys

import jsonschema
import kubernetes_validate
import yaml

INTEGER, STRING, BOOLEAN = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}
POD = {"type": "object", "required": ["spec"]}  # looked at by kubernetes-validate


def record(required=(), **fields):
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def listing(item):
    return {"type": "array", "items": item}


METADATA = record(["name"], name=STRING, namespace=STRING, labels={"type": "object", "additionalProperties": STRING})
REPLICA = record(["replicas", "template"], replicas=INTEGER, restartPolicy={"enum": ["Never", "OnFailure"]},
                 template=POD)
MPIJOB = record(
    ["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": "kubeflow.org/v2beta1"}, kind={"const": "MPIJob"},
    metadata=METADATA, spec=record(
        ["mpiReplicaSpecs"], slotsPerWorker=INTEGER, runLauncherAsWorker=BOOLEAN,
        mpiImplementation={"enum": ["OpenMPI", "Intel", "MPICH"]}, sshAuthMountPath=STRING,
        launcherCreationPolicy={"enum": ["AtStartup", "WaitForWorkersReady"]},
        runPolicy=record(activeDeadlineSeconds=INTEGER, backoffLimit=INTEGER,
                         cleanPodPolicy={"enum": ["None", "Running", "All"]}, managedBy=STRING, suspend=BOOLEAN,
                         ttlSecondsAfterFinished=INTEGER),
        mpiReplicaSpecs=record(["Launcher"], Launcher=REPLICA, Worker=REPLICA)))
EVENTS = ["*", "PodPending", "PodRunning", "PodFailed", "PodEvicted", "Unknown", "TaskCompleted", "OutOfSync",
          "CommandIssued", "JobUpdated", "TaskFailed"]
ACTIONS = ["AbortJob", "RestartJob", "RestartTask", "RestartPod", "TerminateJob", "CompleteJob", "ResumeJob"]
POLICIES = listing(record(["action"], action={"enum": ACTIONS}, event={"enum": EVENTS},
                          events=listing({"enum": EVENTS}), exitCode=INTEGER, timeout=STRING))
VOLCANO = record(
    ["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": "batch.volcano.sh/v1alpha1"}, kind={"const": "Job"},
    metadata=METADATA, spec=record(
        ["tasks"], schedulerName=STRING, queue=STRING, minAvailable=INTEGER, minSuccess=INTEGER, maxRetry=INTEGER,
        priorityClassName=STRING, ttlSecondsAfterFinished=INTEGER, policies=POLICIES,
        plugins={"type": "object", "additionalProperties": listing(STRING)},
        tasks=listing(record(["name", "replicas", "template"], name=STRING, replicas=INTEGER, minAvailable=INTEGER,
                             maxRetry=INTEGER, policies=POLICIES, template=POD))))


def check(value, schema):
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        yield f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def check_kubernetes(document):
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except jsonschema.ValidationError as error:
        yield f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def check_pod(template):
    """A pod template is what a Job has: the published schema looks at it there."""
    metadata = {"name": "pod"}
    yield from check_kubernetes({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                                 "spec": {"template": template}})
    pod = template["spec"]
    names = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in names:
                yield f"the container mounts {mount['name']}, which is no volume of the pod"


def strict(schema):
    """The schema of a CustomResourceDefinition, in which unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    if "properties" in out and out.get("type") == "object" and "additionalProperties" not in out and \
            not out.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = False
    if out.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    return out


def check_definition(document, name):
    folder = os.environ.get("TARN_TEST_CRDS")
    if not folder:
        return
    with open(f"{folder}/{name}.yaml") as file:
        definitions = [each for each in yaml.safe_load_all(file) if each]
    version = document["apiVersion"].split("/")[1]
    [schema] = [each["schema"]["openAPIV3Schema"] for each in definitions[0]["spec"]["versions"] if each["name"] == version]
    schema = dict(schema, properties=dict(schema["properties"], metadata={"type": "object"}))
    print(f"compared with {folder}/{name}.yaml")
    yield from check(document, strict(schema))


def check_documents(kind, path, run_file):
    with open(path) as file:
        text = file.read()
    if not text.startswith("# made by: tarn launch render "):
        yield "the first line does not say what made the file"
    config, job = yaml.safe_load_all(text)
    with open(run_file) as file:
        if config["data"] != {"run.yaml": file.read()}:
            yield "the ConfigMap does not hold the run file as it is"
    yield from check_kubernetes(config)
    if kind == "kubernetes":
        yield from check_kubernetes(job)
        pods = [job["spec"]["template"]]
    elif kind == "mpijob":
        problems = list(check(job, MPIJOB)) + list(check_definition(job, "mpijob"))
        yield from problems
        if problems:
            return
        pods = [replica["template"] for replica in job["spec"]["mpiReplicaSpecs"].values()]
    else:
        problems = list(check(job, VOLCANO)) + list(check_definition(job, "volcano"))
        yield from problems
        if problems:
            return
        pods = [task["template"] for task in job["spec"]["tasks"]]
    for pod in pods:
        yield from check_pod(pod)
        used = [volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume]
        if used != [config["metadata"]["name"]]:
            yield f"the pod mounts the config maps {used}, the file defines {config['metadata']['name']}"


def check_sagemaker(path):
    import botocore.loaders
    import botocore.model
    import botocore.validate
    with open(path) as file:
        request = json.load(file)
    if not request.get("Environment", {}).get("TARN_MADE_BY", "").startswith("tarn launch render sagemaker "):
        yield "the request does not say what made it"
    model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"))
    shape = model.operation_model("CreateTrainingJob").input_shape
    report = botocore.validate.ParamValidator().validate(request, shape)
    if report.has_errors():
        yield report.generate_report()
    # What the validator leaves to the server: patterns and lengths of strings, wherever they are.
    yield from check_strings(request, shape, "")


def check_strings(value, shape, where):
    import re
    if shape.type_name == "structure":
        for name, item in value.items():
            if name in shape.members:
                yield from check_strings(item, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for item in value:
            yield from check_strings(item, shape.member, where)
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from check_strings(name, shape.key, f"{where} {name}")
            yield from check_strings(item, shape.value, f"{where}.{name}")
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{where}: {value} is none of the values it may have"
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{where}: longer than {shape.metadata['max']}"
        pattern = shape.metadata.get("pattern")
        if pattern and "\\p{" not in pattern and not re.fullmatch(pattern, value):
            yield f"{where}: {value} does not match {pattern}"


def main():
    kind, path, run_file = sys.argv[1:]
    problems = list(check_sagemaker(path) if kind == "sagemaker" else check_documents(kind, path, run_file))
    for problem in problems:
        print(problem)
    print(f"{path}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
