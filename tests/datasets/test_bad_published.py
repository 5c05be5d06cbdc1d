"""Published data sets that are not as they should be: the error says what, where, and what to do."""

import numpy as np
import pytest
import trees

from ferkit import FerkitError
from ferkit.datasets import open_dataset


def test_a_folder_of_something_else(tmp_path, refused):
    (tmp_path / "notes.txt").write_text("")
    for name, needed in (
        ("rafdb", "EmoLabel/list_patition_label.txt or EmoLabel/list_partition_label.txt and Image"),
        ("affectnet", "training.csv or validation.csv or train_set or val_set"),
        ("expw", "data/label/label.lst or label/label.lst or label.lst and data/image/origin"),
        ("ferplus", "fer2013new.csv"),
        ("kdef", "pictures named like AF01/AF01ANFL.JPG"),
        ("rafd", "pictures named like Rafd090_28_Caucasian_male_angry_frontal.jpg"),
    ):
        message = refused(name, path=str(tmp_path))
        assert f"is not the folder of {name}: looked for {needed}" in message
        assert "found notes.txt; " in message
        assert "does not exist" in refused(name, path=str(tmp_path / "none"))
        assert "is a file, not a folder" in refused(name, path=str(tmp_path / "notes.txt"))


def test_a_folder_too_high_or_too_low(tmp_path, refused):
    trees.rafdb(tmp_path / "raf" / "basic", train=1, test=1)
    assert f"it is one level deeper: rafdb:{tmp_path}/raf/basic" in refused("rafdb", path=str(tmp_path / "raf"))
    message = refused("rafdb", path=str(tmp_path / "raf" / "basic" / "Image" / "aligned"))
    assert f"it begins further up: rafdb:{tmp_path}/raf/basic" in message
    trees.affectnet_2021(tmp_path / "affectnet", train=1, validation=1)
    message = refused("affectnet", path=str(tmp_path / "affectnet" / "train_set"))
    assert f"it begins further up: affectnet:{tmp_path}/affectnet" in message
    trees.kdef(tmp_path / "sets" / "kdef", people=1)
    assert "it looks like rafdb: write rafdb:" in refused("affectnet", path=str(tmp_path / "raf" / "basic"))
    assert "it looks like kdef: write kdef:" in refused("expw", path=str(tmp_path / "sets" / "kdef"))


def test_numbered_folders_are_refused(picture, tmp_path, refused):
    picture(tmp_path / "DATASET" / "test" / "1" / "test_0002_aligned.jpg")
    for name in ("rafdb", "affectnet"):
        message = refused(name, path=str(tmp_path / "DATASET"))
        assert "it holds numbered folders, a copy whose order of classes nothing tells" in message


def test_pictures_that_were_not_unpacked(tmp_path, refused):
    trees.rafdb(tmp_path / "raf", original=False)
    message = refused("rafdb", path=str(tmp_path / "raf"), images="original")
    assert "looked for Image/original (the option images)" in message
    trees.affectnet(tmp_path / "affectnet")
    (tmp_path / "affectnet" / "Manually_Annotated_Images").rename(tmp_path / "elsewhere")
    assert "looked for Manually_Annotated_Images" in refused("affectnet", path=str(tmp_path / "affectnet"))
    trees.affectnet_2021(tmp_path / "2021")
    (tmp_path / "2021" / "val_set" / "annotations").rename(tmp_path / "annotations")
    assert "val_set has no folder annotations" in refused("affectnet", path=str(tmp_path / "2021"))


LINES = {
    "train_00001.jpg 8": "line 2: the label must be a number from 1 to 7, not '8'",
    "train_00001.jpg 0": "line 2: the label must be a number from 1 to 7, not '0'",
    "train_00001.jpg 1 2": "line 2: the label must be a number from 1 to 7, not '1 2'",
    "train_00001.jpg": "line 2: the label must be a number from 1 to 7, not ''",
    "angry_actor_104.jpg 0 28 113 226 141 22.9362 0": "line 2: 'angry_actor_104.jpg 0 28 113 226 141 22.9362 0' is no line",
    "1247 7": "line 2: '1247 7' is no line of RAF-DB's list",
}


@pytest.mark.parametrize("line", LINES)
def test_wrong_lines_of_rafdb(line, tmp_path, refused):
    path = trees.rafdb(tmp_path) / "EmoLabel" / "list_patition_label.txt"
    path.write_text(f"train_00002.jpg 3\n{line}\n")
    assert LINES[line] in refused("rafdb", path=str(tmp_path))


def test_lists_as_editors_leave_them(tmp_path, refused):
    path = trees.rafdb(tmp_path) / "EmoLabel" / "list_patition_label.txt"
    expected = [sample.id for sample in open_dataset("rafdb", path=str(tmp_path)).samples("test")]
    text = path.read_text()
    for content in (
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        text.replace(" ", "\t").replace("\n", " \n\n").encode(),
        text.replace(".jpg", "_aligned.jpg").encode(),
    ):
        path.write_bytes(content)
        assert [sample.id for sample in open_dataset("rafdb", path=str(tmp_path)).samples("test")] == expected
    path.write_bytes(text.encode("utf-16"))
    assert "line 1 is not UTF-8: save the table as UTF-8" in refused("rafdb", path=str(tmp_path))
    path.write_bytes(b"")
    assert "is empty (0 bytes)" in refused("rafdb", path=str(tmp_path))
    path.write_bytes(b"\n\n")
    assert "lists no face" in refused("rafdb", path=str(tmp_path))


def test_a_split_that_is_empty(tmp_path, refused):
    dataset = open_dataset("rafdb", path=str(trees.rafdb(tmp_path, test=0)))
    assert dataset.splits == ("train",)
    with pytest.raises(FerkitError, match="has no split 'test': choose train"):
        list(dataset.samples("test"))


EXPW = {
    "a.jpg 0 28 113 226 141 22.9 7": "line 1: expression_label must be an integer from 0 to 6, not '7'",
    "a.jpg 0 28 113 226 141 22.9": "line 1 has 7 values, not the 8 of ExpW's list",
    "a.jpg 0 141 113 226 28 22.9 1": "line 1: the box (left, top, right, bottom) 113 141 226 28 is no rectangle",
    "a.jpg 0 x 113 226 28 22.9 1": "line 1: the box (left, top, right, bottom) 113 x 226 28 is no rectangle",
    "a.jpg 0 1 nan 226 28 22.9 1": "line 1: the box (left, top, right, bottom) nan 1 226 28 is no rectangle",
    "image_name,face_id,expression_label": "line 1: the columns of ExpW's list are image_name, face_id_in_image",
}


@pytest.mark.parametrize("line", EXPW)
def test_wrong_lines_of_expw(line, tmp_path, refused):
    (trees.expw(tmp_path) / "data" / "label" / "label.lst").write_text(line)
    assert EXPW[line] in refused("expw", path=str(tmp_path))


def test_swapped_and_foreign_tables_of_affectnet(tmp_path, refused):
    trees.affectnet(tmp_path, others=False)
    training, validation = tmp_path / "training.csv", tmp_path / "validation.csv"
    rows = training.read_text()
    training.write_text(validation.read_text())
    validation.write_text(rows)
    message = refused("affectnet", path=str(tmp_path))
    assert "24 faces to validate on and 16 to train on: are training and validation swapped?" in message
    training.write_text("emotion,pixels,Usage\n3,1 2 3,Training\n")
    assert "has no column subDirectory_filePath; it has emotion, pixels, Usage" in refused(
        "affectnet", path=str(tmp_path)
    )
    training.write_text(f"{trees.AFFECTNET_COLUMNS}\n" + "a,b,c,d,e,f,g,h,i\n" * 3)
    assert "line 2: nothing here can be read as AffectNet's annotations" in refused("affectnet", path=str(tmp_path))
    training.write_bytes(f"{trees.AFFECTNET_COLUMNS}\n\u00e9".encode("latin1"))
    assert "line 2 is not UTF-8" in refused("affectnet", path=str(tmp_path))


def test_foreign_arrays_of_affectnet(tmp_path, refused):
    annotations = trees.affectnet_2021(tmp_path) / "val_set" / "annotations"
    for path in annotations.glob("*_exp.npy"):
        np.save(path, np.zeros(136))
    assert "nothing here can be read as AffectNet's annotations" in refused("affectnet", path=str(tmp_path))


def test_shares_of_expw_must_sum_to_one(tmp_path):
    with pytest.raises(ValueError, match=r"shares must sum to 1, not 0\.9"):
        open_dataset("expw", path=str(trees.expw(tmp_path)), fractions={"train": 0.8, "test": 0.1})
