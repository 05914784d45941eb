"""Feedback is collected in a folder that a person reviews and training reads."""

from __future__ import annotations

import pytest

from digits.cli import main
from digits.labels import feedback
from tests.conftest import GOLDEN


def correction(root, name, truth, picture="seven.png", **changes):
    folder = root / feedback.PREFIX / "2026-11-26" / name
    folder.mkdir(parents=True)
    record = feedback.Feedback(
        **{"id": name, "received_at": "2026-11-26T12:00:00Z", "truth": truth, "answer": "1\n2",
           "model": "v1", "key": None} | changes
    )  # fmt: skip
    (folder / feedback.IMAGE).write_bytes((GOLDEN / picture).read_bytes())
    (folder / feedback.RECORD).write_text(record.model_dump_json())
    return folder


def test_pictures_of_one_digit_are_copied_with_a_table(tmp_path, capsys):
    correction(tmp_path, "a", "7")
    correction(tmp_path, "b", "12")
    correction(tmp_path, "c", "")
    correction(tmp_path, "d", "?")
    (correction(tmp_path, "e", "1") / feedback.RECORD).write_text("not ours")

    main_ends(["feedback", "collect", str(tmp_path), str(tmp_path / "out")], 0)

    assert "1 images" in capsys.readouterr().out
    assert sorted(it.name for it in (tmp_path / "out").iterdir()) == [
        "2026-11-26-a-image.png",
        "labels.csv",
    ]
    assert (tmp_path / "out" / "labels.csv").read_text() == (
        "file,truth,answer,model,received_at\n"
        "2026-11-26-a-image.png,7,1 2,v1,2026-11-26T12:00:00Z\n"
    )


def test_an_existing_table_is_not_overwritten(tmp_path, capsys):
    correction(tmp_path, "a", "7")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.csv").write_text("mine")

    main_ends(["feedback", "collect", str(tmp_path), str(tmp_path / "out")], 2)

    assert "another folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "labels.csv").read_text() == "mine"


@pytest.mark.parametrize("out", ["a file", "a file/out", "/proc/out"])
def test_a_folder_that_cannot_be_written_is_a_one_line_error(tmp_path, capsys, out):
    correction(tmp_path, "a", "7")
    (tmp_path / "a file").touch()

    main_ends(["feedback", "collect", str(tmp_path), str(tmp_path / out)], 2)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: Cannot write {tmp_path / out}")
    assert line.endswith("choose another folder.")


def test_an_interrupted_collection_can_be_repeated_in_the_same_folder(tmp_path, capsys):
    correction(tmp_path, "a", "7")
    broken = correction(tmp_path, "b", "3") / feedback.IMAGE
    broken.unlink()

    main_ends(["feedback", "collect", str(tmp_path), str(tmp_path / "out")], 2)
    assert "image.png" in capsys.readouterr().err
    broken.write_bytes((GOLDEN / "three.png").read_bytes())
    main_ends(["feedback", "collect", str(tmp_path), str(tmp_path / "out")], 0)

    assert "2 images" in capsys.readouterr().out
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 3


def main_ends(args, code):
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert (ended.value.code or 0) == code
