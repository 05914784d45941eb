"""The tables of figures in README.md and docs/ are those of the records."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import side_by_side, tables

MACHINE = {"cpu": "AMD EPYC", "cores": 2, "load": 0.5, "date": "2026-11-27"}
ROWS = [
    ("MNIST's test images", True, 100, 99, 90, 90),
    ("one digit, hard", True, 200, 150, 100, 99),
    ("scribbles", False, 50, 49, 1, 0),
]
NAMES = ("group", "has_digits", "pictures", "correct", "accepted", "accepted_correct")


@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder in place of the records."""
    monkeypatch.setattr(side_by_side, "RECORDS", tmp_path)
    return tmp_path


def block(name: str, body: str = "stale\n") -> str:
    return f"before\n\n<!-- table: {name} -->\n{body}<!-- end of table -->\n\nafter\n"


@pytest.mark.parametrize("document", tables.documents(), ids=lambda it: it.name)
def test_no_document_is_stale(document):
    text = document.read_text()
    assert tables.fill(text) == text, "run python -m benchmarks.tables"


def test_the_page_of_benchmarks_has_every_table():
    text = (tables.ROOT / "docs/benchmarks.md").read_text()
    assert sorted(re.findall("<!-- table: (.+?) -->", text)) == sorted(tables.TABLES)
    assert text.count("<!-- end of table -->") == len(tables.TABLES)


def test_the_readme_shows_real_pictures_before_rendered_ones():
    named = re.findall("<!-- table: (.+?) -->", (tables.ROOT / "README.md").read_text())
    assert named == ["real handwriting", "rendered pictures"]


def test_a_table_is_that_of_the_last_record_and_the_text_around_it_stays(records):
    for calls in (1, 20_000):
        side_by_side.save("load", {"machine": MACHINE, "figures": {"HTTP: calls": calls}})
    assert tables.fill(block("load")) == block(
        "load",
        "\n| under load | figure |\n|---|---|\n| HTTP: calls | 20,000 |\n\n"
        "2 cores of AMD EPYC at a load of 0.5, 2026-11-27.\n\n",
    )


def test_real_rendered_and_empty_pictures_are_in_tables_of_their_own(records):
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    side_by_side.save("pictures", {"machine": MACHINE, "model": "20261130", "rows": rows})
    real, rendered, empty = (
        tables.fill(block(name)) for name in ("real handwriting", "rendered pictures", "no digit")
    )
    assert "| MNIST's test images | 100 | 99.00% | 94.6% to 99.8% | 90.0% | 100.00% |" in real
    assert "| one digit, hard | 200 | 75.00% | 68.6% to 80.5% | 50.0% | 99.00% |" in rendered
    assert "| scribbles | 50 | 98.00% | 89.5% to 99.6% | 2.0% | |" in empty
    for text in (real, rendered, empty):
        assert sum(text.count(row[0]) for row in ROWS) == 1


def test_a_benchmark_without_a_record_says_how_to_record_it(records):
    for name in set(tables.TABLES) - {"accuracy"}:
        assert "python -m benchmarks." in tables.fill(block(name))
        assert "--record`" in tables.fill(block(name))


def test_check_names_a_stale_document_and_writes_nothing(records, tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text(block("load"))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    with pytest.raises(tables.typer.Exit) as ended:
        tables.main(check=True)
    assert ended.value.exit_code == 1
    assert "README.md is stale" in capsys.readouterr().out
    assert (tmp_path / "README.md").read_text() == block("load")
    with pytest.raises(tables.typer.Exit) as ended:
        tables.main(check=False)
    assert ended.value.exit_code == 0
    assert "benchmarks.load --record" in (tmp_path / "README.md").read_text()


def test_a_table_that_nothing_writes_is_an_error():
    with pytest.raises(KeyError, match="of nothing"):
        tables.fill(block("of nothing"))


def test_the_seeds_of_a_recipe_are_those_of_its_newest_complete_settings(tmp_path, monkeypatch):
    from benchmarks import accuracy

    runs = [(rate, seed) for rate in (1, 2, 3) for seed in range(1, 3 if rate == 3 else 6)]
    lines = [
        {"architecture": "deep", "recipe": "release", "seed": seed, "settings": {"rate": rate}}
        for rate, seed in runs
    ]
    path = tmp_path / "accuracy.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(accuracy, "RECORDS", path)
    found = accuracy.complete_runs("deep", "release")
    assert [(it["settings"]["rate"], it["seed"]) for it in found] == [(2, it) for it in range(1, 6)]
    assert accuracy.complete_runs("reference", "release") == []


def test_real_pages_have_a_table_for_each_folder_and_rendered_ones_are_not_among_them(records):
    counts = {"pictures": 10, "exact": 4, "strict": 3, "accepted": 2, "accepted_errors": 1}
    row = {"kind": "forms", "reader": "ours", **counts, "edits": 5, "digits": 50, "seconds": 0.2}
    for name in ("pages", "pages-real-desk", "pages-real-scans"):
        figures = {"machine": MACHINE, "model": "20261130", "title": name, "rows": [row]}
        side_by_side.save(name, figures)
    real, rendered = (tables.fill(block(f"{name} pages")) for name in ("real", "rendered"))
    assert re.findall(r"^\| (pages\S*)", real, re.M) == ["pages-real-desk", "pages-real-scans"]
    assert re.findall(r"^\| (pages\S*)", rendered, re.M) == ["pages"]
    for text in (real, rendered):
        assert "| 1 of 2: 50.0% (9% to 91%) | 10.0% | 0.2 |" in text
