"""The benchmark of pages: scores, figures, and the truth of its rendered pages."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks import mnist, page_samples, pages, shares, side_by_side
from benchmarks.page_samples import KINDS, PageSample
from benchmarks.page_scores import distance, score
from benchmarks.pages import OURS, REFERENCE, PageResult, ReaderOutput
from benchmarks.references import pp_ocr
from training_job.synthesis import marks

SMALL = ("lines", "signs", "faint", "form", "sizes")  # pages with digits, drawn in no time


@pytest.fixture(scope="module", autouse=True)
def _small_banks():
    """Shrink the banks of drawings, which take seconds to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_DRAWN", 60)
        patch.setattr(marks, "_WORDS", 2)
        patch.setattr(marks, "_SIGNS_EACH", 2)
        marks._bank.cache_clear()
        yield
    marks._bank.cache_clear()


def _drawn(kind: str, number: int) -> page_samples.DrawnPage:
    return page_samples._PAGES[kind].draw(np.random.default_rng([number, *kind.encode()]))


@pytest.mark.parametrize(
    ("truth", "text", "exact", "strict", "edits"),
    [
        ("12\n34", "12\n34", True, True, 0),
        ("12\n34", "1234", True, True, 0),  # line breaks do not count
        ("12\n34", "34\n12", False, False, 4),  # their order does
        ("3?14", "3.14", True, True, 0),  # ? is any sign
        ("3.14", "3?14", True, True, 0),  # a sign may be read as ?
        ("3.14", "3.14", True, True, 0),
        ("3.14", "3-14", True, False, 0),  # and not as another one
        ("3.14", "314", True, False, 0),
        ("314", "3?14", True, False, 0),
        ("3?14", "3714", False, False, 1),
        ("3?14", "?314", True, False, 0),
        ("12", "1", False, False, 1),
        ("12", "", False, False, 2),
        ("111", "1", False, False, 2),
        ("1", "2347", False, False, 4),
    ],
)
def test_a_reading_is_scored_by_digits_and_by_signs_in_their_place(
    truth, text, exact, strict, edits
):
    found = score(truth, text, accepted=True)
    assert (found.exact, found.strict, found.edits) == (exact, strict, edits)
    assert found.digits == sum(one.isdigit() for one in truth)
    assert found.accepted_error is not strict
    assert not score(truth, text, accepted=False).accepted_error


@pytest.mark.parametrize("text", ["", "0", "?"])
def test_without_digits_every_accepted_reading_is_an_error(text):
    assert score("", text, accepted=True).accepted_error
    assert not score("", text, accepted=False).accepted_error
    assert score("", text, accepted=False).exact == (text != "0")


def test_distance_counts_insertions_deletions_and_replacements():
    assert distance("kitten", "sitting") == 3
    assert distance("", "12") == distance("12", "") == 2
    assert distance("1234", "234") == 1


def test_the_interval_of_a_share_is_wilsons():
    low, high = shares.wilson(8, 38)  # R: binom::binom.wilson(8, 38)
    assert (round(low, 4), round(high, 4)) == (0.1107, 0.3635)
    assert shares.wilson(0, 10)[0] == 0
    assert shares.wilson(10, 10)[1] == pytest.approx(1)


def test_a_strip_is_mnists_test_digits_side_by_side():
    images, labels = mnist.test_images()
    lengths = set()
    for number in range(12):
        sample = page_samples.sample("strip", number)
        with Image.open(io.BytesIO(sample.data)) as file:
            pixels = np.asarray(file)
        assert pixels.shape == (28, 28 * len(sample.text))
        for digit, text in zip(np.hsplit(pixels, len(sample.text)), sample.text, strict=True):
            (same,) = np.flatnonzero((images == digit).all(axis=(1, 2)))
            assert str(labels[same]) == text
        lengths.add(len(sample.text))
    assert len(lengths) > 4
    assert lengths <= set(range(5, 41))


@pytest.mark.parametrize(("kind", "lines"), [("a4", 20), ("hundred", 10)])
def test_a_large_page_holds_lines_of_ten_digits_in_twelve_megapixels(kind, lines):
    page, text = _drawn(kind, 1)
    assert page.ink.shape == (4032, 3024)
    assert [len(line) for line in text.split("\n")] == [10] * lines
    assert text.replace("\n", "").isdigit()
    rows = (page.ink > 0.3).sum(axis=1)
    # Where the baselines are, most rows of pixels are inked; between the lines few are.
    inked = rows > 0.25 * np.percentile(rows[rows > 0], 90)
    middles = np.flatnonzero(np.diff(np.flatnonzero(inked)) > 8)
    assert len(middles) + 1 == lines


@pytest.mark.parametrize("kind", SMALL)
def test_the_truth_is_what_was_written_and_nothing_is_cut_off(kind):
    for number in range(8):
        page, text = _drawn(kind, number)
        assert "".join(page.texts) == text.replace("\n", "")
        assert all(text.split("\n"))
        owners = np.unique(page.owner)
        assert set(range(1, len(page.texts) + 1)) - set(owners.tolist()) == set()
        edge = max(2, round(0.02 * max(page.ink.shape)))
        inner = page.ink[edge:-edge, edge:-edge]
        assert (page.ink > 0.3).sum() == (inner > 0.3).sum()


def test_lines_of_a_note_are_the_lines_of_its_truth():
    counts = set()
    for number in range(20):
        page, text = _drawn("lines", number)
        lines = text.split("\n")
        counts.add(len(lines))
        ends = np.cumsum([len(line) for line in lines])
        starts = ends - [len(line) for line in lines]
        middles = [
            np.mean([np.flatnonzero((page.owner == it + 1).any(axis=1)).mean()
                     for it in range(start, end)])
            for start, end in zip(starts, ends, strict=True)
        ]  # fmt: skip
        assert middles == sorted(middles)
    assert counts <= set(range(1, 9))
    assert len(counts) > 3


def test_every_line_of_signs_has_one_between_digits():
    for number in range(15):
        _, text = _drawn("signs", number)
        assert all(line[0].isdigit() and line[-1].isdigit() for line in text.split("\n"))
        assert all(set(line) & set(marks.SIGNS) for line in text.split("\n"))


def test_sizes_reach_from_one_to_eight():
    for number in range(5):
        page, _ = _drawn("sizes", number)
        spans = [np.argwhere(page.owner == it + 1) for it in range(len(page.texts))]
        sides = [max(np.ptp(span, axis=0) + 1) for span in spans]
        assert max(sides) / min(sides) > 5.5


def test_forms_have_print_that_is_not_in_the_truth_and_empty_cells():
    for number in range(10):
        page, text = _drawn("form", number)
        assert page.printed.max() > 0.3
        assert text.replace("\n", "").isdigit()


def test_the_darkest_pixels_of_pencil_are_far_from_black(monkeypatch):
    monkeypatch.setattr(page_samples, "_LIGHTS", {"even": 1.0})
    kind = page_samples._PAGES["faint"]
    camera = replace(kind.camera, noise=(0, 0), inside=0.95)  # without what the page lies on
    darkest = []
    for number in range(3):
        rng = np.random.default_rng(number)
        page, _ = kind.draw(rng)
        grey = np.asarray(page_samples._photographed(page, camera, rng).convert("L"), float)
        # Not the very darkest: where a stroke crosses a ruling line both take of the light.
        darkest.append(np.percentile(grey, 0.1) / np.median(grey))
    assert min(darkest) > 0.5
    assert max(darkest) < 0.8


@pytest.mark.parametrize("kind", ["doodles", "doodles, single", "empty"])
def test_pages_for_accepted_errors_have_no_digits(kind):
    sample = page_samples.sample(kind, 3)
    assert sample.text == ""
    assert sample.mode == ("multiple" if kind == "doodles" else "single")
    page, _ = _drawn(kind, 3)
    assert (page.ink.max() > 0.5) == (kind != "empty")
    assert not any(page.texts)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"a4", "hundred"}])
def test_a_kind_and_a_number_always_give_the_same_picture(kind):
    one, same, other = (page_samples.sample(kind, number) for number in (4, 4, 5))
    assert one == same
    assert one.data != other.data
    assert one.kind == kind


def test_marks_are_those_that_are_held_out(monkeypatch):
    held = []

    def digit(height, rng, held_out):
        held.append(held_out)
        return marks.DrawnMark(
            np.ones((round(height), max(2, round(height / 8))), np.float32), "1", 0
        )

    monkeypatch.setattr(page_samples, "_LIKE", 100)
    monkeypatch.setattr(marks, "digit", digit)
    for kind in SMALL:
        _drawn(kind, 0)
    assert len(held) > 10
    assert all(held)


@pytest.mark.parametrize("degrees", [-9, 0, 9])
def test_the_references_boxes_are_read_in_lines_even_if_slanted(degrees):
    angle = np.radians(degrees)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    box = np.array([[0, 0], [200, 0], [200, 40], [0, 40]], float)
    lines = (
        ("1", 0, 0),
        ("2", 300, 9),
        ("3", 600, -8),
        ("4", 0, 60),
        ("5", 300, 66),
        ("6", 9, 130),
    )
    texts, x, y = zip(*(lines[place] for place in (2, 5, 0, 4, 1, 3)), strict=True)
    boxes = np.array([(box + place) @ turned for place in zip(x, y, strict=True)])
    assert pp_ocr.in_lines(boxes, texts) == "123\n45\n6"
    assert pp_ocr.in_lines(np.zeros((0, 4, 2)), ()) == ""


def _result(truth: str, text: str, *, reader: str = OURS, seconds: float = 1) -> PageResult:
    return PageResult(
        PageSample("a kind", b"", truth), reader, ReaderOutput(text, reader == OURS, seconds)
    )


def test_figures_are_counted_by_kind_and_reader_with_the_ratio_of_their_times():
    results = [
        _result("12", "12", seconds=1),
        _result("12", "12", reader=REFERENCE, seconds=2),
        _result("34", "3", seconds=1),
        _result("34", "34", reader=REFERENCE, seconds=10),
    ]
    ours, reference = pages._figures(results, together=False)
    assert ours == {
        "kind": "a kind", "reader": OURS, "pictures": 2, "exact": 1, "strict": 1, "accepted": 2,
        "accepted_errors": 1, "edits": 1, "digits": 4, "seconds": 1, "ratio": 0.3,
    }  # fmt: skip
    assert reference["exact"] == 2
    assert "ratio" not in reference
    assert [row["kind"] for row in pages._figures(results, together=True)][2:] == ["all", "all"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.side_by_side, "on_one_core", lambda: None)  # of the whole session
    folder = tmp_path / "numbers"
    folder.mkdir()
    monkeypatch.setattr(side_by_side, "RECORDS", tmp_path / "records")
    images, labels = mnist.test_images()
    (folder / "one.png").write_bytes(mnist.png(images[0]))
    (folder / "two.png").write_bytes(b"no picture")
    rows = [f"one.png,{labels[0]},tiny", "two.png,12\\n3?4,photo"]
    (folder / "labels.csv").write_text("\n".join(["file,truth,kind", *rows]) + "\n")
    return folder


def test_a_folder_of_real_pictures_is_read_scored_and_recorded_apart(folder, tmp_path):
    sheet = tmp_path / "sheet.png"
    arguments = ["--real", str(folder), "--record", "--sheet", str(sheet)]
    done = CliRunner().invoke(_app(), arguments)
    assert done.exit_code == 0, done.output
    figures = side_by_side.latest("pages-real-numbers")
    assert figures is not None
    assert figures["title"] == "real pictures: numbers"
    by_kind = {row["kind"]: row for row in figures["rows"]}
    assert set(by_kind) == {"tiny", "photo", "all"}
    assert (by_kind["tiny"]["exact"], by_kind["tiny"]["digits"]) == (1, 1)
    assert (by_kind["photo"]["edits"], by_kind["photo"]["accepted"]) == (4, 0)
    assert by_kind["all"]["pictures"] == 2
    assert side_by_side.latest("pages") is None
    assert str(tmp_path) not in str(figures)
    assert sheet.exists()  # though one of them is no picture
    told = CliRunner().invoke(_app(), ["--recorded"])
    assert told.exit_code == 0


def test_rendered_pages_are_read_and_the_failures_drawn(folder, tmp_path):
    sheet = tmp_path / "sheet.png"
    arguments = ["--kind", "empty", "--kind", "strip", "--count", "2", "--sheet", str(sheet)]
    done = CliRunner().invoke(_app(), arguments)
    assert done.exit_code == 0, done.output
    with Image.open(sheet) as drawn:
        assert drawn.width == pages._SIDE * pages._COLUMNS
    assert side_by_side.latest("pages") is None
    unknown = CliRunner().invoke(_app(), ["--kind", "poems"])
    assert unknown.exit_code == 2


def _app():
    import typer

    app = typer.Typer()
    app.command()(pages.main)
    return app
