"""Extra training data: every row of the table is used, or the error names the row."""

from __future__ import annotations

import io
import unicodedata

import boto3
import numpy as np
import pytest
from moto import mock_aws
from PIL import Image

from digits import image, preprocess
from tests.conftest import GOLDEN
from training_job import extra_data
from training_job.errors import TrainingError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    for name, place in (("seven.png", "seven.png"), ("one.jpg", "more/one.jpg")):
        (tmp_path / place).write_bytes((GOLDEN / name).read_bytes())
    (tmp_path / "labels.csv").write_text("file,truth\nseven.png,7\nmore/one.jpg,1\n")
    return tmp_path


def test_pictures_become_the_frames_that_are_served(folder):
    own = extra_data.load(str(folder))

    assert own.split.y.tolist() == [7, 1]
    assert (own.split.x.shape, own.split.x.dtype) == ((2, 28, 28, 1), np.float32)
    picture = image.decode((GOLDEN / "seven.png").read_bytes())
    np.testing.assert_array_equal(own.split.x[0, ..., 0], preprocess.largest(picture).frame)


def test_the_digest_names_the_pictures_and_their_truths(folder):
    before = extra_data.load(str(folder)).sha256
    assert extra_data.load(str(folder)).sha256 == before

    (folder / "labels.csv").write_text("file,truth\nseven.png,7\nmore/one.jpg,2\n")

    assert extra_data.load(str(folder)).sha256 != before


def test_a_table_that_a_spreadsheet_saved_is_read(folder):
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbffile,note,truth\r\nseven.png,mine,7\r\n")
    assert extra_data.load(str(folder)).split.y.tolist() == [7]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("file,truth\nseven.png,x\n", "labels.csv, line 2: 'x' is not a valid correction"),
        (f"file,truth\nseven.png,7\nseven.png,{'1' * 4097}\n", "line 3: .* at most 4,096"),
        ('file,truth\nseven.png,"1\n2"\nseven.png,x\n', "line 4: 'x' is not a valid"),
        ("file,truth\nseven.png\n", "line 2: the truth is missing"),
        ("file,truth\nseven.png,12\n", "No row of labels.csv has a truth of one digit"),
        ("file,truth\n,7\n", "line 2: name a file"),
        ("file,truth\n../seven.png,7\n", "line 2: name a file"),
        ("file,truth\n/etc/passwd,7\n", "line 2: name a file"),
        ("file,truth\nlabels.csv,7\n", "line 2, labels.csv: This is not an image"),
        ("file,truth\nblank.png,7\n", "line 2, blank.png: no digit was found"),
        ("file,truth\nmissing.png,7\n", "missing.png"),
        ("name,digit\nseven.png,7\n", "needs the columns file and truth"),
        ("file,truth\n", "needs the columns file and truth, and a row"),
        ("", "needs the columns"),
    ],
)
def test_the_error_names_a_row_that_is_not_valid(folder, table, says):
    buffer = io.BytesIO()
    Image.new("L", (100, 100), 255).save(buffer, "PNG")
    (folder / "blank.png").write_bytes(buffer.getvalue())
    (folder / "labels.csv").write_text(table)

    with pytest.raises(TrainingError, match=says):
        extra_data.load(str(folder))


def test_corrections_that_are_not_one_digit_are_left_out_and_counted(folder):
    others = ["12", "-5", "?", "", '"1\n2"', '"7\f"', "×", '"3,14"']
    lines = [f"not there.png,{truth}" for truth in others]
    (folder / "labels.csv").write_text("\n".join(["file,truth", *lines, "seven.png, 7 "]))

    own = extra_data.load(str(folder))

    assert own.split.y.tolist() == [7]
    assert own.left_out == len(others)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_table_is_read_as_a_spreadsheet_saves_it(folder, encoding, delimiter, form):
    (folder / "Été").mkdir()
    (folder / "seven.png").rename(folder / "Été" / f"{unicodedata.normalize(form, 'é')}.png")
    rows = [
        ("Note", "FILE", "Truth"),
        ("x", "Été\\é.PNG", " 7"),
        ("", "", ""),
        ("", "more\\one.jpg", "1"),
    ]
    table = "".join(delimiter.join(row) + "\r\n" for row in rows)
    (folder / "labels.csv").write_bytes(table.encode(encoding))
    assert extra_data.load(str(folder)).split.y.tolist() == [7, 1]


def test_a_table_may_announce_its_delimiter(folder):
    (folder / "labels.csv").write_bytes(b"sep=;\r\nfile;truth\r\nseven.png;7\r\n")
    assert extra_data.load(str(folder)).split.y.tolist() == [7]


def test_of_two_files_that_differ_in_case_the_exact_one_is_meant(folder):
    (folder / "SEVEN.png").write_bytes((folder / "more/one.jpg").read_bytes())
    (folder / "labels.csv").write_text("file,truth\nseven.png,7\n")
    exact = extra_data.load(str(folder)).split.x
    (folder / "labels.csv").write_text("file,truth\nSeven.png,7\n")
    with pytest.raises(TrainingError, match="Cannot read"):
        extra_data.load(str(folder))
    (folder / "SEVEN.png").unlink()
    assert (extra_data.load(str(folder)).split.x == exact).all()


@pytest.mark.parametrize(
    "name", ["C:\\pictures\\7.png", "\\\\nas\\7.png", "\\7.png", "..\\7.png", "more/../../7.png"]
)
def test_a_name_outside_the_folder_is_refused_in_either_way_to_write_it(folder, name):
    (folder / "labels.csv").write_text(f"file,truth\n{name},7\n")
    with pytest.raises(TrainingError, match="line 2: name a file in the folder"):
        extra_data.load(str(folder))


def test_a_name_that_a_spreadsheet_must_not_evaluate_is_read(folder):
    (folder / "seven.png").rename(folder / "-7 =.png")
    (folder / "labels.csv").write_text("file,truth\n'-7 =.png,7\n")
    assert extra_data.load(str(folder)).split.y.tolist() == [7]


def test_a_table_in_another_encoding_is_refused(folder):
    (folder / "labels.csv").write_bytes(b"file,truth\n\x81.png,7\n")
    with pytest.raises(TrainingError, match="UTF-8"):
        extra_data.load(str(folder))


def test_a_folder_without_a_table_says_which_option_to_check(tmp_path):
    with pytest.raises(TrainingError, match="--extra-data"):
        extra_data.load(str(tmp_path))


def test_an_s3_prefix_is_read_too(folder):
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="own")
        for file in ("labels.csv", "seven.png", "more/one.jpg"):
            s3.upload_file(str(folder / file), "own", f"pictures/{file}")

        own = extra_data.load("s3://own/pictures/")

    assert own.split.y.tolist() == [7, 1]
    assert own.sha256 == extra_data.load(str(folder)).sha256
