"""Cold starts of the HTTP function: time to the first answer, and memory after it.

    python -m benchmarks.coldstart
    python -m benchmarks.coldstart --rounds 30 --record

Each start is a new process under Lambda's runtime interface emulator. The time is from the first
event to its answer, and includes the interpreter, the runtime, the imports, the model and one
image. The function of the artifact is measured with the shipped model; with a pointer in S3 to that
model; and with a pointer to another model, which it downloads. The floor is `references/floor.py`
with the artifact's packages. The references on TensorFlow and ONNX Runtime use the packages of this
environment. Processor time is that of the process until it answers; it depends less on other work
on the machine than elapsed time does.
"""

from __future__ import annotations

import shutil
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks import artifact, machine, mnist, onnx_model, side_by_side
from benchmarks.side_by_side import Measurement, Series, Target
from digits.registry import bundle, object_store, registry
from infra.local.cloud import LocalCloud
from infra.local.emulator import Emulator, free_port
from infra.local.events import of_gateway
from infra.local.processes import Processes

MODELS, OTHER = "models", "other"
REFERENCES = Path(__file__).parent / "references"
FLOOR, OURS, POINTER, TENSORFLOW = "floor", "ours", "ours, pointer in S3", "TensorFlow"
FETCHED = "ours, model in S3"
ONNX = "ONNX Runtime, no checks"
LIMITS = {OURS: 2.5, POINTER: 3.5}  # performance targets, in times of the floor


@dataclass(frozen=True)
class ColdStart:
    """One cold start: elapsed and processor milliseconds, and resident megabytes after it."""

    clock: float
    processor: float
    megabytes: float


def main(
    rounds: Annotated[int, typer.Option(help="Number of starts of each function.", min=1)] = 10,
    record: side_by_side.RecordOption = False,
) -> None:
    """Start all functions in each round and print the table."""
    with TemporaryDirectory() as folder, Processes(Path(folder) / "logs") as processes:
        runtime = Path(folder) / "runtime"
        runtime.mkdir()
        built = artifact.build(processes, Path(folder) / "artifact")
        cloud = _with_models(processes, Path(folder))
        starts = _starts(Emulator(runtime), built, cloud, Path(folder))
        started: dict[str, list[ColdStart]] = {name: [] for name in starts}
        measurements = {name: _kept(start, started[name]) for name, start in starts.items()}
        side_by_side.in_turns(measurements, rounds)
    counted = {name: them[1:] for name, them in started.items()}
    side_by_side.report("coldstart", "cold start", _rows(counted), record=record)


def _kept(start: Callable[[], ColdStart], into: list[ColdStart]) -> Measurement:
    def way() -> float:
        into.append(start())
        return into[-1].clock

    return way


def _rows(started: Mapping[str, list[ColdStart]]) -> list[Series]:
    rows = []
    for name, them in started.items():
        bars: tuple[Target, ...] = ()
        if name in LIMITS:
            bars = (
                Target("ratio", "≤", LIMITS[name], FLOOR),
                Target("ratio", "≤", 0.1, TENSORFLOW),
            )
        rows.append(Series(name, [it.clock for it in them], "ms", bars))
    for name, them in started.items():
        against = (f"{FLOOR}, processor",) if name in LIMITS else ()
        rows.append(
            Series(f"{name}, processor", [it.processor for it in them], "ms", against=against)
        )
    for name, them in started.items():
        bars = (Target("median", "≤", 90),) if name in LIMITS else ()
        rows.append(Series(f"{name}, resident", [it.megabytes for it in them], "MB", bars))
    return rows


def _with_models(processes: Processes, folder: Path) -> LocalCloud:
    """Start a local cloud with the shipped model promoted, and another model in another prefix."""
    (folder / "state").mkdir()
    cloud = LocalCloud(free_port())
    cloud.start(processes, folder / "state")
    cloud.s3().create_bucket(Bucket=MODELS)
    registry.publish(bundle.SHIPPED, object_store.S3Store(MODELS, client=cloud.s3()))
    other = shutil.copytree(bundle.SHIPPED, folder / OTHER)
    with (other / bundle.MANIFEST).open("a") as manifest:
        manifest.write("\n")
    registry.publish(other, object_store.S3Store(MODELS, OTHER, client=cloud.s3()))
    return cloud


def _starts(
    emulator: Emulator, built: Path, cloud: LocalCloud, folder: Path
) -> dict[str, Callable[[], ColdStart]]:
    ours = "lambda_predict.http_api.handler"
    shipped = {"DIGITS_MODELS": ""}
    pointer = {"DIGITS_MODELS": f"s3://{MODELS}", "AWS_ENDPOINT_URL": cloud.endpoint}
    fetched = pointer | {"DIGITS_MODELS": f"s3://{MODELS}/{OTHER}"}
    lite = {"MODEL": str(bundle.SHIPPED / bundle.TFLITE)}
    # pip compiles modules when it installs them into an image; here the first start compiles them.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    saved = bundle.SHIPPED / "mnist_cnn.keras"
    keras = {"MODEL": str(saved), "TF_CPP_MIN_LOG_LEVEL": "3", **compiled}
    onnx = {"MODEL": str(folder / "model.onnx"), **compiled}
    onnx_model.write(saved, folder / "model.onnx")
    packages = Path(sysconfig.get_path("purelib"))
    return {
        FLOOR: lambda: _start(emulator, "floor.handler", [built, REFERENCES], lite),
        OURS: lambda: _start(emulator, ours, [built], shipped),
        POINTER: lambda: _start(emulator, ours, [built], pointer),
        FETCHED: lambda: _start(emulator, ours, [built], fetched),
        TENSORFLOW: lambda: _start(emulator, "reference.handler", [REFERENCES, packages], keras),
        ONNX: lambda: _start(emulator, "onnx_runtime.handler", [REFERENCES, packages], onnx),
    }


def _start(
    emulator: Emulator, handler: str, folders: list[Path], env: Mapping[str, str]
) -> ColdStart:
    """Measure a new process from the first event to its answer, and end it."""
    images, _ = mnist.test_images()
    headers = {"Content-Type": "image/png"}
    first = of_gateway("POST", "/classify", headers=headers, body=mnist.png(images[0]))
    with TemporaryDirectory() as logs, Processes(Path(logs)) as processes:
        function = emulator.start(processes, "coldstart", handler, folders, env)
        started = time.perf_counter()
        answer = function.invoke(first)
        clock = (time.perf_counter() - started) * 1000
        if answer.get("statusCode") != 200:
            raise RuntimeError(f"{handler} answered {answer}")
        found = machine.resident_megabytes("environ", b"AWS_LAMBDA_FUNCTION_NAME=coldstart")
        process = max(found, key=found.__getitem__)  # the other is the emulator, which is smaller
        return ColdStart(clock, machine.processor_milliseconds(process), found[process])


if __name__ == "__main__":
    typer.run(main)
