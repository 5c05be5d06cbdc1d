import os
import sys
from pathlib import Path

import pytest

from ferkit import FerkitError
from ferkit.datasets import open_dataset


def read(root, **options):
    dataset = open_dataset("folder", path=str(root), **options)
    return {split: [(s.id, s.label) for s in dataset.samples(split)] for split in dataset.splits}


def test_classes_alone_are_one_split(tmp_path, picture):
    for name in ("Happy/b.png", "Happy/a.png", "sadness/deep/er/c.png", ".hidden/x.png", "Happy/._a.png"):
        picture(tmp_path / name)
    (tmp_path / "Happy" / "notes.txt").write_text("no picture")
    (tmp_path / "sadness" / "d.JPG").write_bytes(b"it is not opened")
    expected = [("Happy/a.png", "happiness"), ("Happy/b.png", "happiness")]
    expected += [("sadness/d.JPG", "sadness"), ("sadness/deep/er/c.png", "sadness")]
    assert read(tmp_path) == {"all": expected}


def test_a_level_above_the_classes_is_splits_in_their_usual_order_and_names(tmp_path, picture):
    for split in ("fold2", "test", "Val", "Training", "fold1"):
        picture(tmp_path / split / "angry" / "1.png")
    found = read(tmp_path)
    assert list(found) == ["train", "validation", "test", "fold1", "fold2"]
    assert found["validation"] == [("Val/angry/1.png", "anger")]


def test_the_folders_own_names_can_be_mapped(tmp_path, picture):
    picture(tmp_path / "train" / "0" / "1.png")
    picture(tmp_path / "train" / "wut" / "1.png")
    assert read(tmp_path, labels={0: "angry", "wut": "anger"}) == {
        "train": [("train/0/1.png", "anger"), ("train/wut/1.png", "anger")]
    }


def test_a_sample_leads_to_its_picture_and_says_whether_it_is_a_crop(tmp_path, picture):
    path = picture(tmp_path / "happy" / "ü b,c.png")
    (sample,) = open_dataset("folder", path=str(tmp_path)).samples("all")
    assert sample.picture == sample.source == str(path)
    assert sample.id == "happy/ü b,c.png"
    assert [open_dataset("folder", path=str(tmp_path), crops=crops).is_crop for crops in (False, True)] == [False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_an_id_can_be_written_whatever_the_name(tmp_path, picture):
    path = picture(tmp_path / "happy" / "a.png")
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xe9.png"))
    (sample,) = open_dataset("folder", path=str(tmp_path)).samples("all")
    assert sample.id == r"happy/\udce9.png"
    assert Path(sample.source).read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(FerkitError, match="does not exist: check the option path"):
        open_dataset("folder", path=str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(FerkitError, match="is a file, not a folder"):
        open_dataset("folder", path=str(tmp_path / "file"))


def test_what_is_laid_out_otherwise_is_refused(tmp_path, picture, refused):
    assert "no pictures in class folders: lay them out as" in refused("folder", path=str(tmp_path))
    picture(tmp_path / "loose.png")
    assert "no pictures in class folders" in refused("folder", path=str(tmp_path))
    picture(tmp_path / "3" / "1.png")
    assert "the label 3 is an index" in refused("folder", path=str(tmp_path))
    picture(tmp_path / "train" / "happy" / "1.png")
    message = refused("folder", path=str(tmp_path))
    assert "3 holds pictures and train holds folders only" in message


def test_a_folder_that_links_to_itself_is_refused(tmp_path, picture, refused):
    picture(tmp_path / "happy" / "1.png")
    (tmp_path / "happy" / "again").symlink_to(tmp_path / "happy", target_is_directory=True)
    assert "remove the link" in refused("folder", path=str(tmp_path))
