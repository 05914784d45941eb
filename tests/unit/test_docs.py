"""What the documents promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", it.lower()).replace(" ", "-") for it in headings}


def test_every_fault_has_its_test():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/failures.md").read_text())
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in sources] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_every_link_to_a_heading_leads_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text())
    targets = [(document.parent / name if name else document, anchor) for name, anchor in links]
    assert [it for it in targets if it[1] not in anchors(it[0])] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: it.name)
def test_every_link_to_a_file_leads_somewhere(document):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text())
    assert [it for it in links if not (document.parent / it).exists()] == []


def test_the_architecture_names_modules_that_exist_and_each_step_once():
    sections = (ROOT / "docs/architecture.md").read_text().split("\n## ")[1:]
    steps = []
    for section in sections:
        named = re.findall(r"`((?:\w+/)+\w+\.py)`", section)
        assert [name for name in named if not (ROOT / name).exists()] == []
        if section.startswith("From "):
            steps += re.findall(r"^\d\. `([\w/]+\.py)`", section, re.M)
    shared = {"lambda_predict/serving.py", "lambda_predict/classification.py"}
    assert len(steps) > 20
    assert {step for step in steps if steps.count(step) > 1} == shared
