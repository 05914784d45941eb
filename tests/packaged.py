"""What is packaged, tried in an interpreter that finds our code in the package alone.

Each way to deliver the software takes its packages and model files by one rule: all subpackages,
and of the model either the whole bundle or what is served of it, by kind of file. `tried` imports
every module that the source tree has there and reads a picture, so it fails if a rule left
something out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.cloud import ROOT, files_of
from tests.conftest import GOLDEN

SERVED = (".json", ".tflite")  # of a model bundle: what serving reads, by kind of file
# Its one argument is JSON: folder, modules, search path, whether the bundle is whole, picture.
PROBE = """
import importlib, json, sys
from pathlib import Path

folder, modules, path, whole, picture = json.loads(sys.argv[1])
sys.path[:0] = path
for name in modules:
    file = importlib.import_module(name).__file__
    assert Path(file).is_relative_to(folder), f"{name} is not in the package, but {file}"

from digits import Classifier, bundle

read_file = bundle.in_folder(bundle.SHIPPED)
if whole:
    bundle.verify(read_file)
loaded = bundle.load()
for file in bundle.SHIPPED.rglob("*"):
    if file.is_file() and file.name != bundle.MANIFEST:
        bundle.read_one(read_file, loaded.manifest, file.relative_to(bundle.SHIPPED).as_posix())
print(Classifier(loaded).classify(Path(picture).read_bytes(), mode="multiple").text)
"""


def modules(*packages: str, but: Iterable[str] = ()) -> list[str]:
    """Every module of these packages in the source tree, but those of the packages `but`."""
    names = []
    for package in packages:
        for file in files_of(ROOT / package):
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            left_out = any(f"{name}.".startswith(f"{other}.") for other in but)
            # Importing `__main__` runs the command.
            if file.suffix == ".py" and parts[-1] != "__main__" and not left_out:
                names.append(name)
    return sorted(names)


def training_files() -> set[Path]:
    """What /app holds in the training image, relative to it and to the source tree alike."""
    sources = [*files_of(ROOT / "digits"), *files_of(ROOT / "training_job"), ROOT / "LICENSE"]
    unread = {path for path in files_of(ROOT / "digits/model") if path.suffix not in SERVED} | {
        ROOT / "training_job/Dockerfile"
    }
    return {path.relative_to(ROOT) for path in sources if path not in unread}


def tried(
    folder: Path,
    names: list[str],
    *options: str,
    path: Iterable[Path] | None = None,
    whole: bool = False,
    python: str | Path = sys.executable,
    env: Mapping[str, str] | None = None,
) -> str:
    """Import modules from a package, read a picture with its model, and give what was read.

    Parameters
    ----------
    folder
        The package, unpacked.
    names
        The modules. All must be found below `folder`.
    options
        Of the interpreter. It always ignores the environment and its own folder (``-I``).
    path
        What is put in front of the search path; `folder` itself by default.
    whole
        Whether all files of the model bundle must be there, or only those that are served. Those
        that are there must match their digests.
    python
        The interpreter, which brings the dependencies.
    env
        Settings for modules that read some at import.
    """
    path = [folder] if path is None else path
    given = [str(folder), names, [str(it) for it in path], whole, str(GOLDEN / "seven.png")]
    done = subprocess.run(
        [str(python), "-I", *options, "-c", PROBE, json.dumps(given)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
