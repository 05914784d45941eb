"""What a folder's pictures are, by the endings of every format, and what is skipped beside them."""

import io
import zipfile

import pytest

from digits import formats
from digits.cli.sources import Skipped, named
from streamlit_app import archive


def names(folder, skipped):
    return [source.name.rpartition("/")[2] for source in named([str(folder)], skipped)()]


def test_every_ending_is_found_in_a_folder_in_any_case(tmp_path):
    expected = [*sorted(f"a{ending}" for ending in formats.SUFFIXES), "b.JFIF", "c.Hif"]
    for name in expected:
        (tmp_path / name).write_bytes(b"")
    skipped = Skipped()
    assert names(tmp_path, skipped) == expected
    assert skipped.count == 0


def test_every_ending_is_found_in_a_zip(tmp_path):

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as folder:
        for ending in formats.SUFFIXES:
            folder.writestr(f"a{ending}", b"x")
    found = [item.name for item in archive.pictures([("zip", packed.getvalue())])]
    assert found == [f"zip/a{ending}" for ending in formats.SUFFIXES]


def test_what_is_skipped_is_counted_once_and_named(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "notes.txt", "deep/form.docx", "no_ending", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    skipped = Skipped()
    pictures = named([str(tmp_path)], skipped)
    for _ in range(2):  # as it is counted for a bar, and then read
        assert len(list(pictures())) == 1
    assert str(skipped) == (
        "Skipped 3 files without an image's extension: form.docx, no_ending, notes.txt."
    )


def test_of_very_many_the_first_are_named(tmp_path):
    for number in range(1, 1_235):
        (tmp_path / f"{number:04}.txt").touch()
    (tmp_path / "a.png").touch()
    skipped = Skipped()
    assert names(tmp_path, skipped) == ["a.png"]
    assert str(skipped).startswith("Skipped 1,234 files without an image's extension: 0001.txt,")
    assert str(skipped).endswith("0010.txt and 1,224 more.")


@pytest.mark.parametrize("name", ["notes.txt", "picture"])
def test_a_file_that_is_named_is_read_whatever_its_ending(tmp_path, name):
    (tmp_path / name).touch()
    skipped = Skipped()
    assert len(list(named([str(tmp_path / name)], skipped)())) == 1
    assert skipped.count == 0
