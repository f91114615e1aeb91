"""The JSON Schemas of what `--json` prints: schemas/*.schema.json beside the sources."""
import json, pathlib

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "schemas"
FILES = {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in FOLDER.glob("*.schema.json")}
REGISTRY = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in FILES.values()])
for each in FILES.values():
    Draft202012Validator.check_schema(each)
VALIDATORS = {name: Draft202012Validator(each, registry=REGISTRY) for name, each in FILES.items()}

# What each verb prints when it did not fail.
OF_VERB = {
    "run": "result", "submit": "submitted", "worker": "worker", "resume": "result", "gc": "garbage", "ls": "runs", "show": "run", "logs": "event",
    "cancel": "run-actions", "rm": "run-actions", "decide": "run-actions", "snapshots ls": "snapshots",
    "snapshots inspect": "snapshot", "snapshots verify": "verified-snapshots", "snapshots export": "exported-snapshot",
    "snapshots push": "pushed-snapshot", "snapshots pull": "snapshots", "snapshots rm": "removed-snapshots",
    "snapshots tag": "snapshots", "snapshots untag": "snapshots", "snapshots label": "snapshots",
    "snapshots adopt": "snapshots", "boot": "boot", "serve": "serving", "doctor": "doctor", "config show": "config",
    "store status": "store", "store copy": "store-copy", "store reopen": "reopened-store",
}


def problems(name, document):
    """What the schema has against a document."""
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}"[:300]
            for error in VALIDATORS[name].iter_errors(document)]


def problems_of_verb(verb, document):
    return problems("error" if "error" in document else OF_VERB[verb], document)
