"""A glyph is normalised like MNIST's digits on any paper, with any ink, light and neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from digits.recognition import normalisation
from digits.recognition.glyphs import Glyph, Level
from digits.recognition.normalisation import (
    FIT,
    SIDE,
    already_normal,
    box_of,
    frame_and_contrast,
    frame_of,
    frame_of_strokes,
)

PAPER, INK = 210, 60


def strokes(width: int = 8, times: int = 1) -> np.ndarray:
    """A seven on a level of 96 by 96 pixels, or `times` that, its strokes `width` wide: bool."""
    image = Image.new("1", (96 * times, 96 * times))
    draw = ImageDraw.Draw(image)
    points = [(x * times, y * times) for x, y in ((30, 25), (65, 25), (45, 75))]
    draw.line(points, fill=1, width=width * times, joint="curve")
    return np.asarray(image)


def glyph_of(
    own: np.ndarray, grey: np.ndarray, *, others: np.ndarray | None = None,
    printed: np.ndarray | None = None,
) -> Glyph:  # fmt: skip
    """The glyph whose ink is `own`, on a level on which the network sees all ink as it is."""
    no = np.zeros(own.shape, np.bool_)
    others, printed = (no if one is None else one for one in (others, printed))
    handwriting, print_ = (
        np.where(one, 255, 0).astype(np.uint8) for one in (own | others, printed)
    )
    owner = np.full(own.shape, -1, np.int16)
    owner[own], owner[others] = 3, 4
    blank = np.zeros(own.shape, np.uint8)
    level = Level(grey.astype(np.uint8), 1.0, handwriting, handwriting, print_, blank, owner)
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    mask = own[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Glyph(level, int(columns[0]), int(rows[0]), mask, (3,), 1.0, 1.0)


def written(own: np.ndarray, paper: float | np.ndarray = PAPER, ink: float = INK) -> np.ndarray:
    return np.where(own, ink, paper)


PLAIN = frame_of(glyph_of(strokes(), written(strokes())))


class TestNormalisedFrames:
    def test_they_are_scaled_and_centred_as_mnists(self):
        assert PLAIN.shape == (SIDE, SIDE)
        assert PLAIN.dtype == np.float32
        assert (PLAIN.min(), PLAIN.max()) == (0, 1)
        rows, columns = np.flatnonzero(PLAIN.any(1)), np.flatnonzero(PLAIN.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == FIT
        middle = np.array(normalisation._centre_of_mass(PLAIN))
        assert np.abs(middle - SIDE / 2).max() <= 0.5

    def test_dark_on_light_and_light_on_dark_give_the_same(self):
        light = frame_of(glyph_of(strokes(), 255 - written(strokes())))
        np.testing.assert_allclose(light, PLAIN, atol=0.01)

    @pytest.mark.parametrize("ink", [190, 120, 0])
    def test_faint_ink_gives_the_same_as_dark(self, ink):
        frame = frame_of(glyph_of(strokes(), written(strokes(), ink=ink)))
        np.testing.assert_allclose(frame, PLAIN, atol=0.01)

    @pytest.mark.parametrize("across", [-1.0, 1.0])
    def test_a_gradient_of_light_does_not_matter(self, across):
        y, x = np.mgrid[:96, :96]
        paper = PAPER + across * (x - 48) * 0.8 - (y - 48) * 0.4
        light = (paper / PAPER).clip(0, 255 / PAPER)
        frame = frame_of(glyph_of(strokes(), written(strokes(), PAPER * light, INK * light)))
        np.testing.assert_allclose(frame, PLAIN, atol=0.05)

    @pytest.mark.parametrize("upright", [True, False])
    @pytest.mark.parametrize("place", [42, 48, 55])
    def test_the_edge_of_a_shadow_does_not_change_shape_or_grain(self, upright, place):
        """Beyond the edge the frame's strokes are fainter, which may move the centre of mass."""
        light = np.ones((96, 96))
        light[:, place:] = 0.6
        paper = PAPER * (light if upright else light.T)
        glyph = glyph_of(strokes(), np.where(strokes(), paper * INK / PAPER, paper))
        frame, contrast = frame_and_contrast(glyph)
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        assert min(np.abs(np.roll(frame, by, (0, 1)) - PLAIN).mean() for by in shifts) < 0.04
        assert contrast > 30

    def test_contrast_is_in_deviations_of_the_papers_grain(self):
        noise = np.random.default_rng(0).normal(size=(96, 96))
        fine, coarse = (
            frame_and_contrast(glyph_of(strokes(), written(strokes(), PAPER + grain * noise)))[1]
            for grain in (4, 12)
        )
        assert fine == pytest.approx((PAPER - INK) / 4, rel=0.15)
        assert coarse == pytest.approx((PAPER - INK) / 12, rel=0.15)

    def test_size_and_place_do_not_matter(self):
        large = np.roll(strokes(times=2), (-20, 33), (0, 1))
        frame = frame_of(glyph_of(large, written(large)))
        assert np.abs(frame - PLAIN).mean() < 0.03

    def test_other_glyphs_are_left_out(self):
        others = np.zeros((96, 96), np.bool_)
        others[40:70, 28:38] = others[30:80, 70:76] = True  # inside the glyph's box and beside it
        others[50:60] |= np.roll(strokes(), 4, 1)[50:60]  # and touching it
        others &= ~strokes()
        glyph = glyph_of(strokes(), written(strokes() | others), others=others)
        np.testing.assert_allclose(frame_of(glyph), PLAIN, atol=0.01)

    def test_print_is_left_out(self):
        printed = np.zeros((96, 96), np.bool_)
        printed[60:62] = printed[:, 38:40] = True  # of squared paper
        printed &= ~strokes()
        glyph = glyph_of(strokes(), written(strokes() | printed, ink=20), printed=printed)
        np.testing.assert_allclose(frame_of(glyph), PLAIN, atol=0.05)

    def test_a_glyph_at_the_border_of_its_level_has_a_frame(self):
        rows, columns = np.flatnonzero(strokes().any(1)), np.flatnonzero(strokes().any(0))
        window = slice(rows[0], 96), slice(columns[0], 96)
        cut = strokes()[window]
        np.testing.assert_allclose(frame_of(glyph_of(cut, written(cut))), PLAIN, atol=0.01)

    def test_a_glyph_without_paper_around_it_has_a_frame(self):
        full = np.ones((16, 16), np.bool_)
        frame = frame_of(glyph_of(full, np.full((16, 16), 100)))
        assert np.isfinite(frame).all()

    @pytest.mark.parametrize("width", [1, 2])
    def test_thin_strokes_are_thickened(self, width):
        thin = strokes(width)
        frame = frame_of(glyph_of(thin, written(thin)))
        assert 2 <= (frame[14] > 0.5).sum() <= 4  # across the slanting stroke

    def test_wide_strokes_are_not_thickened(self):
        wide = normalisation._stroke_shape(
            np.where(strokes(14), np.float32(0.8), np.float32(0)), strokes(14),
            np.zeros_like(strokes()),
        )  # fmt: skip
        np.testing.assert_array_equal(wide > 0.5, strokes(14))

    def test_strokes_without_a_picture_give_the_same(self):
        own = strokes()
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        cut = own[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.testing.assert_allclose(frame_of_strokes(cut.astype(np.float32)), PLAIN, atol=0.01)


class TestAlreadyNormal:
    NORMAL = np.round(PLAIN * 255).astype(np.uint8)

    @pytest.mark.parametrize("turned", [False, True])
    def test_a_picture_normalised_like_mnists_is_unchanged_in_either_polarity(self, turned):
        found = already_normal(255 - self.NORMAL if turned else self.NORMAL)
        assert found is not None
        frame, (left, top, width, height) = found
        np.testing.assert_array_equal(frame, self.NORMAL / np.float32(255))
        y, x = np.nonzero(self.NORMAL > 32)
        assert (left, top) == (x.min(), y.min())
        assert (left + width, top + height) == (x.max() + 1, y.max() + 1)

    @pytest.mark.parametrize(
        "grey",
        [
            pytest.param(np.pad(NORMAL, 1), id="of another size"),
            pytest.param(NORMAL // 2, id="without full contrast"),
            pytest.param(np.maximum(NORMAL, 20), id="on a background that is not black"),
            pytest.param(np.roll(NORMAL, 3, 1), id="not centred"),
            pytest.param(np.zeros((28, 28), np.uint8), id="blank"),
        ],
    )
    def test_other_pictures_are_not_already_normal(self, grey):
        assert already_normal(grey) is None

    def test_a_picture_with_larger_ink_is_not_already_normal(self):
        large = np.zeros((28, 28), np.uint8)
        large[3:25, 12:16] = 255
        assert already_normal(large) is None


@pytest.mark.parametrize("width", [2, 4, 9])
def test_the_width_of_a_straight_stroke(width):
    mask = np.ones((width, 200), np.bool_)
    assert normalisation.stroke_width(mask) == pytest.approx(width * 4 / np.pi, rel=0.06)


class TestBoxes:
    @staticmethod
    def seen(paper: float | np.ndarray = PAPER, ink: float = INK) -> tuple[Glyph, np.ndarray]:
        """A glyph on a level, its ink one pixel too wide there, and a view four times finer."""
        fine = written(strokes(times=4), paper, ink).astype(np.uint8)
        level = np.asarray(Image.fromarray(fine).resize((96, 96), Image.Resampling.BOX))
        wide = np.asarray(
            Image.fromarray(strokes().astype(np.uint8)).filter(ImageFilter.MaxFilter(3)), np.bool_
        )
        return glyph_of(wide, level), fine

    @pytest.mark.parametrize(("paper", "ink"), [(PAPER, INK), (40, 200), (230, 190)])
    def test_a_picture_of_higher_resolution_refines_the_box(self, paper, ink):
        glyph, fine = self.seen(paper, ink)
        rows, columns = np.nonzero(strokes(times=4))
        true = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 4
        assert np.abs(np.array(glyph.box) - true).max() >= 0.75
        assert np.abs(np.array(box_of(glyph, fine, 4.0)) - true).max() <= 0.25

    def test_a_gradient_of_light_does_not_matter(self):
        shade = np.linspace(230, 90, 384)[None, :].repeat(384, 0)
        fine = np.where(strokes(times=4), shade * 0.4, shade).astype(np.uint8)
        level = np.asarray(Image.fromarray(fine).resize((96, 96), Image.Resampling.BOX))
        plain = box_of(*self.seen(), 4.0)
        boxes = box_of(glyph_of(strokes(), level), fine, 4.0)
        assert np.abs(np.subtract(boxes, plain)).max() <= 0.5

    def test_a_picture_of_lower_resolution_gives_the_masks_box(self):
        glyph, _ = self.seen()
        assert box_of(glyph, glyph.level.grey, 1.0) == glyph.box
        assert box_of(glyph, np.zeros((24, 24), np.uint8), 0.25) == glyph.box

    def test_a_picture_without_ink_gives_the_masks_box(self):
        glyph, fine = self.seen()
        assert box_of(glyph, np.full_like(fine, PAPER), 4.0) == glyph.box
