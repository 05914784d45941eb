"""Measure the app: how soon its first page is there, and what ten visitors cost in memory.

    .venv/bin/python -m benchmarks.app

A real server and a real Chromium: the clock starts with the server's process. The first page is
there with its heading, the first answer with the sample's. Chromium is started beforehand; people
have theirs open.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from infra.local.processes import Failed, Processes

ROOT = Path(__file__).parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SAMPLES = ("Chalk", "Number", "Hard one")  # buttons of the first page
SECONDS, MEGABYTES = 3.0, 250.0  # what was promised


def main(
    visitors: Annotated[int, typer.Option(help="How many look at once.", min=1)] = 10,
    port: Annotated[int, typer.Option(help="For the app, on this machine only.")] = 8599,
) -> None:
    """Print the seconds to the first page and the server's memory."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        typer.echo("Chromium is not installed.", err=True)
        raise typer.Exit(2)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            seconds, answered, alone, together = _measure(browser, visitors, port)
        except Failed as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error
        finally:
            browser.close()
    table = Table("measured", "value", "promised")
    table.add_row("server's start to the first page", f"{seconds:.1f} s", f"≤ {SECONDS:.0f} s")
    table.add_row("server's start to the first answer", f"{answered:.1f} s", "")
    table.add_row("resident memory, one visitor", f"{alone:.0f} MB", "")
    table.add_row(
        f"resident memory, {visitors} visitors", f"{together:.0f} MB", f"≤ {MEGABYTES:.0f} MB"
    )
    console = Console()
    console.print(table)
    console.print(machine.in_words(machine.described()))


def _measure(browser: Browser, visitors: int, port: int) -> tuple[float, float, float, float]:
    """Seconds to page and answer; megabytes with one visitor, and with all of them."""
    url = f"http://127.0.0.1:{port}"
    with _served(url, port) as started:
        pages = [browser.new_context().new_page()]
        pages[0].goto(url)
        pages[0].locator("h1").first.wait_for()
        seconds = time.monotonic() - started
        pages[0].locator(".card .text").first.wait_for()
        answered = time.monotonic() - started
        alone = _memory(port)
        for _ in range(visitors - 1):
            pages.append(browser.new_context().new_page())
            pages[-1].goto(url)
            pages[-1].locator(".card .text").first.wait_for()
        for page in pages:  # each looks at several pictures, and into the network
            for sample in SAMPLES:
                page.get_by_role("button", name=sample, exact=True).click()
                page.locator(f'.card[aria-label^="Sample: {sample.lower()}"]').wait_for()
            page.get_by_text("See inside").click()
            page.locator(".inside").wait_for()
        return seconds, answered, alone, _memory(port)


@contextmanager
def _served(url: str, port: int) -> Iterator[float]:
    """The app, served; yields when its process was started."""
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "streamlit_app/app.py")),
        *("--server.port", str(port), "--server.address", "127.0.0.1"),
        *("--server.headless", "true"),
    ]
    with tempfile.TemporaryDirectory() as logs, Processes(Path(logs)) as processes:
        started = time.monotonic()
        processes.start("app", command, env=os.environ, is_up=lambda: _is_up(url), within=60)
        yield started


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:  # noqa: S310 - ours
            return int(answer.status) == 200
    except OSError:
        return False


def _memory(port: int) -> float:
    """Resident megabytes of the server that was started with this port."""
    found = machine.resident_megabytes("cmdline", b"--server.port\0%d\0" % port)
    if not found:
        raise Failed("The server has stopped.")
    return next(iter(found.values()))


if __name__ == "__main__":
    typer.run(main)
