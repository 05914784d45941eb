"""The artifact of `sam build`, built by make for each CPU that the template offers."""

from __future__ import annotations

import ctypes
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from infra import slim
from infra.local.cloud import ROOT, files_of
from tests.packaged import SERVED, modules, try_package

MACHINES = {"arm64": "EM_AARCH64", "x86_64": "EM_X86_64"}
# The libraries of the runtime: glibc 2.34, https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html,
# and the libraries of GCC 14 since Amazon Linux 2023.7 (April 2025):
# https://github.com/amazonlinux/container-images/issues/132,
# https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html
RUNTIME = {
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libz.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6", "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"),
}
NEWEST = {
    "GLIBC": (2, 34),
    "GLIBCXX": (3, 4, 33),
    "CXXABI": (1, 3, 15),
    "GCC": (14, 0, 0),
    "ZLIB": (1, 2, 11),
}
MAX_BYTES = 100_000_000


def make(target: str, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run make in the Makefile's folder, as `sam build --build-in-source` does."""
    return subprocess.run(
        ["make", "--silent", target],
        cwd=ROOT / "lambda_predict",
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", params=sorted(MACHINES))
def built(request, tmp_path_factory):
    """Build an artifact and yield its architecture and folder."""
    folder = tmp_path_factory.mktemp(request.param)
    done = make(
        "build-HttpApiFunction", ARTIFACTS_DIR=folder, DIGITS_BUILD_ARCHITECTURE=request.param
    )
    assert done.returncode == 0, done.stderr
    yield request.param, folder
    shutil.rmtree(folder)


def compiled(folder: Path) -> dict[str, ELFFile]:
    """Return the ELF files of an artifact by their names."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path.name: ELFFile(io.BytesIO(data))
        for path in files
        if (data := path.read_bytes()).startswith(b"\x7fELF")
    }


def needed(elf: ELFFile) -> set[str]:
    """Return the names of the libraries that a file needs."""
    tags = elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
    return {tag.needed for tag in tags}


def versions(elf: ELFFile) -> set[tuple[str, str]]:
    """Return the symbol versions that it needs, such as ("libc.so.6", "GLIBC_2.34")."""
    section = elf.get_section_by_name(".gnu.version_r")
    asked = section.iter_versions() if section else ()
    return {(library.name, it.name) for library, them in asked for it in them}


def symbols(elf: ELFFile) -> tuple[set[str], set[str]]:
    """Return the symbols that it defines, and the unversioned ones that it needs."""
    numbers = elf.get_section_by_name(".gnu.version")
    given, missing = set(), set()
    for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        if symbol["st_shndx"] != "SHN_UNDEF":
            given.add(symbol.name)
        elif symbol["st_info"]["bind"] != "STB_WEAK" and (
            numbers is None or not isinstance(numbers.get_symbol(index)["ndx"], int)
        ):
            missing.add(symbol.name)
    return given, missing - {""}


def test_every_compiled_file_is_for_the_requested_cpu(built):
    architecture, folder = built
    files = compiled(folder)
    assert len(files) > 25
    assert {elf["e_machine"] for elf in files.values()} == {MACHINES[architecture]}


def test_every_needed_library_is_in_the_artifact_or_in_the_runtime(built):
    _, folder = built
    files = compiled(folder)
    asked = set().union(*map(needed, files.values()))
    assert len(asked - RUNTIME) > 8
    assert asked <= RUNTIME | set(files)


def test_no_library_needs_a_newer_system_than_amazon_linux_2023(built):
    """The loader refuses a library if one symbol version is missing."""
    _, folder = built
    files = compiled(folder)
    asked = {it for elf in files.values() for it in versions(elf) if it[0] in RUNTIME}
    assert len(asked) > 10
    too_new = {
        (library, version)
        for library, version in asked
        if tuple(map(int, re.findall(r"\d+", version))) > NEWEST[version.partition("_")[0]]
    }
    assert too_new == set()


def test_every_unversioned_symbol_is_defined_by_a_library_or_by_python(built):
    _, folder = built
    found = [symbols(elf) for elf in compiled(folder).values()]
    given = set().union(*(names for names, _ in found))
    missing = set().union(*(names for _, names in found)) - given
    # These libraries of this machine define the same symbols as Amazon Linux's.
    system = [ctypes.CDLL(name) for name in ("libc.so.6", "libm.so.6", "libz.so.1")]
    assert len(missing) > 10
    assert [
        name
        for name in missing
        if not name.startswith(("Py", "_Py")) and not any(hasattr(it, name) for it in system)
    ] == []


def test_extensions_are_for_the_runtimes_python(built):
    _, folder = built
    extensions = [path.name for path in folder.rglob("*.cpython-*.so")]
    assert any(name.startswith("_pybase64.") for name in extensions)  # decoding is slow without it
    assert all(".cpython-313-" in name for name in extensions)


def test_the_artifact_stays_below_its_size_limit(built):
    _, folder = built
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < MAX_BYTES


def test_the_artifact_has_every_module_and_dependency_of_the_functions(built):
    _, folder = built
    for package in ("digits", "lambda_predict"):
        ours = {path.relative_to(ROOT) for path in files_of(ROOT / package) if is_served(path)}
        assert {path.relative_to(folder) for path in files_of(folder / package)} == ours
    for module in (
        *("ai_edge_litert/interpreter.py", "ai_edge_litert/libLiteRt.so", "numpy/__init__.py"),
        *("PIL/__init__.py", "pydantic/__init__.py"),
        *("python_multipart/__init__.py", "pybase64/__init__.py"),
        *("boto3/__init__.py", "aws_lambda_powertools/__init__.py", "snapshot_restore_py.py"),
        *("botocore/data/s3", "botocore/data/endpoints.json", "botocore/data/partitions.json"),
    ):
        # A package is compiled, unless there was no Python of the runtime's version to do it.
        compiled = (folder / module).with_suffix(".pyc")
        assert (folder / module).exists() or compiled.exists(), module


def is_served(path: Path) -> bool:
    """Return whether the artifact must contain this file of the source tree."""
    return path.suffix in (".py", *SERVED) and ROOT / "digits/cli" not in path.parents


def test_the_artifact_has_no_training_files(built):
    _, folder = built
    assert not [path for path in folder.rglob("*") if path.suffix in (".keras", ".h5", ".npz")]


def test_unused_files_are_left_out_of_the_artifact(built):
    _, folder = built
    assert not list(folder.rglob("tests"))
    litert = folder / "ai_edge_litert"
    assert not list(litert.glob("*WebGpu*"))
    assert not [name for name in ("vendors", "tools", "aot") if (litert / name).exists()]
    services = {path.name for path in (folder / "botocore" / "data").iterdir() if path.is_dir()}
    assert services == {"s3", "sqs", "sts"}


@pytest.fixture(scope="module")
def at_home(tmp_path_factory) -> Iterator[Path]:
    """Build an artifact for this machine and this Python."""
    folder = tmp_path_factory.mktemp("host")
    done = make(
        "build-S3LabelsFunction",
        ARTIFACTS_DIR=folder,
        DIGITS_BUILD_ARCHITECTURE="host",
        DIGITS_BUILD_PYTHON=".".join(map(str, sys.version_info[:2])),
    )
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


# -S: without site-packages; -B: write no bytecode, as on Lambda.
ALONE = ("-S", "-B")
SETTINGS = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "DIGITS_LABELS_BUCKET": "labels",
    "POWERTOOLS_METRICS_NAMESPACE": "Digits",
    "POWERTOOLS_SERVICE_NAME": "test",
}


def run(folder: Path, probe: str) -> str:
    """Run a script with only the artifact and the standard library; return its output."""
    answer = subprocess.run(
        [sys.executable, "-I", *ALONE, "-c", f"import sys; sys.path.insert(0, '.')\n{probe}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], **SETTINGS},
        cwd=folder,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_every_module_works_from_the_artifact_alone(at_home):
    ours = modules("digits", "lambda_predict", but=["digits.cli"])
    assert try_package(at_home, ours, *ALONE, env=SETTINGS) == "7"


def test_the_artifact_alone_reads_every_format_and_creates_clients(at_home):
    """Fails if slimming removed too much: reads every format, explains, creates clients."""
    probe = """
import io
from PIL import Image
import boto3
for service in ("s3", "sqs", "sts"):
    boto3.client(service, region_name="eu-west-1")
from digits import Classifier, bundle
classifier = Classifier(bundle.load())
plain = Image.new("L", (28, 28))
plain.paste(255, (12, 4, 16, 24))
large = plain.resize((1400, 1400))
for picture, form, options in (
    (plain, "PNG", {}),
    (large.convert("P"), "PNG", {}),
    (large.convert("RGB"), "JPEG", {"progressive": True}),
    (large.convert("CMYK"), "JPEG", {}),
    (large, "WEBP", {"lossless": True}),
    (large, "GIF", {}),
    (large, "BMP", {}),
    (large, "TIFF", {"compression": "tiff_lzw"}),
    (large, "TIFF", {"compression": "jpeg"}),
    (large, "TIFF", {"compression": "tiff_deflate"}),
    (large.convert("I;16"), "TIFF", {}),
    (large, "PPM", {}),
    (large.convert("RGB"), "MPO", {}),
):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    result = classifier.classify(buffer.getvalue(), mode="multiple", explain="full")
    assert result.text == "1" and result.digits[0].explanation.feature_maps, (form, options)
print(result.text)
"""
    assert run(at_home, probe).strip() == "1"


def test_formats_without_a_decoder_are_refused_by_name_and_not_recommended(at_home):
    probe = """
from digits import image
from digits.errors import UnsupportedFormat
for data in (
    b"\\0\\0\\0\\x1cftypmif1\\0\\0\\0\\0mif1avifmiaf",
    b"\\0\\0\\0\\x18ftypmif1\\0\\0\\0\\0mif1heic",
    b"\\0\\0\\0\\x0cjP  \\r\\n\\x87\\n" + bytes(99),
    b"a text",
):
    try:
        image.decode(data)
    except UnsupportedFormat as error:
        print(error)
"""
    assert run(at_home, probe).splitlines() == [
        "AVIF cannot be decoded here; send a PNG or a JPEG.",
        "HEIC, which needs pillow-heif, cannot be decoded here; send a PNG or a JPEG.",
        "JPEG 2000 cannot be decoded here; send a PNG or a JPEG.",
        "This is not an image in a supported format; convert it to PNG, JPEG, WebP, GIF, BMP,"
        " TIFF or PNM.",
    ]


def test_slimming_does_not_change_hard_linked_files(tmp_path):
    """uv hard-links files from its cache into every environment."""
    data = tmp_path / "artifact/botocore/data"
    (data / "s3/2006").mkdir(parents=True)
    described = data / "s3/2006/service-2.json.gz"
    described.write_bytes(gzip.compress(b'{"documentation": "long"}'))
    (data / "endpoints.json").write_text('{"partitions": [{"services": {"s3": 1, "ec2": 2}}]}')
    for package in slim.GATHERING:
        folder = tmp_path / "artifact" / package.replace(".", "/")
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("from .event import Event")
    for path in (described, data / "endpoints.json"):
        (tmp_path / path.name).hardlink_to(path)
    slim.main(tmp_path / "artifact", ["s3"])
    assert json.loads(gzip.decompress(described.read_bytes())) == {"documentation": ""}
    kept = json.loads((data / "endpoints.json").read_bytes())
    assert kept == {"partitions": [{"services": {"s3": 1}}]}
    shared = tmp_path / "service-2.json.gz"
    assert json.loads(gzip.decompress(shared.read_bytes())) == {"documentation": "long"}
    assert "ec2" in (tmp_path / "endpoints.json").read_text()


@pytest.mark.parametrize("package", slim.GATHERING)
def test_a_slimmed_package_imports_its_names_on_first_use(at_home, package):
    probe = f"""
import {package} as package
assert not [name for name in sys.modules if name.startswith("{package}.")]
assert len([getattr(package, name) for name in package.__all__]) > 15
try:
    package.Nonsense
except AttributeError as error:
    print(error)
"""
    assert "no attribute 'Nonsense'" in run(at_home, probe)


@pytest.mark.parametrize("source", ["import os", "from .event import Event as Other", "x = 1"])
def test_a_package_that_does_more_than_reexport_is_refused(source):
    with pytest.raises(ValueError, match=r"package\.name"):
        slim._lazy(source, "package.name")


def test_the_artifact_has_the_docs_page(at_home):
    probe = "from lambda_predict import http_api; print(len(http_api._docs_page()[0]))"
    assert int(run(at_home, probe)) > 1_000_000


def test_every_imported_module_is_precompiled(at_home):
    """A function cannot write bytecode, and would compile again at each start."""
    probe = """
import lambda_predict.http_api as api
api.models.classifier()
files = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
import os
ours = {name: file for name, file in files.items() if file and not file.startswith(sys.prefix)}
print(*[name for name, file in ours.items() if not os.path.exists(file)])
assert len([name for name in ours if name.startswith("digits.")]) > 10
"""
    assert run(at_home, probe).split() == []


def test_an_unknown_cpu_is_refused_by_name(tmp_path):
    done = make("build-HttpApiFunction", ARTIFACTS_DIR=tmp_path, DIGITS_BUILD_ARCHITECTURE="mips")
    assert done.returncode != 0
    assert "'mips', not arm64, x86_64 or host" in done.stderr


def test_a_build_outside_the_sources_says_what_to_do(tmp_path):
    """Without --build-in-source, SAM copies the folder and runs make there."""
    shutil.copytree(ROOT / "lambda_predict", tmp_path / "copy" / "code")
    done = subprocess.run(
        ["make", "--silent", "build-HttpApiFunction"],
        cwd=tmp_path / "copy" / "code",
        env={**os.environ, "ARTIFACTS_DIR": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "use `sam build --build-in-source`" in done.stderr
