"""Dependencies point one way, and the recogniser stays light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PACKAGES = ("digits", "lambda_predict", "training_job", "streamlit_app", "infra", "benchmarks")
# What the modules of a package, those of its subpackages included, may not import: of the library
# the interfaces stand on labels and registry, these on recognition.
FORBIDDEN = {
    "digits": {"lambda_predict", "training_job", "streamlit_app", "infra", "benchmarks"},
    "digits.recognition": {"digits.cli", "digits.labels", "digits.registry"},
    "digits.registry": {"digits.cli", "digits.labels"},
    "digits.labels": {"digits.cli"},
    "lambda_predict": {
        *("training_job", "streamlit_app", "infra", "benchmarks", "digits.cli"),
        *("tensorflow", "keras"),
    },
    "training_job": {"lambda_predict", "streamlit_app", "infra", "benchmarks", "digits.cli"},
    "streamlit_app": {
        *("lambda_predict", "training_job", "infra", "benchmarks", "digits.cli"),
        *("tensorflow", "keras", "boto3"),
    },
}
# The modules right below `digits` belong to recognition or lie below it. These two know the bundle:
# the package names it for whoever loads a model, and the classifier is made of one.
KNOW_THE_BUNDLE = {
    ("digits", "digits.registry.bundle"),
    ("digits.classifier", "digits.registry.bundle"),
}

CLOUD = {"boto3", "botocore", "aws_lambda_powertools"}
ELSEWHERE = {*CLOUD, "tensorflow", "keras", "streamlit"}
NETWORK = {"ai_edge_litert", "numpy", "PIL"}
LIGHT = {
    **dict.fromkeys(
        [
            "digits", "digits.errors", "digits.results", "digits.config", "digits.tabular",
            "digits.recognition.config",
            "digits.registry.bundle", "digits.registry.object_store", "digits.registry.registry",
            "digits.registry.gate", "digits.registry.runs",
            "digits.labels.label", "digits.labels.corrections", "digits.labels.feedback",
            "digits.labels.store",
            "digits.cli", "digits.cli.models", "digits.cli.tables", "digits.cli.stack",
            "digits.cli.labels.commands", "digits.cli.labels.output",
            "digits.cli.labels.dead_letters", "digits.cli.labels.redrive",
            "lambda_predict.labels_queue",
        ],
        NETWORK | ELSEWHERE,
    ),
    "digits.classifier": ELSEWHERE,
    "lambda_predict.observability": NETWORK,
    "lambda_predict.sweep": NETWORK,  # reads no image
}  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


def imports(module: str, *, typing: bool = True) -> set[str]:
    """The modules that a module of ours names, with or without what is for type checkers alone."""
    found = set()
    todo: list[ast.AST] = [ast.parse(FILES[module].read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {it if it in FILES else node.module for it in full.values()}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)
    return found


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_only_what_lies_below_it(package):
    modules = [module for module in FILES if is_in(module, package)]
    assert modules
    wrong = {
        f"{module} imports {name}"
        for module in modules
        for name in imports(module)
        if any(is_in(name, forbidden) for forbidden in FORBIDDEN[package])
    }
    assert not wrong


def test_recognition_knows_no_label_no_registry_and_no_command():
    modules = [it for it in FILES if is_in(it, "digits") and it.count(".") < 2]
    modules = [it for it in modules if FILES[it].parent == ROOT / "digits"]
    above = {
        (module, name)
        for module in modules
        for name in imports(module)
        if any(is_in(name, it) for it in FORBIDDEN["digits.recognition"])
    }
    assert above == KNOW_THE_BUNDLE


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        module: {it for it in imports(module, typing=False) if it in FILES and it != module}
        for module in FILES
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
    assert order.index("digits.errors") < order.index("digits.results") < order.index("digits.cli")


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module):
    script = (
        f"import sys, {module};"
        f"print(*({LIGHT[module]!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_every_pinned_package_is_for_this_python():
    """uv, which makes the environments here, ignores such bounds; pip obeys them elsewhere."""
    python = ".".join(map(str, sys.version_info[:3]))
    wanted = {
        package.name: package.metadata["Requires-Python"]
        for package in distributions()
        if package.metadata["Requires-Python"]
    }
    assert len(wanted) > 100
    wrong = {name: bound for name, bound in wanted.items() if python not in SpecifierSet(bound)}
    assert wrong == {}
