"""Accuracy of each recipe: mean and standard deviation over five seeds.

    python -m benchmarks.accuracy              print the table from the records; lists missing runs
    python -m benchmarks.accuracy --train      train the missing runs; resumable

Each run is a line of `benchmarks/records/accuracy.jsonl`. Runs with earlier settings of a recipe
have a column of their own, until there are five runs with the current settings. Settings are chosen
on the 5,000 held-out training images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from digits.errors import ModelUnavailable
from digits.registry import bundle
from digits.registry.bundle import Manifest

RECORDS = Path(__file__).parent / "records/accuracy.jsonl"
BUNDLES = Path(__file__).parents[1] / ".benchmarks/accuracy"
MEASURED = (("reference", "release"), ("deep", "release"))
SEEDS = (1, 2, 3, 4, 5)

Record = dict[str, Any]
console = Console(soft_wrap=True, highlight=False)


def main(
    train: Annotated[bool, typer.Option("--train", help="Train the missing runs first.")] = False,
    architecture: Annotated[
        str | None, typer.Option(help="Only this architecture: reference or deep.")
    ] = None,
) -> None:
    """Print the table of all recipes; exit with 1 if a recipe has no runs."""
    chosen = [names for names in MEASURED if architecture in (None, names[0])]
    if train:
        for names, seed in list(_missing(chosen)):
            console.print(f"training {' '.join(names)}, seed {seed}")
            _add(_trained(*names, seed))
    console.print(_table(chosen))
    missing = [f"{' '.join(names)} seed {seed}" for names, seed in _missing(chosen)]
    if missing:
        console.print(f"Missing: {', '.join(missing)} (--train trains them).")
    raise typer.Exit(0 if all(_columns(*names) for names in chosen) else 1)


def current_runs(architecture: str, recipe: str) -> list[Record]:
    """Return the runs with the current settings of a recipe, the newest of each seed."""
    current = _settings(architecture, recipe)
    return _newest([run for run in _runs(architecture, recipe) if run["settings"] == current])


def earlier_runs(architecture: str, recipe: str) -> list[Record]:
    """Return the runs with those earlier settings of a recipe that have the most seeds."""
    current = _settings(architecture, recipe)
    by_settings: dict[str, list[Record]] = {}
    for run in _runs(architecture, recipe):
        if run["settings"] != current:
            by_settings.setdefault(json.dumps(run["settings"]), []).append(run)
    # Of settings with equally many seeds, the later ones.
    return max(map(_newest, reversed(by_settings.values())), key=len, default=[])


def _runs(architecture: str, recipe: str) -> list[Record]:
    """Return all recorded runs of a recipe, the oldest first."""
    if not RECORDS.exists():
        return []
    lines = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    wanted = architecture, recipe
    return [line for line in lines if (line["architecture"], line["recipe"]) == wanted]


def _newest(runs: list[Record]) -> list[Record]:
    """Return the newest run of each seed, by seed."""
    by_seed = {run["seed"]: run for run in runs}
    return [by_seed[seed] for seed in SEEDS if seed in by_seed]


def _columns(architecture: str, recipe: str) -> dict[str, list[Record]]:
    """Return the runs of a recipe to show, by the heading of their column."""
    current, earlier = current_runs(architecture, recipe), earlier_runs(architecture, recipe)
    columns = {f"{architecture}, {recipe}": current}
    if len(current) < len(SEEDS) and earlier:
        columns[f"{architecture}, {recipe}, earlier settings"] = earlier
    return {heading: runs for heading, runs in columns.items() if runs}


def _settings(architecture: str, recipe: str) -> Record:
    from training_job.classifier.recipes import RECIPES  # noqa: PLC0415 - slow: it brings TensorFlow

    return _without_precision(json.loads(json.dumps(asdict(RECIPES[architecture, recipe]))))


def _without_precision(settings: Record) -> Record:
    """Return the settings without the precision, which depends on the machine's processor."""
    return {name: value for name, value in settings.items() if name != "precision"}


def _missing(chosen: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield the missing runs seed by seed, so that recipes can be compared at any time."""
    done = {names: {run["seed"] for run in current_runs(*names)} for names in chosen}
    for seed in SEEDS:
        for names in chosen:
            if seed not in done[names]:
                yield names, seed


def _trained(architecture: str, recipe: str, seed: int) -> Record:
    """Train a recipe unless its bundle exists; return the record of the run, by its report."""
    from training_job.progress import RunProgress  # noqa: PLC0415 - slow: it brings TensorFlow
    from training_job.train import Job, train  # noqa: PLC0415

    settings = _settings(architecture, recipe)
    out = BUNDLES / f"{architecture}-{recipe}-{seed}"
    manifest = _made(out)
    if manifest is None or _without_precision(manifest.training.settings) != settings:
        out.parent.mkdir(parents=True, exist_ok=True)
        manifest = train(Job(architecture, recipe, seed=seed, out=out), RunProgress())
    report = json.loads((out / "report.json").read_text())
    kept = ("accuracy", "negative_log_likelihood", "expected_calibration_error", "images")
    sets = {"test": report["test"], "held_out": report["held_out"], **report["outside"]}
    return {
        "architecture": architecture,
        "recipe": recipe,
        "seed": seed,
        "settings": settings,
        "sets": {name: {key: figures[key] for key in kept} for name, figures in sets.items()},
        "parameters": manifest.training.parameters,
        "bytes": report["serving"]["bytes"],
        "seconds": manifest.training.seconds,
        "version": manifest.version,
        "git_commit": manifest.git_commit,
        "machine": machine.described(),
    }


def _made(out: Path) -> Manifest | None:
    """Return the manifest of the bundle in a folder; None if there is no valid one."""
    try:
        return bundle.verify(bundle.in_folder(out))
    except ModelUnavailable:
        return None


def _add(record: Record) -> None:
    RECORDS.parent.mkdir(exist_ok=True)
    with RECORDS.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


def _table(chosen: list[tuple[str, str]]) -> Table:
    table = Table(title="Accuracy by recipe: mean ± standard deviation", title_justify="left")
    table.add_column("")
    columns = {heading: runs for names in chosen for heading, runs in _columns(*names).items()}
    for heading in columns:
        table.add_column(heading, justify="right")
    rows: dict[str, Callable[[list[Record]], str]] = {
        "seeds": lambda runs: str(len(runs)),
        "parameters": lambda runs: f"{runs[0]['parameters']:,}",
        "served bytes": lambda runs: f"{runs[0]['bytes']:,}",
        "test accuracy": lambda runs: _spread(runs, "test", "accuracy", "%"),
        "each seed": lambda runs: ", ".join(f"{run['sets']['test']['accuracy']:.2%}"
                                            for run in runs),
        "test neg. log-likelihood": lambda runs: _spread(runs, "test", "negative_log_likelihood"),
        "test calibration error": lambda runs: _spread(
            runs, "test", "expected_calibration_error", "%"
        ),
        "held-out accuracy": lambda runs: _spread(runs, "held_out", "accuracy", "%"),
        **{
            name: partial(_spread, name=name, figure="accuracy", unit="%")
            for name in ("photos easy", "photos medium", "photos hard", "uci 8x8")
        },
        "minutes of training": lambda runs: f"{mean(run['seconds'] for run in runs) / 60:.1f}",
        "machine": lambda runs: "; ".join(
            sorted({machine.in_words(run["machine"]) for run in runs})
        ),
    }  # fmt: skip
    for title, cell in rows.items():
        table.add_row(title, *(cell(runs) for runs in columns.values()))
    return table


def _spread(runs: list[Record], name: str, figure: str, unit: str = "") -> str:
    scale, digits = (100, 3) if unit else (1, 4)
    values = [scale * run["sets"][name][figure] for run in runs]
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}{f' {unit}' if unit else ''}"


if __name__ == "__main__":
    typer.run(main)
