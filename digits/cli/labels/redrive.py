"""The dialogue of `digits labels retry`: show dead letters, ask, redrive or delete them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from digits.cli import tables
from digits.cli.labels.dead_letters import HIDDEN, MOST, DeadLetters, Letter, summary
from digits.errors import BadRequest

_SHOWN = 20


def retry(dead: DeadLetters, *, dry_run: bool, discard: bool, yes: bool) -> None:
    """Show the dead letters; after confirmation, redrive them or delete the hopeless ones."""
    letters = dead.take()
    kept = letters
    try:
        if not letters:
            typer.echo(_none(dead.held()))
            return
        tables.write(_table(letters[:_SHOWN]))
        if len(letters) > _SHOWN:
            typer.echo(f"… and {len(letters) - _SHOWN:,} more. In all:")
            for why, count in summary(letters):
                typer.echo(f"{count:7,}  {why}")
        hopeless = [letter for letter in letters if letter.hopeless]
        chosen = hopeless if discard else [letter for letter in letters if not letter.hopeless]
        if dry_run or not chosen:
            return
        what = f"{'Delete' if discard else 'Send back'} {len(chosen):,} of {len(letters):,}?"
        if not (yes or _asked(what)):
            return
        done = 0
        for count in _shown(dead.discard(chosen) if discard else dead.send_back(chosen), chosen):
            done += count
        kept = [letter for letter in letters if letter not in chosen]
        typer.echo(f"{done:,} {'deleted' if discard else 'sent back'}; {len(kept):,} left.")
        if len(letters) >= MOST:
            typer.echo("There may be more: run the command again.")
    finally:
        dead.put_back(kept)


def _none(held: int) -> str:
    if not held:
        return "There are no dead letters."
    return (
        f"Another command holds {held:,} dead letters, or was interrupted; they are visible again"
        f" in {HIDDEN // 60} minutes at most."
    )


def _asked(what: str) -> bool:
    try:
        return typer.confirm(what)
    except typer.Abort as error:
        raise BadRequest(
            "No confirmation was given, nothing was changed: use --yes to skip the question."
        ) from error


def _shown(counts: Iterator[int], chosen: Sequence[Letter]) -> Iterator[int]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(chosen))
        for count in counts:
            progress.advance(task, count)
            yield count


def _table(letters: Sequence[Letter]) -> Table:
    table = Table("image", "sent", "why")
    for letter in letters:
        named = [f"s3://{bucket}/{key}" for bucket, key in letter.images] or [letter.body[:80]]
        table.add_row(
            Text(", ".join(named)),
            f"{letter.sent:%Y-%m-%d %H:%M}",
            Text(letter.why),
        )
    return table
