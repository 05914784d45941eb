"""`digits classify`: its output formats, inputs, error messages and exit codes."""

import csv
import io
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from PIL import Image
from pyarrow import parquet
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from digits import Classifier
from digits.cli import app, classification, main
from digits.results import Result
from tests.conftest import GOLDEN, truths
from tests.unit.test_tabular import cells_of

ROOT = Path(__file__).parents[2]
# The warning about the file in `folder` that is not an image.
SKIPPED = "Skipped 1 file without an image's extension: notes.txt.\n"
COMMAND = [sys.executable, "-c", "from digits.cli import main; main()"]


@pytest.fixture
def digits(capsys):
    """Return a function that runs the command line in this process."""

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        written = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=written.out, err=written.err)

    return run


def started(*args, **options):
    """Start the command line in a new process, with buffered output as from a shell."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [*COMMAND, *map(str, args)], env=environment,
        **({"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Make a folder with two images at different depths, and a text file."""
    home = tmp_path / "pictures"
    (home / "b").mkdir(parents=True)
    shutil.copy(GOLDEN / "seven.png", home / "b" / "SEVEN.PNG")
    shutil.copy(GOLDEN / "one.jpg", home / "c.jpg")
    (home / "notes.txt").write_text("no picture")
    (home / "empty").mkdir()
    return home


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes((GOLDEN / "seven.png").read_bytes()[:300])
    return path


def assert_one_line(done, *words):
    """Check for exit code 2, no standard output, and one line with `words` on standard error."""
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_json_is_one_list_of_results_in_the_order_of_the_arguments(digits):
    names = list(truths())[::-1]
    done = digits("classify", *(GOLDEN / name for name in names), "--format", "json")
    assert (done.code, done.err) == (0, "")
    items = json.loads(done.out)
    assert [item.pop("path") for item in items] == [str(GOLDEN / name) for name in names]
    assert [Result.model_validate(item).text for item in items] == [
        str(truths()[name]) for name in names
    ]


def test_a_folder_is_read_recursively_in_path_order(digits, folder):
    done = digits("classify", folder, "--format", "json")
    assert [(item["path"], item["text"]) for item in json.loads(done.out)] == [
        (str(folder / "b/SEVEN.PNG"), "7"), (str(folder / "c.jpg"), "1"),
    ]  # fmt: skip


def test_files_are_sorted_by_their_whole_path(digits, tmp_path):
    for name in ("a/x.png", "a.png", "a/b/y.png", "B.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no picture")
    done = digits("classify", tmp_path, "--format", "json")
    paths = [Path(item["path"]) for item in json.loads(done.out)]
    assert paths == sorted(tmp_path.rglob("*.png"))


def test_a_named_file_is_read_whatever_its_extension(digits, tmp_path):
    path = shutil.copy(GOLDEN / "seven.png", tmp_path / "seven.data")
    assert json.loads(digits("classify", path, "--format", "json").out)[0]["text"] == "7"


def test_skipped_files_of_a_folder_are_counted_and_named_at_the_end(digits, folder):
    done = digits("classify", folder)
    assert done.code == 0
    assert "notes" not in done.out
    assert done.err == SKIPPED


def test_a_symbolic_link_to_a_folder_is_not_followed(digits, folder):
    (folder / "round").symlink_to(folder)
    assert len(json.loads(digits("classify", folder, "--format", "json").out)) == 2


def test_an_unreadable_image_is_an_error_item_in_a_complete_document(digits, broken, folder):
    done = digits("classify", broken, folder, "--format", "json")
    first, *others = json.loads(done.out)
    assert done.code == 1
    assert (first["path"], first["error"]["code"]) == (str(broken), "unreadable_image")
    assert set(first) == {"path", "error"}
    assert set(first["error"]) == {"code", "message"}
    assert [item["text"] for item in others] == ["7", "1"]


def test_a_file_that_cannot_be_opened_is_an_error_item(digits, tmp_path):
    (tmp_path / "folder.png").symlink_to(tmp_path / "gone.png")
    done = digits("classify", tmp_path / "folder.png", "--format", "json")
    (item,) = json.loads(done.out)
    assert (done.code, item["error"]["code"]) == (1, "unreadable_image")
    assert "No such file" in item["error"]["message"]


def test_a_folder_that_cannot_be_listed_is_an_error_item(digits, folder, monkeypatch):
    real = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = digits("classify", folder, "--format", "json")
    refused, read = json.loads(done.out)
    assert (done.code, refused["path"]) == (1, str(folder / "b"))
    assert refused["error"]["message"] == "The folder cannot be read (Permission denied)."
    assert read["text"] == "1"


def test_csv_has_one_row_per_image(digits, broken):
    done = digits("classify", GOLDEN / "seven.png", broken, "--format", "csv")
    seven, failed = csv.DictReader(io.StringIO(done.out))
    assert done.code == 1
    assert (seven["text"], seven["needs_review"], seven["error"]) == ("7", "false", "")
    assert 0.9 < float(seven["confidence"]) <= 1
    assert (failed["path"], failed["text"], failed["error"]) == (
        str(broken), "", "unreadable_image",
    )  # fmt: skip
    assert failed["message"]


def test_table_rows_are_not_wrapped_in_a_pipe(digits, broken, tmp_path):
    deep = tmp_path / ("a" * 60) / ("b" * 60) / "seven.png"
    deep.parent.mkdir(parents=True)
    shutil.copy(GOLDEN / "seven.png", deep)
    done = digits("classify", deep, broken)
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if str(deep) in line]
    assert "7" in line.split()
    assert f"{broken}" in done.out
    assert "unreadable_image" in done.out


def test_a_long_table_is_split_into_parts_with_a_header_each(digits, folder, monkeypatch):
    monkeypatch.setattr("digits.cli.answers.TABLE_ROWS", 1)
    assert digits("classify", folder).out.count("for review") == 2


@pytest.mark.parametrize("name", ["[red].png", "a[/].png", "new\nline.png", "\x1b[31m.png"])
def test_markup_and_control_characters_in_file_names_are_escaped(digits, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    shutil.copy(GOLDEN / "seven.png", tmp_path / name)
    done = digits("classify", tmp_path)
    assert done.code == 0
    assert name.replace("\n", "\\n").replace("\x1b", "\\x1b") in done.out
    assert "\x1b" not in done.out


def test_control_characters_in_the_names_of_skipped_files_are_escaped(digits, folder):
    (folder / "notes.txt").rename(folder / "\x1b[31m\n.txt")
    assert digits("classify", folder).err == SKIPPED.replace("notes", r"\x1b[31m\n")


@pytest.mark.parametrize("shape", ["json", "csv", "table"])
def test_a_name_that_is_not_utf_8_is_escaped(digits, tmp_path, shape):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(
        (GOLDEN / "seven.png").read_bytes()
    )
    done = digits("classify", tmp_path, "--format", shape, "--out", tmp_path / "out")
    assert done.code == 0
    written = (tmp_path / "out").read_text()
    assert r"caf\xe9.png" in (json.loads(written)[0]["path"] if shape == "json" else written)


def test_multiple_reads_every_digit(digits, tmp_path):
    page = Image.new("L", (200, 100), 255)
    for place, name in enumerate(("seven.png", "three.png")):
        digit = Image.open(GOLDEN / name).convert("L").resize((70, 70))
        page.paste(digit, (20 + 90 * place, 15))
    page.save(tmp_path / "page.png")
    single = json.loads(digits("classify", tmp_path / "page.png", "--format", "json").out)[0]
    multiple = json.loads(
        digits("classify", "--multiple", tmp_path / "page.png", "--format", "json").out
    )[0]
    assert single["reason"] == "several_digits"
    assert len(multiple["digits"]) == len(multiple["text"]) == 2


def test_standard_input_is_read_to_its_end():
    done = subprocess.run(
        [*COMMAND, "classify", "-", "--format", "json"], cwd=ROOT, capture_output=True, check=True,
        input=(GOLDEN / "seven.png").read_bytes(),
    )  # fmt: skip
    (item,) = json.loads(done.stdout)
    assert (item["path"], item["text"]) == ("-", "7")
    assert done.stderr == b""


@pytest.mark.parametrize(("data", "code"), [(b"", "unreadable_image"), (b"text", "unsupported_")])
def test_standard_input_that_is_not_an_image_exits_with_1(data, code):
    process = started("classify", "-", "--format", "json", stdin=subprocess.PIPE)
    out, err = process.communicate(data, timeout=60)
    assert (process.returncode, err) == (1, b"")
    assert json.loads(out)[0]["error"]["code"].startswith(code)


def test_out_writes_the_format_of_the_extension_and_leaves_no_temporary_file(
    digits, folder, tmp_path
):
    for ending, read in (("json", json.loads), ("csv", str.splitlines)):
        out = tmp_path / f"out.{ending}"
        done = digits("classify", folder, "--out", out)
        assert (done.code, done.out, done.err) == (0, "", SKIPPED)
        assert len(read(out.read_text())) == {"json": 2, "csv": 3}[ending]
    assert list(tmp_path.glob(".*")) == []


def test_an_existing_file_is_kept_until_the_new_one_is_complete(
    digits, folder, tmp_path, monkeypatch
):
    out = tmp_path / "out.json"
    out.write_text("the old one")
    seen = []

    def break_off(*_, **__):
        seen.append(out.read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr("digits.classifier.Classifier.classify", break_off)
    assert digits("classify", folder, "--out", out).code != 0
    assert (seen, out.read_text()) == (["the old one"], "the old one")
    assert list(tmp_path.glob(".*")) == []


def test_writing_to_a_symbolic_link_keeps_the_link(digits, folder, tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    digits("classify", folder, "--out", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert len(json.loads((tmp_path / "real.json").read_text())) == 2


def test_writing_to_a_named_pipe_does_not_replace_it(digits, folder, tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert digits("classify", folder, "--out", pipe).code == 0
    reader.join(30)
    assert len(json.loads(read[0])) == 2
    assert pipe.is_fifo()


def test_explain_writes_a_png_with_a_card_for_each_of_a_few_digits(digits, folder, tmp_path):
    done = digits("classify", folder, "--explain", tmp_path / "why.png", "--format", "json")
    with Image.open(tmp_path / "why.png") as sheet:
        sheet.load()
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")
        assert 1000 < sheet.width < 2000
        assert 2 * 200 < sheet.height < 2 * 400
    for item in json.loads(done.out):
        explanation = item["digits"][0]["explanation"]
        assert list(explanation) == ["frame", "occlusion", "feature_maps"]


def test_explain_writes_a_png_even_if_nothing_was_read(digits, broken, tmp_path):
    assert digits("classify", broken, "--explain", tmp_path / "why.png").code == 1
    Image.open(tmp_path / "why.png").verify()


def test_above_the_card_limit_the_sheet_shows_only_frames(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(classification, "CARD_DIGITS", 9)
    done = digits("classify", GOLDEN / "own", "--explain", tmp_path / "why.png", "--format", "json")
    with Image.open(tmp_path / "why.png") as sheet:
        assert (sheet.mode, sheet.size) == ("L", (8 * 148 + 8, 2 * 164 + 8))
    given = [list(item["digits"][0]["explanation"]) for item in json.loads(done.out)]
    assert given == [["frame", "occlusion", "feature_maps"]] * 9 + [["frame"]]


def test_a_sheet_above_the_digit_limit_is_cut_with_a_message(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(classification, "CARD_DIGITS", 2)
    monkeypatch.setattr(classification, "SHEET_DIGITS", 3)
    pictures = sorted((GOLDEN / "own").glob("*.jpg"))
    done = digits("classify", *pictures, "--explain", tmp_path / "why.png")
    assert done.code == 0
    assert done.err == "The sheet shows the first 3 of 10 digits.\n"
    with Image.open(tmp_path / "why.png") as sheet:
        assert sheet.width < 4 * 148


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "utf-8", "utf-16"])
@pytest.mark.parametrize("shape", ["json", "csv", "tsv", "table"])
def test_every_image_is_listed_in_any_output_encoding(tmp_path, monkeypatch, encoding, shape):
    names = ["=1.png", "a.png", "z\u65e5\u672c \xfc \u20ac.png"]
    for name in names:
        shutil.copy(GOLDEN / "seven.png", tmp_path / name)
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    process = started("classify", ".", "--format", shape, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    text = out.decode(encoding)
    if shape == "json":
        assert [item["path"] for item in json.loads(text)] == names
    else:
        assert [name for name in ("=1.png", "a.png", ".png") if name not in text] == []
        assert len(text.splitlines()) == {"csv": 4, "tsv": 4, "table": 7}[shape]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_and_model_show_work_in_any_output_encoding(monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    for command in (["--help"], ["classify", "--help"], ["model", "show"]):
        process = started(*command)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, b"")
        assert out.decode(encoding)


def test_an_interrupted_json_document_is_not_valid_json(digits, folder, monkeypatch):
    monkeypatch.setattr("digits.classifier.Classifier.classify", interrupt_after(1))
    done = digits("classify", folder, "--format", "json")
    assert done.code != 0
    assert "SEVEN.PNG" in done.out
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.out)


def interrupt_after(count):
    real, left = Classifier.classify, [None] * count

    def classify(*args, **options):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(*args, **options)

    return classify


@pytest.mark.parametrize("ending", ["tsv", "xlsx", "parquet", "XLSX"])
def test_the_extension_of_the_file_selects_its_format(digits, folder, broken, tmp_path, ending):
    out = tmp_path / f"labels.{ending}"
    done = digits("classify", folder, broken, "--out", out)
    assert (done.code, done.out, done.err) == (1, "", SKIPPED)
    rows = read_table(out)
    assert [row["text"] for row in rows] == ["7", "1", ""]
    assert rows[0]["path"].endswith("SEVEN.PNG")
    assert rows[2]["error"] == "unreadable_image"
    assert list(tmp_path.glob(".*")) == []


def read_table(path):
    """Read the rows of a table of any format as text."""
    if path.suffix.lower() == ".xlsx":
        head, *rows = cells_of(path)
        return [dict(zip(head, row, strict=True)) for row in rows]
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
        assert {type(row["needs_review"]) for row in rows} <= {bool, type(None)}
        return [{name: "" if cell is None else cell for name, cell in row.items()} for row in rows]
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("name", ["x.xls", "x.ods", "labels", "x.json.bak", "x.cvs", ".csv"])
def test_an_unknown_extension_is_refused_before_anything_is_read(
    digits, folder, tmp_path, monkeypatch, name
):
    monkeypatch.setattr("digits.classifier.Classifier.classify", None)
    assert_one_line(digits("classify", folder, "--out", tmp_path / name), "extension", ".xlsx")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_given_format_needs_no_extension(digits, folder, tmp_path):
    digits("classify", folder, "--out", tmp_path / "x.dat", "--format", "csv")
    assert len((tmp_path / "x.dat").read_text().splitlines()) == 3


@pytest.mark.parametrize("shape", ["xlsx", "parquet"])
def test_a_binary_format_is_not_printed(digits, shape):
    assert_one_line(digits("classify", GOLDEN, "--format", shape), "--out")


@pytest.mark.parametrize("shape", ["tsv", "xlsx", "parquet"])
def test_a_full_disk_is_an_error_of_one_line_for_every_table_format(digits, shape):
    done = digits("classify", GOLDEN / "seven.png", "--out", "/dev/full", "--format", shape)
    assert_one_line(done, "Cannot write /dev/full (No space left on device)")


def test_a_byte_order_mark_is_written_on_request(digits, folder, tmp_path):
    for options, start in (((), b"path,"), (("--bom",), b"\xef\xbb\xbfpath,")):
        digits("classify", folder, "--out", tmp_path / "x.csv", *options)
        assert (tmp_path / "x.csv").read_bytes().startswith(start)
    assert_one_line(digits("classify", folder, "--bom", "--format", "json"), "--bom")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.org/7.png", ("web address", "download it", "curl")),
        ("HTTP://example.org/", ("web address",)),
        ("S3://pictures/x", ("s3://bucket/prefix",)),
        ("gs://pictures/x.png", ("unsupported scheme",)),
        ("file:///x/7.png", ("unsupported scheme",)),
        ("", ("empty",)),
        (" ", ("empty",)),
        ("--mutliple", ("no option", "--mutliple")),
        ("-x", ("no option",)),
        ("C:\\gone\\7.png", ("no file or folder C:\\gone\\7.png",)),
    ],
)
def test_the_error_about_an_argument_says_what_to_do(digits, address, words):
    assert_one_line(digits("classify", address, GOLDEN), *words)


def test_a_name_that_starts_with_a_minus_is_a_file(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(GOLDEN / "seven.png", "-1.png")
    done = digits("classify", "-1.png", "--multiple", "--format", "json")
    assert [(item["path"], item["text"]) for item in json.loads(done.out)] == [("-1.png", "7")]


def test_hidden_files_of_operating_systems_get_no_row(digits, folder):
    (folder / "__MACOSX").mkdir()
    (folder / "@eaDir").mkdir()
    clutter = ["._c.jpg", ".c.jpg", "Thumbs.db", "__MACOSX/c.jpg", "@eaDir/c.jpg", "~$c.png"]
    for name in clutter:
        (folder / name).write_bytes(b"no picture")
    done = digits("classify", folder, "--format", "json")
    assert [item["text"] for item in json.loads(done.out)] == ["7", "1"]


def test_a_missing_file_is_an_error_of_one_line(digits, tmp_path):
    assert_one_line(digits("classify", GOLDEN, tmp_path / "gone.png"), "no file", "gone.png")


@pytest.mark.parametrize("place", ["empty", "."])
def test_a_folder_without_images_is_an_error_of_one_line(digits, tmp_path, place):
    (tmp_path / "empty").mkdir()
    assert_one_line(digits("classify", GOLDEN, tmp_path / place), "no image")


@pytest.mark.parametrize("option", ["--out", "--explain"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("no/such/file.json", "No such file"),
        ("", "is a folder"),
        ("file/x.json", "Not a directory"),
    ],
)
def test_an_unwritable_output_is_an_error_before_anything_is_read(
    digits, tmp_path, monkeypatch, option, place, why
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("digits.classifier.Classifier.classify", None)
    assert_one_line(digits("classify", GOLDEN, option, tmp_path / place), why)


@pytest.mark.parametrize("option", ["--out", "--explain"])
def test_a_full_disk_is_an_error_of_one_line_and_leaves_no_partial_file(tmp_path, option):
    """The process may write files of at most 2 kB, so that writing fails halfway."""
    process = started(
        "classify", GOLDEN, option, tmp_path / "file.json", "--format", "json",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )  # fmt: skip
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.decode() == (
        f"Error: Cannot write {tmp_path}/file.json (File too large): choose another file.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_behind_standard_output_is_an_error_of_one_line():
    with Path("/dev/full").open("wb") as full:
        process = started("classify", GOLDEN, "--format", "json", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == b"Error: Cannot write to standard output (No space left on device).\n"


@pytest.mark.parametrize("args", [[], ["classify"], ["classify", "x", "--format", "xml"], ["what"]])
def test_invalid_arguments_exit_with_2(digits, args):
    assert digits(*args).code == 2


COMMANDS = [["classify"], ["model"]] + [
    ["model", name] for name in ("show", "verify", "list", "promote", "rollback", "diff")
]


@pytest.mark.parametrize("command", [[], *COMMANDS])
def test_every_command_has_a_usage_line(digits, command):
    done = digits(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: {' '.join(['digits', *command])} [OPTIONS]" in done.out


def every_command(group: TyperGroup, *path: str) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from every_command(command, *path, name)
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(*one, id=" ".join(one[0])) for one in every_command(get_command(app))],
)
def test_every_word_of_the_help_texts_is_shown(monkeypatch, path, command):
    """Rich would drop a placeholder in angle brackets as markup."""
    monkeypatch.setenv("TERMINAL_WIDTH", "500")
    monkeypatch.setenv("COLUMNS", "500")
    shown = "".join(CliRunner().invoke(app, [*path, "--help"]).output.split())
    texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
    for text in filter(None, texts):
        assert "".join(text.replace("`", "").replace("\f", "").split()) in shown


def test_help_imports_no_heavy_package():
    script = (
        "import sys, atexit; from digits.cli import main;"
        "heavy = {'numpy', 'ai_edge_litert', 'pydantic', 'PIL', 'boto3'};"
        "atexit.register(lambda: print('imported:', *sorted(heavy & set(sys.modules))));"
        "main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "classify" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


def test_local_files_are_classified_without_boto3():
    script = (
        "import sys; sys.modules['boto3'] = None; sys.modules['botocore'] = None;"
        f"from digits.cli import main; main(['classify', {str(GOLDEN / 'seven.png')!r}])"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize(("shape", "read"), [("json", 0), ("csv", 0), ("table", 0), ("json", 1)])
def test_a_closed_pipe_exits_with_141_and_no_stack_trace(tmp_path, shape, read):
    """The reader closes the pipe at once, or after one byte of more than a pipe can hold."""
    for number in range(3000 if read else 1):
        (tmp_path / f"{number:0250}.png").write_bytes(b"no picture")
    process = started("classify", tmp_path, "--format", shape)
    assert len(process.stdout.read(read)) == read
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


@pytest.mark.parametrize("to_file", [False, True])
def test_ctrl_c_exits_with_130_and_leaves_no_partial_file(tmp_path, to_file):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(600):
        (pictures / f"{number:04}.png").symlink_to(GOLDEN / "seven.png")
    out = tmp_path / "out.json"
    process = started(
        "classify", pictures, "--format", "json", *(["--out", out] if to_file else []), bufsize=0
    )
    if to_file:
        while not list(tmp_path.glob(".out.json.*")):
            assert process.poll() is None
    else:
        process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 2
    assert not out.exists()
    assert list(tmp_path.glob(".*")) == []


def on_a_terminal(*args):
    """Run the command line with only standard error on a terminal; return both outputs."""
    ours, theirs = pty.openpty()
    process = started(*args, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # Linux raises it if the other end is closed
        pass
    os.close(ours)
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0
    return out, shown


def test_a_progress_bar_is_shown_on_a_terminal_and_not_in_the_document():
    out, shown = on_a_terminal("classify", GOLDEN / "own", "--format", "json")
    assert b"Reading" in shown
    assert b"/10" in shown
    assert len(json.loads(out)) == 10
    assert on_a_terminal("classify", GOLDEN / "seven.png", "--format", "json")[1] == b""


def test_no_progress_bar_is_shown_without_a_terminal():
    process = started("classify", *(GOLDEN / name for name in truths()))
    assert process.communicate(timeout=60)[1] == b""


def test_memory_does_not_grow_with_the_number_of_images(digits, tmp_path):
    def peak(folders):
        for number in range(folders):
            home = tmp_path / f"{folders}" / f"{number}"
            home.mkdir(parents=True)
            for name in range(50):
                (home / f"{name}.png").write_bytes(b"no picture")
        tracemalloc.start()
        digits("classify", tmp_path / f"{folders}", "--out", tmp_path / "out.json")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)  # imports and caches are filled once
    few, many = peak(4), peak(60)
    assert len(json.loads((tmp_path / "out.json").read_text())) == 3000
    assert many < few + 100_000


@pytest.fixture
def bucket():
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="pictures")
        for key, name in {
            "scans/2026/b c+é.png": "seven.png",
            "scans/a.JPG": "one.jpg",
            "other/x.png": "six.jpg",
            "no-ending": "three.png",
        }.items():
            s3.put_object(Bucket="pictures", Key=key, Body=(GOLDEN / name).read_bytes())
        s3.put_object(Bucket="pictures", Key="scans/", Body=b"")
        s3.put_object(Bucket="pictures", Key="scans/notes.txt", Body=b"no picture")
        yield s3


def test_a_prefix_in_s3_is_read_like_a_folder(digits, bucket):
    done = digits("classify", "s3://pictures/scans/", "--format", "json")
    assert [(item["path"], item["text"]) for item in json.loads(done.out)] == [
        ("s3://pictures/scans/2026/b c+é.png", "7"), ("s3://pictures/scans/a.JPG", "1"),
    ]  # fmt: skip
    assert done.code == 0


def test_one_object_in_s3_is_read_whatever_its_extension(digits, bucket):
    done = digits("classify", "s3://pictures/no-ending", "--format", "json")
    assert [item["text"] for item in json.loads(done.out)] == ["3"]


def test_an_object_that_cannot_be_fetched_is_an_error_item(digits, bucket, monkeypatch):
    real = boto3.client

    def client(*args, **kwargs):
        s3 = real(*args, **kwargs)
        fetch = s3.get_object
        s3.get_object = lambda **asked: fetch(**asked | {"Key": asked["Key"].replace("a.J", "?")})
        return s3

    monkeypatch.setattr(boto3, "client", client)
    done = digits("classify", "s3://pictures/scans/", "--format", "json")
    assert done.code == 1
    assert [item.get("text") for item in json.loads(done.out)] == ["7", None]


def test_an_interrupted_s3_listing_does_not_end_in_valid_json(digits, bucket, monkeypatch):
    """The second listing breaks, while images are read; the first only checks for images."""
    real = boto3.client
    listed = []

    def client(*args, **kwargs):
        s3 = real(*args, **kwargs)
        pages = s3.get_paginator("list_objects_v2").paginate

        def paginate(**asked):
            listed.append(asked)
            yield from pages(**asked)
            if len(listed) > 1:
                raise EndpointConnectionError(endpoint_url="https://s3.example.org")

        s3.get_paginator = lambda _: SimpleNamespace(paginate=paginate)
        return s3

    monkeypatch.setattr(boto3, "client", client)
    done = digits("classify", "s3://pictures/scans/", "--format", "json")
    assert done.code == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.out)
    assert [item["text"] for item in json.loads(f"{done.out}]")] == ["7", "1"]
    assert "cannot be listed" in done.err


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://no-such-bucket/x", "NoSuchBucket"),
        ("s3://pictures/nothing", "no image"),
        ("s3://", "no bucket"),
    ],
)
def test_a_prefix_without_images_is_an_error_of_one_line(digits, bucket, address, words):
    assert_one_line(digits("classify", address), words)
