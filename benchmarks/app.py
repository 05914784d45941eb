"""Measure the app: the time until it is usable, and the server's memory with ten visitors.

    make .venvs/app/.ready && .venv/bin/python -m benchmarks.app

The benchmark runs the real server and Chromium. Time starts with the server's process and ends when
the first page is usable: the canvas can be drawn on, and the first answer is shown. Chromium is
started before, with an empty cache. A page with only a heading is measured in the same way, for the
share of Streamlit and the machine.

The server runs in the environment of `make app`, which has the packages that Community Cloud
installs. Starts with and without compiled modules are measured, because not every host compiles
modules during installation.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from infra.local.processes import Failed, Processes

ROOT = Path(__file__).parents[1]
APP = ROOT / "streamlit_app/app.py"
PYTHON = ROOT / ".venvs/app/bin/python"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SAMPLES = ("Chalk", "Number", "Hard one")  # buttons of the first page
SECONDS, MEGABYTES = 3.0, 250.0  # performance targets


def main(
    visitors: Annotated[int, typer.Option(help="Number of concurrent visitors.", min=1)] = 10,
    starts: Annotated[
        int, typer.Option(help="Number of starts, whose median is printed.", min=1)
    ] = 3,
    port: Annotated[int, typer.Option(help="Local port of the app.")] = 8599,
) -> None:
    """Print the seconds until the app is usable, and the server's memory."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        typer.echo("Chromium is not installed: install chromium or google-chrome.", err=True)
        raise typer.Exit(2)
    if not PYTHON.exists():
        typer.echo("The app's environment is missing: run `make .venvs/app/.ready`.", err=True)
        raise typer.Exit(2)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            table = _measured(browser, Path(folder), visitors, starts, port)
        except Failed as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
        finally:
            browser.close()
    console = Console()
    console.print(table)
    console.print(machine.in_words(machine.described()))


def _measured(browser: Browser, folder: Path, visitors: int, starts: int, port: int) -> Table:
    heading = folder / "heading.py"
    heading.write_text('import streamlit as st\n\nst.title("A page")\n')
    compiled = folder / "compiled"
    first = _seconds(browser, APP, port, compiled)
    plain_first = _seconds(browser, heading, port, folder / "compiled-for-a-heading")
    # Alternating, so that other work on the machine slows both down alike.
    pairs = [
        (_seconds(browser, APP, port, compiled), _seconds(browser, heading, port, compiled))
        for _ in range(starts)
    ]
    later, plain = (median(seconds) for seconds in zip(*pairs, strict=True))
    alone, together = _memory_with(browser, visitors, port, compiled)

    limit = f"≤ {SECONDS:.0f} s"
    table = Table("measured", "the app", "target", "one heading", "ratio")
    for what, ours, theirs in (
        ("server's start to a usable page", later, plain),
        ("the same, modules not compiled", first, plain_first),
    ):
        table.add_row(what, f"{ours:.1f} s", limit, f"{theirs:.1f} s", f"{ours / theirs:.2f}")
    table.add_row("resident memory, one visitor", f"{alone:.0f} MB", "")
    table.add_row(
        f"resident memory, {visitors} visitors", f"{together:.0f} MB", f"≤ {MEGABYTES:.0f} MB"
    )
    return table


def _seconds(browser: Browser, script: Path, port: int, compiled: Path) -> float:
    """Measure the time from the start of the server until its first page is usable."""
    with _served(script, port, compiled) as (url, started), _opened(browser, url) as page:
        if script == APP:
            _wait_until_usable(page)
        else:
            page.locator("h1").wait_for()
        return time.monotonic() - started


def _memory_with(browser: Browser, visitors: int, port: int, compiled: Path) -> tuple[float, float]:
    """Measure megabytes after one visitor's first page, and after all visitors used the app."""
    with _served(APP, port, compiled) as (url, _):
        pages = [browser.new_context().new_page() for _ in range(visitors)]
        alone = 0.0
        for page in pages:
            page.goto(url)
            _wait_until_usable(page)
            alone = alone or _memory(port)
        for page in pages:  # each classifies samples and opens the feature maps
            for sample in SAMPLES:
                page.get_by_role("button", name=sample, exact=True).click()
                page.locator(f'.card[aria-label^="Sample: {sample.lower()}"]').wait_for()
            page.get_by_text("See inside").click()
            page.locator(".inside").wait_for()
        return alone, _memory(port)


def _wait_until_usable(page: Page) -> None:
    page.locator(".sheet.blank canvas").wait_for()
    page.locator(".card .text").wait_for()


@contextmanager
def _opened(browser: Browser, url: str) -> Iterator[Page]:
    """Open a page in a new browser context, without a cache."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


@contextmanager
def _served(script: Path, port: int, compiled: Path) -> Iterator[tuple[str, float]]:
    """Serve a Streamlit script; yields its address and the time when its process was started.

    `compiled` is the folder of Python's bytecode cache.
    """
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(PYTHON), "-m", "streamlit", "run", str(script)),
        *("--server.port", str(port), "--server.address", "127.0.0.1"),
        *("--server.headless", "true"),
    ]
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as logs, Processes(Path(logs)) as processes:
        started = time.monotonic()
        processes.start("app", command, env=env, is_up=lambda: _is_up(url), within=60)
        yield url, started


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:  # noqa: S310 - ours
            return int(answer.status) == 200
    except OSError:
        return False


def _memory(port: int) -> float:
    """Return the resident megabytes of the server on this port."""
    found = machine.resident_megabytes("cmdline", b"--server.port\0%d\0" % port)
    if not found:
        raise Failed("The server has stopped: run the app with `make app` to see why.")
    return next(iter(found.values()))


if __name__ == "__main__":
    typer.run(main)
