"""The names that others depend on, and the list of them that may only grow.

    python -m tests.frozen_names        add what is new to frozen_names.txt; drops nothing

A name of the list that is not found any more was renamed or removed, which breaks its users:
scripts, dashboards, clients and deployed stacks. Restore it. Remove a line only by hand, in the
change that declares the break in CHANGELOG.md.

Each line is a kind and a name. The lines are sorted, so that two branches that add names merge
without a conflict, or by running the command again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

from digits import cli
from digits.cli import answers
from digits.cli.labels import collected
from digits.labels import feedback, label
from digits.registry import gate, registry
from digits.registry.bundle import CONFIG, MANIFEST, REPORT, SEGMENTER, TFLITE
from digits.registry.runs import TrainingRun
from digits.results import Explain, Mode, Reason
from infra import destroy
from infra import training as training_stack
from lambda_predict import openapi, schemas
from lambda_predict.config import Settings
from lambda_predict.labelling import MODE_METADATA
from streamlit_app import table
from tests.templates import load, render
from training_job import __main__ as training_job

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".txt")
SOURCES = ("digits", "lambda_predict", "streamlit_app", "training_job", "infra")
# Kinds that need SAM's transform, which not every machine has.
RENDERED = "stack rendered"


def listed() -> set[str]:
    """Return the committed names."""
    return set(LIST.read_text(encoding="utf-8").splitlines())


def found() -> set[str]:
    """Collect the current names, without those of the rendered template."""
    return {
        *_templates(),
        *_metrics(),
        *_environment(),
        *_keys(),
        *_fields(),
        *_api(),
        *_values(),
        *_commands(),
    }


def found_rendered() -> set[str]:
    """Collect the logical ids that SAM's transform adds, without the digests in some of them."""
    own = load(ROOT / "template.yaml")["Resources"]
    digest = re.compile("(?<=Version)[0-9a-f]{10}$|(?<=Deployment)[0-9a-f]{10}$")
    return {f"{RENDERED} {digest.sub('', it)}" for it in render() if it not in own}


def _templates() -> Iterator[str]:
    for stack, path in (("stack", "template.yaml"), ("training stack", "infra/training.yaml")):
        template = load(ROOT / path)
        for section in ("Resources", "Outputs", "Parameters"):
            yield from (f"{stack} {section[:-1].lower()} {name}" for name in template[section])


def _metrics() -> Iterator[str]:
    """Yield the metrics that the functions emit; `test_monitoring` compares alarms with them."""
    sources = "".join(path.read_text() for path in (ROOT / "lambda_predict").glob("*.py"))
    emitted = re.findall(r'(?:add_metric|single_metric)\(\s*f?"(\w+)(\{[\w.]+\})?"', sources)
    for name, number in emitted:
        yield from (f"metric {name}{digit}" for digit in (range(10) if number else [""]))
    yield from (
        f"metric dimension {it}" for it in re.findall(r'add_dimension\(\s*"(\w+)"', sources)
    )


def _environment() -> Iterator[str]:
    yield from (f"environment DIGITS_{name.upper()}" for name in Settings.model_fields)
    files = [ROOT / "Makefile", ROOT / "template.yaml", *(ROOT / "lambda_predict").glob("Makefile")]
    files += [ROOT / "training_job/Dockerfile", *(ROOT / "infra").glob("*.yaml")]
    files += [path for package in SOURCES for path in (ROOT / package).rglob("*.py")]
    for path in (*files, ROOT / "tests/conftest.py"):
        names = re.findall(r"\bDIGITS_[A-Z][A-Z_]*[A-Z]\b", path.read_text())
        yield from (f"environment {name}" for name in names)


def _keys() -> Iterator[str]:
    """Yield the keys in the buckets, from the code that writes them and the roles' rights."""
    yield f"key {label.label_key('<image key>')}"
    yield f"key {label.correction_key('<image key>')}"
    for key in (label.label_key("x" * 1024), label.correction_key("x" * 1024)):
        yield f"key {re.sub('[0-9a-f]{64}', '<sha256 of the image key>', key)}"
    for name in (feedback.IMAGE, feedback.RECORD):
        yield f"key {feedback.PREFIX}<utc date>/<id>/{name}"
    yield f"key {registry.POINTER}"
    for name in (MANIFEST, TFLITE, SEGMENTER, CONFIG, REPORT):
        yield f"key models/<version>/{name}"
    uploads = schemas.UPLOAD_KEY.removeprefix("^").partition("/")[0]
    yield f"key {uploads}/<utc date>/<random>/<name>"
    yield f"object metadata {MODE_METADATA}"
    for path in ("template.yaml", "infra/training.yaml"):
        places = re.findall(r"\$\{(\w+Bucket)(?:\.Arn)?\}/([a-z]+/)", (ROOT / path).read_text())
        yield from (f"key in {bucket} {prefix}" for bucket, prefix in places)


def _fields() -> Iterator[str]:
    """Yield the fields of documents outside the API's description, and the columns of tables."""
    documents: dict[str, type[BaseModel]] = {
        "tombstone": label.Tombstone,
        "correction": label.Correction,
        "feedback": feedback.Feedback,
        "pointer": registry.Pointer,
        "run": TrainingRun,
        "report": gate.Report,
    }
    for name, model in documents.items():
        schema = model.model_json_schema()
        yield from (f"field {name} {path}" for path in _paths(schema, schema.get("$defs", {})))
    tables = {
        "labels collect": collected.Row._fields,
        "classify": answers.COLUMNS,
        "app": table.COLUMNS,
        "feedback collect": feedback.COLUMNS,
    }
    for name, columns in tables.items():
        yield from (f"column {name} {column}" for column in columns)


def _api() -> Iterator[str]:
    document = openapi.document()
    definitions = document["components"]["schemas"]
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            name = f"{method.upper()} {path}"
            yield f"api {name}"
            yield f"api {name} operation {call['operationId']}"
            yield from (f"api {name} {it['in']} {it['name']}" for it in call.get("parameters", []))
            bodies = {"request": call.get("requestBody", {}), **call["responses"]}
            for body, described in bodies.items():
                for kind, content in described.get("content", {}).items():
                    what = "problem" if "problem" in kind else f"{name} {body}"
                    for field in _paths(content["schema"], definitions):
                        yield f"field {what} {field}"


def _paths(schema: dict[str, Any], definitions: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted path of each field of a schema: ``digits[].box``, ``files{}.sha256``."""
    if "$ref" in schema:
        yield from _paths(definitions[schema["$ref"].rpartition("/")[2]], definitions, above)
    for one in schema.get("anyOf", []):
        yield from _paths(one, definitions, above)
    for name, field in schema.get("properties", {}).items():
        path = f"{above}.{name}" if above else name
        yield path
        yield from _paths(field, definitions, path)
    if "items" in schema:
        yield from _paths(schema["items"], definitions, f"{above}[]")
    for values in (
        schema.get("additionalProperties"),
        *schema.get("patternProperties", {}).values(),
    ):
        if isinstance(values, dict):
            yield from _paths(values, definitions, f"{above}{{}}")


def _values() -> Iterator[str]:
    for kind, values in (("reason", Reason), ("mode", Mode), ("explain", Explain)):
        yield from (f"{kind} {value}" for value in get_args(values))
    yield from (f"code {code}" for code in (*openapi.every_code(), gate.Refused.code))


def _commands() -> Iterator[str]:
    apps = {
        "digits": cli.app,
        "python -m training_job": training_job.app,
        "python -m infra.destroy": destroy.app,
        "python -m infra.training": training_stack.app,
    }
    for name, app in apps.items():
        yield from _of_command(typer.main.get_command(app), name)


def _of_command(command: Any, name: str) -> Iterator[str]:
    yield f"command {name}"
    for parameter in command.params:
        if parameter.param_type_name == "option":
            options = (*parameter.opts, *parameter.secondary_opts)
            yield from (f"command {name} {option}" for option in options)
    for child, below in getattr(command, "commands", {}).items():
        yield from _of_command(below, f"{name} {child}")


def main() -> None:
    """Add what is new; exit with 1 if a name is missing."""
    names = found() | found_rendered()
    missing = sorted(listed() - names)
    added = sorted(names - listed())
    LIST.write_text("".join(f"{it}\n" for it in sorted(listed() | names)), encoding="utf-8")
    print(*(f"+ {it}" for it in added), *(f"missing: {it}" for it in missing), sep="\n")  # noqa: T201
    if missing:
        sys.exit(f"{len(missing)} names of {LIST.name} are missing: restore them.")


if __name__ == "__main__":
    main()
