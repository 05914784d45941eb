"""Dependencies point one way, and the recogniser stays light."""

import ast
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "digits": {"lambda_predict", "training_job", "streamlit_app", "infra"},
    "lambda_predict": {"training_job", "streamlit_app", "infra", "tensorflow", "keras"},
    "training_job": {"lambda_predict", "streamlit_app", "infra"},
    "streamlit_app": {"lambda_predict", "training_job", "infra", "tensorflow", "keras", "boto3"},
}


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_only_what_lies_below_it(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = {
        f"{file.name}: {name}" for file in files for name in imports(file) & FORBIDDEN[package]
    }
    assert not wrong


def test_importing_the_recogniser_imports_no_cloud_no_training_and_no_web():
    heavy = {"boto3", "botocore", "tensorflow", "keras", "streamlit", "aws_lambda_powertools"}
    script = (
        "import sys, digits, digits.registry.registry, digits.labels.label;"
        f"print(*({heavy!r} & {{name.partition('.')[0] for name in sys.modules}}))"
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
