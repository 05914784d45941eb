"""Estimate the cost of an idle month and of a million images, with AWS's public prices.

    python -m benchmarks.cost

The processor time of one thread per image, from bytes to result, is measured for MNIST-size PNG
files and for photos of two megapixels. The time that a function waits for S3 is assumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import machine, samples
from digits import Classifier
from digits.registry import bundle
from infra import floor

PRICES_OF = "us-east-1, November 2026, without free tiers"
# US dollars, from https://aws.amazon.com/lambda/pricing/ (arm64), /s3/pricing/, /sqs/pricing/,
# /api-gateway/pricing/ and /cloudwatch/pricing/.
GB_SECOND = 0.0000133334
INVOCATION = 0.20e-6
S3_PUT, S3_GET = 5e-6, 0.4e-6
SQS_REQUEST = floor.SQS_REQUEST
API_CALL = 3.50e-6
LOG_BYTE = 0.50 / 1e9
TRACE = 5e-6
METRIC = 0.30  # a month; billed only for hours with data

MEMORY = 1769  # megabytes; template.yaml
MEMORY_GB = MEMORY / 1024
# Lambda gives one CPU at 1,769 MB, a share of it at fewer, and more at more, which are unused here:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WHOLE_CPU = 1769
SIZES = (512, 1024, 1769, 3008)  # megabytes; all above the 400 MB for the largest image
BATCH = 10  # template.yaml; the waits for S3 of a batch's images overlap
S3_WAIT_MS = 60  # assumed: read the label, read the image and write the label, 20 ms each
LOG_BYTES = 900  # bytes of logs per image: one line, and its share of the batch's metrics
TRACED = 0.05  # X-Ray's default sampling rate
MILLION = 1_000_000
# Custom metrics in an hour with images: 7 of the HTTP function and 6 of the labels function. Errors
# add two for each function, the digit mix (MetricMathAlarms) ten.
METRICS_IN_USE = 13
SWITCHES = {
    "MetricMathAlarms": "true",
    "SnapStart": "PublishedVersions",
    "SweepSchedule": "rate(1 day)",
    "Waf": "true",
}


@dataclass(frozen=True)
class Cost:
    """The US dollars for a million images, by item."""

    lines: dict[str, float]

    @property
    def total(self) -> float:
        """The sum of all items."""
        return sum(self.lines.values())


def by_s3(milliseconds: float) -> Cost:
    """Estimate the cost of a million images in S3; `milliseconds` is processor time per image."""
    seconds = (milliseconds + S3_WAIT_MS / BATCH) / 1000 * MILLION
    batches = MILLION / BATCH
    return Cost(
        {
            "Lambda, time": seconds * MEMORY_GB * GB_SECOND,
            "Lambda, invocations": batches * INVOCATION,
            # The image and its label are written once and read once.
            "S3, puts": 2 * MILLION * S3_PUT,
            "S3, gets": 2 * MILLION * S3_GET,
            "SQS": (MILLION + 2 * batches) * SQS_REQUEST,
            "logs and traces": MILLION * LOG_BYTES * LOG_BYTE + batches * TRACED * TRACE,
        }
    )


def by_http(milliseconds: float) -> Cost:
    """Estimate the cost of a million HTTP calls of one image each."""
    return Cost(
        {
            "Lambda, time": milliseconds / 1000 * MILLION * MEMORY_GB * GB_SECOND,
            "Lambda, invocations": MILLION * INVOCATION,
            "API Gateway": MILLION * API_CALL,
            "logs and traces": MILLION * 2 * LOG_BYTES * LOG_BYTE + MILLION * TRACED * TRACE,
        }
    )


def by_memory(milliseconds: float) -> Iterator[tuple[int, float, float, float]]:
    """Yield for each memory size the milliseconds per image, and Lambda's cost of a million.

    Each item has megabytes, milliseconds, and US dollars by HTTP and by S3. The parameter
    `milliseconds` is the processor time of a whole CPU.
    """
    for size in SIZES:
        each = milliseconds * max(1.0, WHOLE_CPU / size)
        dollars = size / 1024 * GB_SECOND * MILLION / 1000
        yield size, each, each * dollars, (each + S3_WAIT_MS / BATCH) * dollars


def main() -> None:
    """Measure the processor time per image, and print the tables of costs."""
    classifier = Classifier(bundle.load())
    table = Table(title=f"US dollars for a million images ({PRICES_OF})", title_justify="left")
    for name in ("images", "ms each", "interface", "total", "of which"):
        table.add_column(name, justify="right" if name in ("ms each", "total") else "left")
    for name, files in (("28×28 PNG", samples.small(200)), ("2 MP photo", _photos())):
        each = _milliseconds(classifier, files)
        for interface, cost in (("S3", by_s3(each)), ("HTTP", by_http(each))):
            lines = sorted(cost.lines.items(), key=lambda it: -it[1])
            parts = ", ".join(f"{line} {dollars:.2f}" for line, dollars in lines[:4])
            table.add_row(name, f"{each:.1f}", interface, f"{cost.total:.2f}", parts)
    console = Console(soft_wrap=True, width=120)
    console.print(_idle_table())
    console.print(table)
    console.print(_memory_table(_milliseconds(classifier, samples.small(200))))
    console.print(machine.in_words(machine.described()))


def _idle_table() -> Table:
    """Return the monthly cost of an idle stack, with default parameters and with each option."""
    table = Table(title=f"US dollars a month, idle ({PRICES_OF})", title_justify="left")
    for column in ("parameters", "total", "of which"):
        table.add_column(column, justify="right" if column == "total" else "left")
    for given in ({}, *({name: value} for name, value in SWITCHES.items())):
        lines = floor.monthly(given)
        label = ", ".join(f"{name}={value}" for name, value in given.items()) or "the defaults"
        parts = ", ".join(f"{line} {dollars:.2f}" for line, dollars in lines.items())
        table.add_row(label, f"{sum(lines.values()):.2f}", parts)
    busy = METRIC * METRICS_IN_USE
    table.add_row("the defaults, images in every hour", f"{busy:.2f} more", "custom metrics")
    return table


def _memory_table(milliseconds: float) -> Table:
    table = Table(title="Lambda's time by memory, 28×28 PNGs", title_justify="left")
    for name in ("MB", "ms each", "HTTP, dollars a million", "S3, dollars a million"):
        table.add_column(name, justify="right")
    for size, each, by_call, by_object in by_memory(milliseconds):
        name = f"{size} (template)" if size == MEMORY else str(size)
        table.add_row(name, f"{each:.1f}", f"{by_call:.2f}", f"{by_object:.2f}")
    return table


def _photos() -> list[bytes]:
    return [samples.photo_jpeg(number, (1632, 1224)) for number in range(20)]


def _milliseconds(classifier: Classifier, files: list[bytes]) -> float:
    times = []
    for file in files:
        started = time.process_time()
        classifier.classify(file)
        times.append((time.process_time() - started) * 1000)
    return median(times)


if __name__ == "__main__":
    typer.run(main)
