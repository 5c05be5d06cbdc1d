"""``ferkit data check``."""

import json

import pytest
import trees
from PIL import Image


@pytest.fixture
def data(tmp_path):
    return trees.rafdb(tmp_path / "raf")


def found(cli, *arguments, code=0):
    return json.loads(cli("data", "check", *arguments, "--json", code=code).stdout)


def counts(findings):
    return {(row["split"], row["label"]): (row["n"], row["published"]) for row in findings["counts"]}


def test_counts_stand_beside_the_published_ones(cli, data):
    result = cli("data", "check", "rafdb:raf")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "surprise", "2", "1,290", "-1,288"] in rows
    assert ["test", "all", "14", "3,068", "-3,054"] in rows
    assert "every picture is there and can be read, no face is there with two labels" in result.stdout
    assert "terms: Research only, not commercial" in result.stdout
    findings = found(cli, "rafdb:raf")
    assert counts(findings)["test", "fear"] == (2, 74)
    assert counts(findings)[None, None] == (28, 15339)
    assert findings["missing"] == findings["unreadable"] == findings["unannotated"] == findings["remarks"] == []


def test_what_is_missing_broken_and_without_annotation(cli, data):
    pictures = data / "Image" / "aligned"
    (pictures / "test_0003_aligned.jpg").unlink()
    (pictures / "test_0004_aligned.jpg").write_bytes(b"")
    broken = pictures / "test_0005_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    Image.new("RGB", (9, 9)).save(pictures / "test_9999_aligned.jpg")
    findings = found(cli, "rafdb:raf", code=1)
    assert [name for name, _ in findings["missing"]] == ["test_0003.jpg"]
    assert [name for name, _ in findings["unreadable"]] == ["test_0004.jpg", "test_0005.jpg"]
    assert "broken or cut short" in findings["unreadable"][1][1]
    assert [path.rpartition("/")[2] for path in findings["unannotated"]] == ["test_9999_aligned.jpg"]
    assert counts(findings)["test", None][0] == 14, "what is missing is still counted"
    fast = found(cli, "rafdb:raf", "--fast", code=1)
    assert [name for name, _ in fast["missing"]] == ["test_0003.jpg"]
    assert [name for name, _ in fast["unreadable"]] == ["test_0004.jpg"]
    printed = cli("data", "check", "rafdb:raf", code=1).stdout
    assert "missing pictures: 1\n  test_0003.jpg: " in printed
    assert "pictures that can't be read: 2\n" in printed
    assert "every picture is there" not in printed


def test_remarks_are_printed_with_their_number(cli, tmp_path):
    trees.affectnet(tmp_path / "affectnet")
    printed = cli("data", "check", "affectnet:affectnet", "--set", "data.classes=7").stdout
    assert "labelled contempt, left out by the option classes: 5\n" in printed
    assert "labelled No-Face, left out: 1\n" in printed
    assert "without annotation" not in printed, "what is left out has an annotation"
    (tmp_path / "affectnet" / "Manually_Annotated_Images" / "1" / "new.jpg").write_bytes(b"")
    assert "pictures without annotation: 1\n" in cli("data", "check", "affectnet:affectnet").stdout


def test_ids_are_written_for_each_split(cli, tmp_path):
    trees.expw(tmp_path / "expw")
    findings = found(cli, "expw:expw", "--ids", "lists", "--set", "data.fractions={train: 0.5, test: 0.5}")
    written = {path.name: path.read_text().splitlines() for path in (tmp_path / "lists").iterdir()}
    assert set(written) == {"train.txt", "test.txt"}
    assert {f"{split}.txt": n for (split, label), (n, _) in counts(findings).items() if split and label is None} == {
        name: len(ids) for name, ids in written.items()
    }
    assert all("#" in name for ids in written.values() for name in ids)


def test_a_subset_by_its_options(cli, data, tmp_path):
    trees.lists(
        tmp_path / "ran", **{"RAF_DB_dir/val_raf_db_list.txt": ["3/test_0004_aligned.jpg", "1/test_9_aligned.jpg"]}
    )
    findings = found(cli, "rafdb:raf", "--set", "data.subset=pose30", "--set", "data.lists=ran")
    assert counts(findings)[None, None] == (1, 1247)
    assert [remark["what"] for remark in findings["remarks"]] == ["listed pictures that are not among the data's"]
    assert findings["unannotated"] == []


def test_data_sets_of_every_kind(cli, tmp_path):
    trees.fer2013(tmp_path / "fer")
    assert counts(found(cli, "fer2013:fer"))["test", None] == (7, 3589)
    findings = found(cli, f"folder:{trees.rafdb(tmp_path / 'raf') / 'Image'}")
    assert (counts(findings)["all", "aligned"], findings["terms"]) == ((28, None), "")
    trees.kdef(tmp_path / "kdef", people=1)
    assert counts(found(cli, "kdef:kdef"))["all", "fear"] == (20, 700)


def test_ids_that_repeat_are_an_error(cli, tmp_path):
    (tmp_path / "faces.csv").write_text("image,label,id\na.jpg,happy,one\nb.jpg,happy,one\n")
    assert "has the id 'one' of" in cli("data", "check", "manifest:faces.csv", code=2).stderr


def test_what_can_not_be_opened(cli, data):
    assert "write NAME:PATH, such as" in cli("data", "check", "raf", code=2).stderr
    assert "it begins further up" in cli("data", "check", "rafdb:raf/Image", code=2).stderr
    assert "did you mean images?" in cli("data", "check", "rafdb:raf", "--set", "data.imges=x", code=2).stderr
    assert "did you mean" in cli("data", "check", "rafbd:raf", code=2).stderr
    message = cli("data", "check", "rafdb:raf", "--set", "align.size=3", code=2).stderr
    assert "align (override): there is no recipe here, only data" in message


def test_a_face_with_two_labels_and_a_box_far_off_are_faults(cli, data, tmp_path):
    table = data / "EmoLabel" / "list_patition_label.txt"
    lines = table.read_text().splitlines()
    name, label = lines[0].split()
    table.write_text("\n".join([*lines, lines[1], f"{name} {int(label) % 7 + 1}"]))
    result = cli("data", "check", "rafdb:raf", code=1)
    assert f"{name} is " in result.stdout and ", then " in result.stdout
    assert "no face is there with two labels" not in result.stdout
    table.write_text("\n".join([*lines, lines[1]]))
    cli("data", "check", "rafdb:raf")
    boxes = trees.expw(tmp_path / "expw") / "data" / "label" / "label.lst"
    lines = boxes.read_text().splitlines()
    lines[0] = " ".join([*lines[0].split()[:2], "0", "0", "90", "90000", *lines[0].split()[6:]])
    boxes.write_text("\n".join(lines))
    findings = found(cli, "expw:expw", code=1)
    ((_, why),) = findings["boxes"]
    assert why.endswith("pixels") and "lies far beyond its picture of" in why


def test_a_published_split_of_which_nothing_is_there_is_told(cli, data):
    table = data / "EmoLabel" / "list_patition_label.txt"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if line.startswith("train")))
    assert "nothing of what was published as test is here" in cli("data", "check", "rafdb:raf").stdout


def test_splits_of_another_name_are_refused(cli, tmp_path):
    trees.expw(tmp_path / "expw")
    assert "trian" in cli("data", "check", "expw:expw", "--set", "data.fractions={trian: 1.0}", code=2).stderr
