"""The app's batch page: the table, its downloads, and malicious or damaged zips."""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from digits.image import MAX_BYTES
from digits.results import ErrorInfo, Result
from streamlit_app import archive, correction, engine, table, typeover
from streamlit_app.api import Away
from streamlit_app.engine import Reading
from streamlit_app.samples import SAMPLES
from tests.unit.test_tabular import cells_of
from training_job import extra_data

APP = Path(__file__).parents[2] / "streamlit_app/app.py"
BROKEN = ErrorInfo(code="unreadable_image", message="Broken.")
PEN, CHALK, PENCIL, NUMBER, HARD = SAMPLES


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(APP, default_timeout=60).run().switch_page("views/batch.py").run()


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as folder:
        for name, data in files:
            folder.writestr(name, data)
    return packed.getvalue()


def items(data: bytes) -> list[tuple[str, str]]:
    """Return name and problem of every item of a zip."""
    return [(item.name, str(item.problem or "")) for item in archive.pictures([("a.zip", data)])]


def problem(data: bytes) -> str:
    ((_, words),) = items(data)
    return words


def drop(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    page.file_uploader[0].set_value([(name, data, "image/png") for name, data in files])
    page.run()
    assert not page.exception
    return page


def tables(page: AppTest) -> str:
    return "".join(json.loads(it.proto.json)["html"] for it in page.get("bidi_component"))


def test_zipped_and_single_files_become_one_table_with_doubtful_ones_first(page):
    drop(page, ("pen.jpg", PEN.data), ("more.zip", zipped(("hard.jpg", HARD.data), ("a", b"no"))))

    html = tables(page)
    places = [
        html.index(f'"name">{name}<') for name in ("more.zip/hard.jpg", "more.zip/a", "pen.jpg")
    ]
    assert places == sorted(places)
    assert html.count("<img") == 2


def test_the_filter_shows_one_group(page):
    drop(page, ("pen.jpg", PEN.data), ("hard.jpg", HARD.data))

    page.segmented_control(key="group").set_value("look").run()

    assert "hard.jpg" in tables(page)
    assert "pen.jpg" not in tables(page)


def test_the_table_is_kept_while_another_page_is_open(page):
    drop(page, ("pen.jpg", PEN.data))

    page.switch_page("views/model.py").run()
    page.switch_page("views/batch.py").run()

    assert not page.exception
    assert "pen.jpg" in tables(page)
    assert page.segmented_control(key="group").value == "all"


def test_uploaded_files_are_dropped_once_they_are_classified(page):
    drop(page, ("pen.jpg", PEN.data))

    assert page.file_uploader[0].value == []
    (row,) = page.session_state.rows
    assert len(row.picture) < 6_000


def test_an_interrupted_batch_resumes_at_the_failed_file(page, monkeypatch):
    original, read = engine.read, []

    def cut_off(name: str, *args, **kwargs):
        if name == "2.jpg" and "cut" not in read:
            read.append("cut")
            raise Away("It cannot be reached.")
        read.append(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(engine, "read", cut_off)
    drop(page, *((f"{number}.jpg", CHALK.data) for number in (1, 2, 3)))
    assert "cannot be reached" in page.error[0].value

    page.run()

    assert read == ["1.jpg", "cut", "2.jpg", "3.jpg"]
    assert [row.name for row in page.session_state.rows] == ["1.jpg", "2.jpg", "3.jpg"]


def test_the_table_shows_fifty_rows_and_more_on_request(page):
    blank = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(blank, "PNG")
    drop(page, ("all.zip", zipped(*((f"{n}.png", blank.getvalue()) for n in range(60)))))
    assert tables(page).count("<tr>") == 1 + 50

    next(button for button in page.button if "10 left" in button.label).click().run()

    assert tables(page).count("<tr>") == 1 + 60


def test_downloads_contain_every_row_in_order(classifier):
    result = classifier.classify(NUMBER.data, mode="multiple")
    rows = [Reading("=cmd().jpg", result), Reading('a,"b".png', error=BROKEN)]

    first, second = csv.DictReader(io.StringIO(table.as_csv(rows).decode("utf-8-sig")))
    assert first["file"] == "'=cmd().jpg"  # escaped, so that spreadsheets do not evaluate it
    assert (first["text"], first["needs_review"], first["error"]) == ("1998", "false", "")
    assert 0.9 < float(first["confidence"]) <= 1
    assert (second["file"], second["text"], second["error"]) == ('a,"b".png', "", "Broken.")

    cells = [Reading("a.jpg", result, truth=truth) for truth in ("=1+2", "-1+2", "-5", "12:45")]
    written = csv.DictReader(io.StringIO(table.as_csv(cells).decode("utf-8-sig")))
    assert [row["truth"] for row in written] == ["'=1+2", "'-1+2", "-5", "12:45"]

    good, bad = json.loads(table.as_json(rows))
    assert good.pop("path") == "=cmd().jpg"
    assert Result.model_validate(good, strict=False) == result
    assert bad == {"path": 'a,"b".png', "error": BROKEN.model_dump()}


def test_the_xlsx_download_comes_first_and_keeps_digits_as_text(page, classifier):
    result = classifier.classify(NUMBER.data, mode="multiple")
    rows = [
        Reading("=cmd().jpg", result, truth=truth) for truth in ("007", "1234567890123456", "-5")
    ]
    head, *cells = cells_of(io.BytesIO(table.as_xlsx(rows)))
    assert tuple(head) == table.COLUMNS
    assert [row[:3] for row in cells] == [["=cmd().jpg", "1998", row.truth] for row in rows]

    page.button[0].click().run()
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels[:3] == ["XLSX", "CSV", "JSON"]


def test_the_csv_download_starts_with_a_byte_order_mark():
    data = table.as_csv([Reading("日本.png", error=BROKEN)])
    assert data.startswith(b"\xef\xbb\xbf")
    assert "日本" in data.decode("utf-8-sig")


def test_html_in_a_file_name_is_escaped_in_the_table(classifier):
    name = "<script>alert(1)</script>.png"
    rows = [
        Reading(name, classifier.classify(PEN.data), "data:,"),
        Reading(name, error=ErrorInfo(code="x", message=name)),
    ]

    assert "<script" not in table.html(enumerate(rows))


def test_a_correction_can_be_made_and_removed(classifier):
    row = Reading("year.jpg", classifier.classify(NUMBER.data, mode="multiple"))

    corrected = table.corrected(row, " 19 93 ")

    (line,) = csv.DictReader(io.StringIO(table.as_csv([corrected]).decode("utf-8-sig")))
    assert (line["text"], line["truth"]) == ("1998", "1993")
    (document,) = json.loads(table.as_json([corrected]))
    assert (document["text"], document["truth"]) == ("1998", "1993")
    for written in ("1998", "19 98", "", "ten"):
        assert table.corrected(corrected, written) == row


def test_corrected_rows_are_read_by_training(tmp_path, classifier):
    number = classifier.classify(NUMBER.data, mode="multiple", explain="frame")
    chalk = classifier.classify(CHALK.data, mode="multiple", explain="frame")
    examples = [*correction.examples(number, "1993"), *correction.examples(chalk, "3")]
    zipfile.ZipFile(io.BytesIO(correction.archive(examples))).extractall(tmp_path)

    learnt = extra_data.load(str(tmp_path)).split

    assert "".join(map(str, learnt.y)) == "19933"
    for digit, frame in zip([*number.digits, *chalk.digits], learnt.x, strict=True):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(digit.explanation.frame))))
        assert np.abs(seen / 255 - frame[..., 0]).max() < 1 / 255


def test_the_page_offers_corrected_rows_as_a_training_download(page):
    drop(page, ("chalk.jpg", CHALK.data), ("year.jpg", NUMBER.data))
    assert not [button for button in page.get("download_button") if "training" in button.label]
    rows = page.session_state.rows

    rows[:] = [table.corrected(rows[0], "3"), table.corrected(rows[1], "19")]
    page.run()

    assert not page.exception
    html = "".join(element.proto.body for element in page.get("html"))
    assert "2 answers corrected" in html
    assert any("In 1 picture " in caption.value for caption in page.caption)
    assert [b.label for b in page.get("download_button")][-1] == "Download for training"


def test_the_typeover_component_accepts_only_a_row_and_a_text():
    assert typeover.decoded({"place": 3, "written": "7"}) == (3, "7")
    for nonsense in (
        None,
        "7",
        {"place": "3", "written": "7"},
        {"place": 3},
        {"place": 3, "written": 7},
    ):
        assert typeover.decoded(nonsense) is None


def test_paths_in_a_zip_are_used_only_as_names():
    names = ["../../etc/passwd", "/etc/passwd", "C:\\x.png", "deep/down/x.png"]

    assert [name for name, _ in items(zipped(*((name, b"x") for name in names)))] == [
        "a.zip/../../etc/passwd", "a.zip//etc/passwd", "a.zip/C:/x.png", "a.zip/deep/down/x.png"
    ]  # fmt: skip


def test_metadata_files_of_operating_systems_are_skipped():
    beside = [
        "__MACOSX/._a.png", "._a.png", ".DS_Store", "folder/", "folder/.hidden", "Thumbs.db",
        "scans/thumbs.db", "desktop.ini", "scans\\Desktop.ini", "@eaDir/a.png", "~$a.png",
        "$RECYCLE.BIN/a.png", "Icon\r", "scans\\",
    ]  # fmt: skip

    assert items(zipped(*((name, b"") for name in beside), ("a.png", b"x"))) == [
        ("a.zip/a.png", "")
    ]


def test_backslashes_in_a_zip_are_path_separators():
    """.NET's ZipFile, which PowerShell 5 uses, wrote such paths until 4.6.1."""
    packed = zipped(("scans\\", b""), ("scans\\old\\7.png", b"x"))

    assert items(packed) == [("a.zip/scans/old/7.png", "")]


def test_a_utf_8_name_without_its_flag_is_decoded_as_utf_8():
    packed = zipped(("a\u0308_日.png", b"x"))
    undeclared = bytearray(packed)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = undeclared.index(mark) + flags
        assert undeclared[at + 1] & 8
        undeclared[at + 1] &= ~8

    assert items(bytes(undeclared)) == items(packed) == [("a.zip/a\u0308_日.png", "")]


def as_zip64(data: bytes) -> bytes:
    """Add ZIP64's two end records, which programs write that do not know the size in advance."""
    at = data.rindex(b"PK\x05\x06")
    _, _, _, _, entries, size, offset, _ = struct.unpack_from("<4s4H2LH", data, at)
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + record + locator + end


def test_an_archive_with_zip64_records_is_read():
    packed = zipped(("a.png", PEN.data), ("b.png", b"x"))

    assert items(as_zip64(packed)) == items(packed)
    assert len(items(packed)) == 2


def test_a_zip_of_exported_corrections_can_be_uploaded_again(classifier):
    result = classifier.classify(PEN.data, mode="multiple", explain="frame")
    packed = correction.archive(correction.examples(result, "7", PEN.data))

    (item,) = archive.pictures([("correction.zip", packed)])
    assert item.data == PEN.data


def test_a_zip_bomb_is_refused_within_the_memory_of_one_picture():
    bomb = zipped(("bomb.png", b"\0" * (200 * 2**20)))
    assert len(bomb) < 2**20

    tracemalloc.start()
    try:
        words = problem(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "more than 20 MB" in words
    assert peak < 3 * MAX_BYTES


def test_a_forged_uncompressed_size_is_refused():
    honest = zipped(("bomb.png", b"\0" * (MAX_BYTES + 5)))
    at = honest.rindex(b"PK\x01\x02")
    lying = bytearray(honest)
    struct.pack_into("<L", lying, at + 24, 10)  # the uncompressed size in the directory

    assert problem(bytes(lying))  # truncated or refused, never unpacked completely


def test_a_nested_zip_is_refused():
    assert "zip in a zip" in problem(zipped(("inner.png", zipped(("a.png", b"x")))))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:4] + b"\xff" * 40 + data[44:],
        lambda data: data[:4] + b"nonsense",
        lambda data: data.replace(b"PK\x01\x02", b"PK\x09\x09"),
    ],
)
def test_a_corrupt_zip_is_reported(spoil: Callable[[bytes], bytes]):
    assert "broken" in problem(spoil(zipped(("a.png", PEN.data))))


@pytest.mark.parametrize("end", [bytes, as_zip64])
def test_a_zip_with_too_many_entries_is_refused(monkeypatch, end):
    packed = zipped(*((f"{number}.png", b"x") for number in range(11)))

    assert len(items(end(packed))) == 11
    monkeypatch.setattr(archive, "_MOST_ENTRIES", 10)
    assert "far too many" in problem(end(packed))


def test_a_forged_directory_size_is_reported_as_corrupt():
    data = bytearray(zipped(("a.png", b"x")))
    struct.pack_into("<L", data, data.rindex(b"PK\x05\x06") + 12, 64 * 2**20)

    assert "broken" in problem(bytes(data))


def test_encrypted_and_unsupported_zips_are_reported():
    locked = bytearray(zipped(("a.png", b"x")))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1

    assert "password" in problem(bytes(locked))
    assert "plain zip" in problem(zipped(("a.png", b"x"), method=zipfile.ZIP_LZMA))


def test_the_last_item_reports_that_a_limit_is_reached(monkeypatch):
    def loose() -> Iterator[tuple[str, bytes]]:
        for number in range(10):
            yield f"{number}.png", b"12345"

    monkeypatch.setattr(archive, "MOST", 3)
    assert [item.name for item in archive.pictures(loose())] == ["0.png", "1.png", "2.png", "3.png"]
    monkeypatch.setattr(archive, "MOST_BYTES", 12)
    *read, last = archive.pictures(loose())
    assert len(read) == 2
    assert "From here on nothing is read" in str(last.problem)
