"""Synthetic scenes: the truth of their pixels, and the separation of held-out sources."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from digits.morphology import extreme, padded
from digits.recognition.outputs import BACKGROUND, DIGIT, KINDS, MARK, PAPER, PRINT
from training_job import glyphs, synthetic_photos
from training_job.synthesis import __main__ as command
from training_job.synthesis import marks, pages, photographs, printed
from training_job.synthesis.photographs import SyntheticScene, scene
from training_job.synthesis.snapshots import snapshot


@pytest.fixture(scope="module", autouse=True)
def _small_banks():
    """Shrink the banks of drawings, which take seconds to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_DRAWN", 20)
        patch.setattr(marks, "_WORDS", 6)
        patch.setattr(marks, "_SIGNS_EACH", 2)
        marks._bank.cache_clear()
        yield
    marks._bank.cache_clear()


@pytest.fixture(scope="module")
def scenes(_small_banks) -> list[SyntheticScene]:
    return [scene(seed, 128) for seed in range(80)]


def test_a_seed_gives_the_same_scene_and_another_one_another():
    one, same, other = scene(5, 96), scene(5, 96), scene(6, 96)
    for name in ("grey", "kind", "owner"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.texts == same.texts
    assert not np.array_equal(one.grey, other.grey)


def test_a_held_out_scene_differs():
    assert not np.array_equal(scene(5, 96).grey, scene(5, 96, held_out=True).grey)


def test_every_owner_has_a_text_and_is_a_digit_or_another_mark(scenes):
    seen = set()
    for one in scenes:
        assert one.owner.max() <= len(one.texts)
        for number in np.unique(one.owner[one.owner > 0]):
            text = one.texts[number - 1]
            kinds = set(one.kind[one.owner == number].tolist())
            assert kinds == {DIGIT if text.isdigit() else MARK}
            assert text == "" or text in "0123456789" + marks.SIGNS
            seen |= kinds
    assert seen == {DIGIT, MARK}


def test_handwriting_alone_has_an_owner_and_every_kind_occurs(scenes):
    kinds = set()
    for one in scenes:
        assert one.grey.shape == one.kind.shape == one.owner.shape == (128, 128)
        np.testing.assert_array_equal(one.owner > 0, np.isin(one.kind, (DIGIT, MARK)))
        kinds |= set(np.unique(one.kind).tolist())
    assert kinds == set(range(KINDS)) == {PAPER, DIGIT, MARK, PRINT, BACKGROUND}


def test_a_page_without_handwriting_has_no_owner(monkeypatch):
    monkeypatch.setattr(pages, "_LAYOUTS", ((pages._print_alone, 1.0),))
    for seed in range(12):
        one = scene(seed, 96)
        assert one.texts == ()
        assert not one.owner.any()
        assert not np.isin(one.kind, (DIGIT, MARK)).any()


@pytest.mark.parametrize("layout", [layout for layout, _ in pages._LAYOUTS])
def test_ink_and_print_lie_on_the_sheet_and_ink_has_its_owner(layout, monkeypatch):
    monkeypatch.setattr(pages, "_LAYOUTS", ((layout, 1.0),))
    for seed in range(6):
        page = pages.page(192, 24.0, np.random.default_rng(seed), held_out=False)
        assert page.owner.max(initial=0) <= len(page.texts)
        np.testing.assert_array_equal(page.owner > 0, page.ink > pages.INKED)
        beyond = page.sheet == 0
        assert not page.ink[beyond].any()
        assert not page.printed[beyond].any()
        for plane in (page.ink, page.printed):
            assert 0 <= plane.min() <= plane.max() <= 1


def test_more_marks_than_a_byte_counts_keep_their_owners():
    page = pages.PageLayers.blank(384)
    dot = marks.DrawnMark(np.ones((3, 3), np.float32), "1", 0)
    for number in range(600):
        page.write(dot, 12 * (number % 30) + 10, 12 * (number // 30) + 10)
    for seed in range(20):
        owner = photographs._warped(page, 256, np.random.default_rng(seed)).owner
        assert owner.max() > 255
        for number in np.unique(owner[owner > 0]):
            rows, columns = np.nonzero(owner == number)
            assert max(np.ptp(rows), np.ptp(columns)) < 10


@pytest.mark.parametrize(("left", "top"), [(-9, 5), (5, -9), (70, 5), (5, 70), (-30, -30)])
def test_marks_outside_a_page_are_cropped(left, top):
    page = pages.PageLayers.blank(64)
    page.write(marks.DrawnMark(np.ones((10, 10), np.float32), "1", 0), left, top)
    page.print(np.ones((10, 10), np.float32), left, top)
    inside = max(0, min(10 + left, 10, 64 - left)) * max(0, min(10 + top, 10, 64 - top))
    assert np.count_nonzero(page.ink) == np.count_nonzero(page.printed) == inside
    assert len(page.texts) == (inside > 0)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_scene_holds_either_what_is_held_out_or_what_is_trained_with(held_out, monkeypatch):
    asked = set()
    kept = marks._bank(held_out)

    def bank(held_out):
        asked.add(("bank", held_out))
        return kept

    monkeypatch.setattr(marks, "_bank", bank)
    for module, name in (
        (glyphs, "load"), (synthetic_photos, "random_digit"), (glyphs, "by_typeface"),
    ):  # fmt: skip
        draw = getattr(module, name)

        def noted(*args, held_out, draw=draw, name=f"{module.__name__}.{name}", **kwargs):
            asked.add((name, held_out))
            return draw(*args, held_out=held_out, **kwargs)

        monkeypatch.setattr(module, name, noted)
    printed._typefaces.cache_clear()
    marks._typed.cache_clear()
    for seed in range(40):
        scene(seed, 96, held_out)
    assert {flag for _, flag in asked} == {held_out}
    assert {name.rpartition(".")[2] for name, _ in asked} == {"bank", "random_digit", "by_typeface"}


def test_banks_and_typefaces_of_both_kinds_have_nothing_in_common():
    trained, held_out = (
        {drawing.tobytes() for drawing, _ in marks._bank(flag).digits} for flag in (False, True)
    )
    assert trained and held_out and not trained & held_out
    trained, held_out = (set(glyphs.by_typeface(held_out=flag)) for flag in (False, True))
    assert trained and held_out and not trained & held_out
    assert len(printed._typefaces(True)) >= 5
    for digits in (True, False):
        trained, held_out = (
            {drawing.tobytes() for drawing, _ in marks._typed(flag, digits=digits)}
            for flag in (False, True)
        )
        assert trained and held_out and not trained & held_out


@pytest.mark.parametrize("held_out", [False, True])
def test_no_typeface_is_both_printed_and_handwritten(held_out):
    printed_ones = {
        drawing.tobytes() for face in printed._typefaces(held_out) for drawing in face.values()
    }
    by_hand = {
        drawing.tobytes()
        for digits in (True, False)
        for drawing, _ in marks._typed(held_out, digits=digits)
    }
    assert printed_ones and by_hand and not printed_ones & by_hand


def test_a_contact_sheet_shows_each_scene_beside_its_truth(tmp_path):
    Image.new("RGB", (50, 30), "red").save(tmp_path / "real.png")
    arguments = [str(tmp_path / "sheet.png"), "--count", "3", "--side", "96"]
    app = command.typer.Typer()
    app.command()(command.main)
    done = CliRunner().invoke(app, [*arguments, "--beside", str(tmp_path)])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 200, 2 * 200)
        assert sheet.getpixel((10, 210)) == (255, 0, 0)


def test_the_truth_is_in_colours_and_neighbours_differ():
    kind = np.array([[PAPER, DIGIT, DIGIT, MARK, PRINT, BACKGROUND]], np.uint8)
    owner = np.array([[0, 1, 2, 3, 0, 0]], np.uint16)
    picture = command.truth(SyntheticScene(np.zeros_like(kind), kind, owner, ("1", "2", "+")))
    assert len(set(picture.getdata())) == 6


class TestSnapshots:
    def test_a_seed_gives_the_same_scene_and_a_held_out_one_differs(self):
        one, same, other = snapshot(5), snapshot(5), snapshot(5, held_out=True)
        for name in ("grey", "kind", "owner"):
            np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert one.texts == same.texts
        assert not np.array_equal(one.grey, other.grey)

    def test_their_truth_is_of_their_pixels(self):
        heights, seen = [], set()
        for seed in range(40):
            one = snapshot(seed, 128)
            assert one.grey.shape == one.kind.shape == one.owner.shape == (128, 128)
            assert (one.grey.dtype, one.kind.dtype, one.owner.dtype) == (
                np.uint8, np.uint8, np.uint16,
            )  # fmt: skip
            assert one.owner.max() <= len(one.texts)
            np.testing.assert_array_equal(one.kind == PAPER, one.owner == 0)
            for number in np.unique(one.owner[one.owner > 0]):
                text = one.texts[number - 1]
                kinds = set(one.kind[one.owner == number].tolist())
                assert kinds == {DIGIT if text.isdigit() else MARK}
                seen |= kinds
                heights.append(int(np.ptp(np.nonzero(one.owner == number)[0])) + 1)
        assert seen == {DIGIT, MARK}
        assert min(heights) < 20
        assert max(heights) > 60

    def test_ink_differs_from_the_paper_beside_it(self):
        apart = []
        for seed in range(40):
            one = snapshot(seed)
            ink = one.owner > 0
            if ink.any():
                near = extreme(padded(ink, 4), 9, np.logical_or) & ~ink
                apart.append(abs(float(one.grey[ink].mean()) - float(one.grey[near].mean())))
        assert np.median(apart) > 25
