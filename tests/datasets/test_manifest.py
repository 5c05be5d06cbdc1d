import json

import pandas as pd
import pytest

from ferkit import FerkitError
from ferkit.datasets import open_dataset


@pytest.fixture
def manifest(tmp_path):
    def write(text, name="faces.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return str(path)

    return write


def read(path, **options):
    dataset = open_dataset("manifest", path=path, **options)
    return [sample for split in dataset.splits for sample in dataset.samples(split)]


FULL = (
    "image,label,x0,y0,x1,y1,subject,group,split,caption,votes:happy,votes:sad\n"
    'a b/ü.jpg,Joy,1,2,30.5,40,ann,scene 1,val,"so, she ""laughs""",3,1\n'
    "x.jpg,sad,,,,,,,train,,,\n"
)


def test_every_column(manifest, tmp_path):
    path = manifest(FULL)
    dataset = open_dataset("manifest", path=path)
    assert dataset.splits == ("train", "validation")
    (face,) = dataset.samples("validation")
    assert (face.id, face.label, face.box) == ("a b/ü.jpg#1,2,30.5,40", "happiness", (1.0, 2.0, 30.5, 40.0))
    assert (face.subject, face.group, face.caption) == ("ann", "scene 1", 'so, she "laughs"')
    assert face.votes == {"happiness": 3.0, "sadness": 1.0}
    assert face.source == str(tmp_path / "a b" / "ü.jpg")
    (bare,) = dataset.samples("train")
    assert (bare.id, bare.label, bare.box, bare.votes) == ("x.jpg", "sadness", None, None)
    assert (bare.subject, bare.group, bare.caption) == (None, None, None)


def test_the_same_table_in_every_format_and_way_to_save_it(manifest, tmp_path):
    expected = read(manifest(FULL))
    assert read(manifest(FULL, "bom.csv", "utf-8-sig")) == expected
    assert read(manifest(FULL.replace("\n", "\r\n"), "windows.csv")) == expected
    assert read(manifest(FULL + "\n\n", "blank.csv")) == expected
    table = pd.read_csv(manifest(FULL))
    table.to_parquet(tmp_path / "faces.parquet")
    assert read(str(tmp_path / "faces.parquet")) == expected
    table.to_json(tmp_path / "faces.jsonl", orient="records", lines=True)
    assert read(str(tmp_path / "faces.jsonl")) == expected


def test_pictures_lie_below_the_table_or_root(manifest, tmp_path):
    (tmp_path / "images").mkdir()
    path = manifest("image,label\nx.jpg,sad\n")
    assert read(path)[0].source == str(tmp_path / "x.jpg")
    assert read(path, root=str(tmp_path / "images"))[0].source == str(tmp_path / "images" / "x.jpg")
    absolute = manifest(f"image,label\n{tmp_path}/images/x.jpg,sad\n", "absolute.csv")
    (sample,) = read(absolute, root=str(tmp_path / "images"))
    assert (sample.id, sample.source) == ("x.jpg", f"{tmp_path}/images/x.jpg")


def test_faces_of_one_picture_are_one_group_with_ids_that_do_not_depend_on_the_order(manifest):
    rows = ["s.jpg,sad,1,1,9,9\n", "s.jpg,happy,11,1,19,9\n"]
    head = "image,label,x0,y0,x1,y1\n"
    first, again = read(manifest(head + "".join(rows))), read(manifest(head + "".join(rows[::-1])))
    assert {sample.id: sample.label for sample in first} == {sample.id: sample.label for sample in again}
    assert {sample.group for sample in first} == {"s.jpg"}


def test_votes_need_no_label_and_may_be_in_named_columns(manifest):
    (sample,) = read(manifest("image,0,1\nx.jpg,3,0.5\n"), votes=["0", "1"], labels={0: "anger", 1: "fear"})
    assert (sample.label, sample.votes) == (None, {"anger": 3.0, "fear": 0.5})


def test_columns_can_be_ignored_and_need_not_be_text_then(tmp_path):
    table = pd.DataFrame({"image": ["x.jpg"], "label": ["sad"], "bytes": [b"abc"]})
    table.to_parquet(tmp_path / "faces.parquet")
    assert len(read(str(tmp_path / "faces.parquet"), ignore=["bytes"])) == 1


WRONG = {
    "image,label\n": "has a header, but no rows",
    "": "is empty (0 bytes)",
    "image,label,subjct\nx.jpg,sad,a\n": "unknown column 'subjct' (did you mean subject?)",
    "image;label\nx.jpg;sad\n": "unknown column 'image;label'",
    "label,subject\nsad,ann\n": "has no column 'image'; it has label, subject",
    "image,label,label\nx.jpg,sad,sad\n": "has the column 'label' twice",
    "image,label\nx.jpg,sad\ny.jpg,sad,1\n": "line 3 has 3 values for 2 columns",
    "image,label\nx.jpg,3\n": "line 2: the label 3 is an index",
    "image,label\nx.jpg,3.0\n": "line 2: the label 3.0 is an index",
    "image,label\nx.jpg, \n": "line 2 has neither label nor votes",
    "image,label\n,sad\n": "line 2 names no image",
    "image,label\nx.jpg,sad\ny.jpg,sad\nx.jpg,sad\n": "line 4 has the id 'x.jpg' of {path}, line 2",
    "image,label,split\nx.jpg,sad,\n": "line 2 has an empty split",
    "image,votes:sad\nx.jpg,-1\n": "line 2: votes:sad is -1",
    "image,votes:sad\nx.jpg,many\n": "line 2: votes:sad must be a finite number, not 'many'",
    "image,votes:sad\nx.jpg,0\n": "line 2 has neither label nor votes",
    "image,label,x0,y0,x1,y1\nx.jpg,sad,1,2,3,\n": "line 2 has a box without y1",
    "image,label,x0,y0,x1\nx.jpg,sad,1,2,3\n": "line 2 has a box without y1",
    "image,label,x0,y0,x1,y1\nx.jpg,sad,10,20,5,5\n": "line 2 has the box 10 20 5 5",
    "image,label,x0,y0,x1,y1\nx.jpg,sad,0,0,1e308,1e308\n": "line 2 has the box 0 0 1e+308 1e+308, larger than any",
    "image,label\nx.jpg,NaN\n": "line 2: the label is NaN, a missing value",
    "image,label,split\nx.jpg,sad,nan\n": "line 2 has an empty split",
    "image,label\nx\0.jpg,sad\n": "line 2: 'image' holds a null byte",
    "image,label,x0,y0,x1,y1\nx.jpg,sad,1,2,nan,5\n": "line 2: x1 must be a finite number, not 'nan'",
    'image,label\n"x.jpg,sad\n': "is no CSV",
    "image,label\n/elsewhere/x.jpg,sad\n": "set root to a folder above all pictures",
    "image,label\nx.jpg,sad\n\xff.jpg,sad\n".encode("latin-1"): "line 3 is not UTF-8",
}


@pytest.mark.parametrize("text", WRONG, ids=WRONG.values())
def test_what_is_wrong_is_told_with_its_line(text, manifest, refused):
    path = manifest(text)
    assert WRONG[text].format(path=path) in refused("manifest", path=path)


WRONG_LINES = {
    '{"image": "x.jpg"\n': "line 1 is no JSON",
    '{"image": "x.jpg", "label": "sad"}\n[1]\n': "line 2 must be one JSON object",
    '{"image": "x.jpg", "label": ["sad"]}\n': "line 1: label must be text or a number, not list",
    '{"image": "x\\u0000.jpg", "label": "sad"}\n': "line 1: 'image' holds a null byte or half a character",
    '{"image": "x\\ud800.jpg", "label": "sad"}\n': "line 1: 'image' holds a null byte or half a character",
    '{"image": "x.jpg", "label": "sad"}\n' + '{"a": ' * 100_000 + "\n": "line 2 is nested too deep",
    '{"image": "x.jpg", "label": ' + "9" * 5000 + "}\n": "line 1 holds an integer with too many digits",
    '{"image": "x.jpg", "label": NaN}\n': "line 1: the label is NaN",
    '{"image": "x.jpg", "label": 3}\n': "line 1: the label 3 is an index",
    '{"image": "x.jpg", "label": "sad"}\n{"label": "sad"}\n': "has no column 'image'",
}


@pytest.mark.parametrize("text", WRONG_LINES, ids=WRONG_LINES.values())
def test_what_is_wrong_in_json_lines(text, manifest, refused):
    assert WRONG_LINES[text] in refused("manifest", path=manifest(text, "faces.jsonl"))


def test_other_files_are_refused(manifest, refused, tmp_path):
    assert "is no Parquet file" in refused("manifest", path=manifest("image,label\n", "faces.parquet"))
    assert "a table must end in .csv, .jsonl, .parquet" in refused("manifest", path=manifest("x", "faces.xlsx"))
    with pytest.raises(FerkitError, match=r"is a folder: name the table in it, such as .*manifest\.csv"):
        open_dataset("manifest", path=str(tmp_path))
    with pytest.raises(FerkitError, match="there is no table"):
        open_dataset("manifest", path=str(tmp_path / "none.csv"))
    with pytest.raises(FerkitError, match=r"the data's folder .* does not exist"):
        open_dataset("manifest", path=manifest("image,label\n"), root=str(tmp_path / "none"))


def test_crops_have_no_boxes(manifest, refused):
    path = manifest("image,label,x0,y0,x1,y1\nx.jpg,sad,1,2,3,4\n")
    assert "ignore to [x0, y0, x1, y1]" in refused("manifest", path=path, crops=True)
    (sample,) = read(path, crops=True, ignore=["x0", "y0", "x1", "y1"])
    assert sample.box is None


def test_jsonl_rows_may_have_different_columns(manifest):
    lines = [{"image": "x.jpg", "label": "sad"}, {"image": "y.jpg", "label": "sad", "subject": 7, "caption": None}]
    samples = read(manifest("".join(json.dumps(line) + "\n" for line in lines), "faces.jsonl"))
    assert [sample.subject for sample in samples] == [None, "7"]


def test_nan_is_a_missing_value_and_nan_a_name(manifest):
    lines = (
        '{"image": "x.jpg", "label": "sad", "subject": NaN, "group": NaN, "caption": NaN, "id": NaN}\n'
        '{"image": "y.jpg", "label": "sad", "subject": "Nan"}\n'
    )
    missing, named = read(manifest(lines, "faces.jsonl"))
    assert (missing.subject, missing.group, missing.caption, missing.id) == (None, None, None, "x.jpg")
    assert named.subject == "Nan"
    (sample,) = read(manifest("image,label,subject\nx.jpg,sad,nan\n"))
    assert sample.subject is None
