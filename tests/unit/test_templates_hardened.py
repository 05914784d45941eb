"""Checkov's rules for secure templates, except those that `infra/checkov.yaml` skips."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from tests.conftest import require

ROOT = Path(__file__).parents[2]
CHECKOV = ROOT / ".venvs/checkov/bin/checkov"
CONFIG = ROOT / "infra/checkov.yaml"


def test_checkov_finds_no_violation() -> None:
    require(str(CHECKOV))
    done = subprocess.run(
        [CHECKOV, "--config-file", CONFIG, "--skip-download", "--output", "json",
         "--file", "template.yaml", "--file", "infra/training.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert [it["check_id"] for it in found["results"]["failed_checks"]] == []
    assert found["summary"]["passed"] > 50
    assert found["summary"]["parsing_errors"] == 0
    assert done.returncode == 0


def test_every_skipped_checkov_rule_has_a_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    given_up = yaml.safe_load(CONFIG.read_text())["skip-check"]
    assert given_up
    reasoned = False
    for line in lines[lines.index("skip-check:") + 1 :]:
        if line.lstrip().startswith("#"):
            reasoned = True
        else:
            assert reasoned, line
            reasoned = line.endswith("CKV_AWS_158")  # the next rule has the same reason
