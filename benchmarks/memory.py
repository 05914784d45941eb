"""Peak memory for one picture of each format at the published limits, and of `labels collect`.

    python -m benchmarks.memory

Each picture is classified in a new process, which loads the model and prints its peak resident
memory (Linux). The pictures are noise, which compresses worst. `digits labels collect` is measured
with two numbers of labels, because its memory must not depend on the number.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet
import typer
from PIL import Image
from rich.progress import track

from benchmarks import mnist, side_by_side
from benchmarks.side_by_side import Series, Target
from digits import Classifier
from digits.image import MAX_PIXELS, MAX_PIXELS_JPEG
from digits.labels.label import Source, label, label_key
from digits.registry import bundle
from infra.local.cloud import LocalCloud
from infra.local.emulator import free_port
from infra.local.processes import Processes

FLOOR = "28×28 PNG"
BIG_JPEG = "50 MP JPEG"
COLLECTED = (2_000, 10_000)  # labels; the command processes a thousand at once
LABELS = "labels"
_READ = """
from digits import Classifier, bundle
print(Classifier(bundle.load()).classify(open(sys.argv[1], "rb").read(), max_bytes=10**9).reason)
"""
_COLLECT = """
from contextlib import suppress
from digits.cli import main
with suppress(SystemExit):
    main(["labels", "collect", *sys.argv[1:]])
"""
# The process prints its own peak: the peak that the system reports of an ended child process
# includes that of the process which it was forked from.
_PRINT_PEAK = """
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


def main(record: side_by_side.RecordOption = False) -> None:
    """Measure one picture of each kind, and the command, and print the table."""
    rows = []
    with TemporaryDirectory() as folder:
        for name, form, mode, pixels, options in track(
            _kinds(), "reading", console=side_by_side.console, transient=True
        ):
            path = Path(folder) / "picture"
            _save(path, form, mode, pixels, options)
            bar = Target("median", "≤", 300 if name == BIG_JPEG else 400)
            rows.append(Series(name, [_most(_READ, str(path))], "MB", (bar,), (FLOOR,)))
    some, many = (f"collecting {count:,} labels" for count in COLLECTED)
    for name, most in zip((some, many), _collecting(), strict=True):
        bars = (Target("ratio", "≤", 1.1, some),) if name == many else ()
        rows.append(Series(name, [most], "MB", bars))
    side_by_side.report("memory", "the most memory", rows, record=record)


def _kinds() -> list[tuple[str, str, str, int, dict[str, object]]]:
    """Return name, format, mode, number of pixels and options of saving of each kind."""
    return [
        (FLOOR, "PNG", "L", 784, {}),
        (BIG_JPEG, "JPEG", "RGB", MAX_PIXELS_JPEG, {"quality": 60}),
        ("50 MP JPEG, progressive", "JPEG", "RGB", MAX_PIXELS_JPEG, {"progressive": True}),
        ("37.5 MP JPEG in CMYK", "JPEG", "CMYK", MAX_PIXELS_JPEG * 3 // 4, {"quality": 60}),
        ("16 MP PNG", "PNG", "RGB", MAX_PIXELS, {"compress_level": 1}),
        ("16 MP PNG, transparent", "PNG", "RGBA", MAX_PIXELS, {"compress_level": 1}),
        ("16 MP WebP", "WEBP", "RGB", MAX_PIXELS, {"quality": 60, "method": 0}),
        ("16 MP TIFF in CMYK", "TIFF", "CMYK", MAX_PIXELS, {}),
        ("16 MP GIF", "GIF", "P", MAX_PIXELS, {}),
        ("16 MP BMP", "BMP", "RGB", MAX_PIXELS, {}),
    ]


def _save(path: Path, form: str, mode: str, pixels: int, options: dict[str, object]) -> None:
    """Write a picture of noise."""
    side = int(pixels**0.5)
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (side, side, bands) if bands > 1 else (side, side)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = noise.tobytes()
    Image.frombytes(mode, (side, side), data).save(path, form, **options)


def _most(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> float:
    """Return the peak megabytes of a new process that runs a script."""
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", f"import sys\n{script}{_PRINT_PEAK}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=env,
    )
    return int(done.stdout.splitlines()[-1]) * 1024 / 1e6  # /proc has kibibytes


def _collecting() -> Iterator[float]:
    """Yield the peak megabytes of the command for each of the numbers of labels `COLLECTED`."""
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        cloud = LocalCloud(free_port())
        state = Path(folder) / "state"
        state.mkdir()
        cloud.start(processes, state)
        s3 = cloud.s3()
        s3.create_bucket(Bucket=LABELS)
        result = Classifier(bundle.load()).classify(mnist.png(mnist.test_images()[0][0]))

        def put(number: int) -> None:
            image = Source(
                bucket="images", key=f"{number:06}.png", version_id=None, etag="", size=1
            )
            body = label(result, image, "single").model_dump_json()
            s3.put_object(Bucket=LABELS, Key=label_key(image.key), Body=body)

        put_already = 0
        for count in COLLECTED:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(put, range(put_already, count)))
            put_already = count
            out = Path(folder) / "labels.parquet"
            yield _most(_COLLECT, f"s3://{LABELS}", "--out", str(out), env=cloud.env)
            if pyarrow.parquet.read_metadata(out).num_rows != count:
                raise RuntimeError(f"{out.name} does not have {count:,} rows.")


if __name__ == "__main__":
    typer.run(main)
