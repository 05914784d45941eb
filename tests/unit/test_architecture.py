"""Dependencies point one way, and the recogniser stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
        "import sys, digits, digits.store, digits.labels;"
        f"print(*({heavy!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
