"""Try a package in an interpreter that finds our code only in that package.

Every package (wheel, image, artifact) contains all subpackages, and either the complete model
bundle or only its served files. `try_package` imports every module of the source tree from the
package and classifies a picture, so it fails if a file is missing.
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

SERVED = (".json", ".tflite")  # extensions of the bundle's files that serving reads
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
    """List every module of these packages in the source tree, except of the packages `but`."""
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
    """Return the expected files of /app in the training image, relative to /app."""
    sources = [*files_of(ROOT / "digits"), *files_of(ROOT / "training_job"), ROOT / "LICENSE"]
    unread = {path for path in files_of(ROOT / "digits/model") if path.suffix not in SERVED} | {
        ROOT / "training_job/Dockerfile"
    }
    return {path.relative_to(ROOT) for path in sources if path not in unread}


def try_package(
    folder: Path,
    names: list[str],
    *options: str,
    path: Iterable[Path] | None = None,
    whole: bool = False,
    python: str | Path = sys.executable,
    env: Mapping[str, str] | None = None,
) -> str:
    """Import modules from a package, and return the text that its model reads in a picture.

    Parameters
    ----------
    folder
        The unpacked package.
    names
        The modules; all must be below `folder`.
    options
        Options of the interpreter, in addition to ``-I``.
    path
        Folders to put in front of the search path; by default `folder`.
    whole
        Whether all files of the model bundle must exist, or only the served ones. Existing files
        must match their digests.
    python
        The interpreter, with the dependencies installed.
    env
        Environment variables of the interpreter, in addition to PATH.
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
