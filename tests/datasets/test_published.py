"""The published data sets, on small trees in their layouts."""

from collections import Counter

import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from ferkit import FerkitError
from ferkit.datasets import open_dataset
from ferkit.datasets.ferplus import PROTOCOLS
from ferkit.datasets.names import judged_split
from ferkit.images import decode


def read(name, path, **options):
    dataset = open_dataset(name, path=str(path), **options)
    return dataset, {split: list(dataset.samples(split)) for split in dataset.splits}


def remarks(dataset):
    return {remark.what: len(remark.where) for remark in dataset.remarks}


ORDERS = {
    "rafdb": "surprise fear disgust happiness sadness anger neutral",
    "affectnet": "neutral happiness sadness surprise fear disgust anger contempt",
    "affectnet_2021": "neutral happiness sadness surprise fear disgust anger contempt",
    "expw": "anger disgust fear happiness sadness surprise neutral",
    "fer2013": "anger disgust fear happiness sadness surprise neutral",
}


@pytest.mark.parametrize("tree", ORDERS)
def test_the_order_of_classes(tree, tmp_path):
    """The trees number their classes one after the other."""
    options = {"fractions": {"all": 1}} if tree == "expw" else {}
    _, samples = read(tree.partition("_")[0], getattr(trees, tree)(tmp_path), **options)
    first = next(iter(samples.values()))
    order = ORDERS[tree].split()
    assert [sample.label for sample in first[: len(order)]] == order


def test_rafdb(tmp_path):
    dataset, samples = read("rafdb", trees.rafdb(tmp_path / "basic"))
    assert dataset.is_crop
    assert {split: len(each) for split, each in samples.items()} == {"train": 14, "test": 14}
    sample = samples["test"][4]
    assert (sample.id, sample.label) == ("test_0005.jpg", "sadness")
    assert sample.source.endswith("basic/Image/aligned/test_0005_aligned.jpg")
    assert decode(sample.picture).shape == (3, 100, 100)
    dataset, original = read("rafdb", tmp_path / "basic", images="original")
    assert not dataset.is_crop
    assert [each.id for each in original["test"]] == [each.id for each in samples["test"]]
    assert decode(original["test"][4].picture).shape == (3, 160, 160)


def test_rafdb_counts_are_the_published_ones(tmp_path):
    dataset = open_dataset("rafdb", path=str(trees.rafdb(tmp_path)))
    assert dataset.published["train", None] == 12271
    assert dataset.published["test", None] == 3068
    assert dataset.published["test", "fear"] == 74
    assert dataset.published[None, None] == 15339


def test_affectnet_in_its_classic_release(tmp_path):
    dataset, samples = read("affectnet", trees.affectnet(tmp_path))
    assert not dataset.is_crop
    assert {split: len(each) for split, each in samples.items()} == {"train": 24, "validation": 16}
    assert [sample.id for sample in dataset.samples("test")] == [sample.id for sample in samples["validation"]]
    assert judged_split(dataset.splits) == "validation"
    sample = samples["validation"][1]
    assert sample.box == trees.FACE_BOX
    assert decode(sample.picture).shape == (3, 160, 160)
    assert remarks(dataset) == {
        "labelled None, left out": 1,
        "labelled Uncertain, left out": 1,
        "labelled No-Face, left out": 1,
    }
    seven, samples = read("affectnet", tmp_path, classes=7)
    assert Counter(sample.label for sample in samples["validation"])["contempt"] == 0
    assert len(samples["validation"]) == 14
    assert remarks(seven)["labelled contempt, left out by the option classes"] == 5
    assert (dataset.published[None, None], seven.published["train", None]) == (287651 + 4000, 283901)


def test_affectnet_of_2021(tmp_path):
    dataset, samples = read("affectnet", trees.affectnet_2021(tmp_path))
    assert dataset.is_crop
    assert [sample.id for sample in samples["train"][:3]] == ["train_set/0", "train_set/1", "train_set/2"]
    assert [sample.id for sample in samples["train"]][-1] == "train_set/15"
    assert decode(samples["validation"][0].picture).shape == (3, 224, 224)
    assert dataset.remarks == ()
    assert dataset.published == {}


def test_affectnet_with_broken_rows(tmp_path):
    table = trees.affectnet(tmp_path, others=False) / "training.csv"
    rows = table.read_text().splitlines()
    rows[3] = rows[3].partition(",")[0]
    rows[4] = rows[4].replace(",35,", ",,")
    rows[5] = rows[5].replace(",95,", ",-1,")
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    dataset, samples = read("affectnet", tmp_path)
    assert len(samples["train"]) == 21
    assert remarks(dataset) == {"rows that can't be read, left out": 2, "without a box, left out": 1}
    assert dataset.remarks[0].where[0] == f"{table}, line 4"


def test_affectnet_of_2021_with_broken_arrays(tmp_path):
    annotations = trees.affectnet_2021(tmp_path, train=3) / "train_set" / "annotations"
    (annotations / "3_exp.npy").write_bytes(b"")
    np.save(annotations / "4_exp.npy", np.array("11"))
    np.save(annotations / "5_exp.npy", np.array([1, 2]))
    (annotations / "6_exp.npy").unlink()
    dataset, samples = read("affectnet", tmp_path)
    assert len(samples["train"]) == 20
    assert remarks(dataset) == {"rows that can't be read, left out": 3}


def test_expw(tmp_path):
    dataset, samples = read("expw", trees.expw(tmp_path, scenes=60))
    assert not dataset.is_crop
    assert set(samples) == {"train", "validation", "test"}
    every = [sample for each in samples.values() for sample in each]
    assert len(every) == 90
    splits = {split: {sample.group for sample in each} for split, each in samples.items()}
    assert sum(map(len, splits.values())) == 60, "the faces of a picture are in one split"
    pair = [sample for sample in every if sample.group == "disgust_actor_1.jpg"]
    x0, y0, x1, y1 = trees.FACE_BOX
    assert [sample.id for sample in pair] == ["disgust_actor_1.jpg#0", "disgust_actor_1.jpg#1"]
    assert [sample.box for sample in pair] == [(x0, y0, x1, y1), (x0 + 160, y0, x1 + 160, y1)]


def test_splits_of_expw_depend_on_the_seed_and_on_no_other_picture(tmp_path):
    def of(**options):
        _, samples = read("expw", tmp_path, **options)
        return {sample.id: split for split, each in samples.items() for sample in each}

    labels = trees.expw(tmp_path, scenes=400) / "data" / "label" / "label.lst"
    first = of()
    assert abs(Counter(first.values())["train"] / len(first) - 0.8) < 0.06
    assert of() == first != of(split_seed=1)
    assert set(of(fractions={"train": 0.5, "test": 0.5}).values()) == {"train", "test"}
    labels.write_text("\n".join(reversed(labels.read_text().splitlines()[100:])))
    fewer = of()
    assert fewer == {name: first[name] for name in fewer}


def test_other_lists_of_expw(tmp_path):
    labels = trees.expw(tmp_path) / "data" / "label" / "label.lst"
    _, expected = read("expw", tmp_path)
    rows = [line.split() for line in labels.read_text().splitlines()]
    header = (
        "expression_label,image_name,face_id_in_image,face_box_left,face_box_top,face_box_right,face_box_bottom,"
        "face_box_confidence"
    )
    lines = [",".join([row[7], row[0], row[1], row[3], row[2], *row[4:7]]) for row in rows]
    labels.write_text("\r\n".join([header, *lines]))
    assert read("expw", tmp_path)[1] == expected
    labels.write_text("\n".join("\t".join(row) for row in rows))
    assert read("expw", tmp_path)[1] == expected


def test_faces_of_expw_that_are_listed_twice(tmp_path):
    labels = trees.expw(tmp_path) / "data" / "label" / "label.lst"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines, lines[0], lines[1], lines[1][:-1] + "6"]))
    dataset, samples = read("expw", tmp_path)
    assert sum(map(len, samples.values())) == len(lines)
    assert remarks(dataset) == {"listed again, left out": 2, "listed again otherwise, the first was taken": 1}


def test_kdef(tmp_path):
    dataset, samples = read("kdef", trees.kdef(tmp_path))
    (every,) = samples.values()
    assert not dataset.is_crop
    assert len(every) == 2 * 4 * 7 * 5
    assert {sample.subject for sample in every} == {"F01", "F02", "M01", "M02"}
    found = {sample.id: sample for sample in every}
    assert found["BM02SUHR"].label == "surprise"
    assert {name: found[f"AF01AF{name}"].pose[0] for name in trees.KDEF_VIEWS} == {
        "FL": -90,
        "HL": -45,
        "S": 0,
        "HR": 45,
        "FR": 90,
    }
    assert found["AF01AFFL"].group == found["AF01AFS"].group != found["BF01AFS"].group
    assert dataset.published[None, None] == 4900
    (tmp_path / "AF01" / "AF01ANS.JPG").rename(tmp_path / "AF01" / "notes.jpg")
    dataset, _ = read("kdef", tmp_path)
    assert remarks(dataset) == {"pictures that are not named as in KDEF, left out": 1}


def test_rafd(tmp_path):
    dataset, samples = read("rafd", trees.rafd(tmp_path))
    (every,) = samples.values()
    assert len(every) == 2 * 5 * 8
    found = {sample.id: sample for sample in every}
    sample = found["Rafd045_01_Caucasian_male_contemptuous_frontal"]
    assert (sample.label, sample.subject, sample.pose[0]) == ("contempt", "01", -45)
    assert sample.group == found["Rafd180_01_Caucasian_male_contemptuous_frontal"].group
    assert dataset.published[None, None] == 8040


FIVE = [
    [5, 4, 0, 0, 0, 0, 0, 0, 1, 0],  # most, more than half of what is left
    [4, 3, 0, 0, 0, 0, 0, 3, 0, 0],  # most, but not more than half
    [4, 0, 0, 0, 0, 0, 0, 0, 6, 0],  # unknown
    None,  # no face
    [2, 2, 2, 2, 1, 1, 0, 0, 0, 0],  # four tie
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # single votes only
    [0, 4, 0, 0, 0, 0, 0, 0, 4, 2],  # unknown ties
    [6, 0, 0, 0, 0, 3, 1, 0, 0, 0],
]
KEPT = {
    "majority": {0: ("neutral", None), 7: ("neutral", None)},
    "cross-entropy": {
        0: ("neutral", {"neutral": 5, "happiness": 4}),
        1: ("neutral", {"neutral": 4, "happiness": 3, "contempt": 3}),
        7: ("neutral", {"neutral": 6, "disgust": 3}),
    },
    "soft": {
        0: ("neutral", {"neutral": 5, "happiness": 4}),
        1: ("neutral", {"neutral": 4, "happiness": 3, "contempt": 3}),
        4: ("neutral", {"neutral": 2, "happiness": 2, "surprise": 2, "sadness": 2, "anger": 1, "disgust": 1}),
        5: (
            "neutral",
            dict.fromkeys(
                ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
                1,
            ),
        ),
        6: ("happiness", {"happiness": 4}),
        7: ("neutral", {"neutral": 6, "disgust": 3, "fear": 1}),
    },
}


@pytest.mark.parametrize("protocol", KEPT)
def test_protocols_of_ferplus(protocol, tmp_path):
    dataset, samples = read("ferplus", trees.ferplus(tmp_path, FIVE, per_class=2), protocol=protocol)
    shown = {
        int(sample.id[3:]): (
            sample.label,
            sample.votes and {name: votes for name, votes in sample.votes.items() if votes},
        )
        for each in samples.values()
        for sample in each
    }
    assert {row: found for row, found in shown.items() if row < len(FIVE)} == KEPT[protocol]
    assert remarks(dataset) == {
        "rows that FER+ calls no face, left out": 1,
        f"without a label by the protocol {protocol}, left out": len(FIVE) - 1 - len(KEPT[protocol]),
    }
    sums = {"majority": 31412, "cross-entropy": 34966, "soft": 35488}
    assert dataset.published[None, None] == sums[protocol]


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
def test_protocols_of_ferplus_on_any_votes(votes):
    """None adds votes; those for single votes or for a fourth class are gone; where two name a face they agree."""
    votes = [float(vote) for vote in votes]
    kept = {name: protocol(votes) for name, protocol in PROTOCOLS.items()}
    assert kept["soft"] == votes
    for name in ("majority", "cross-entropy"):
        assert all(new in (0, old) and new != 1 for new, old in zip(kept[name], votes, strict=False))
        assert sum(map(bool, kept[name])) <= (1 if name == "majority" else 3)
        total = sum(vote for vote in votes if vote > 1)
        assert not kept[name] or sum(kept[name]) > total / 2
    if kept["majority"] and kept["cross-entropy"]:
        best = kept["majority"].index(max(kept["majority"]))
        assert kept["cross-entropy"][best] == max(kept["cross-entropy"])


def test_ferplus_names_rows_of_fer2013(tmp_path):
    _, samples = read("ferplus", trees.ferplus(tmp_path))
    _, plain = read("fer2013", tmp_path)
    assert {split: [(s.id, s.label, s.image) for s in each] for split, each in samples.items()} == {
        split: [(s.id, s.label, s.image) for s in each] for split, each in plain.items()
    }


def test_ferplus_of_other_rows_is_refused(tmp_path, refused):
    trees.ferplus(tmp_path)
    table = tmp_path / "fer2013new.csv"
    text = table.read_text()
    for change, message in (
        (text + text.splitlines()[-1] + "\n", "differ in the number of rows"),
        (text.rpartition("PrivateTest")[0], "differ in the number of rows"),
        (text.replace("PublicTest", "Training"), "line 9 is fer0000007.png in train, but"),
        (text.replace("fer0000002", "fer0000009"), "line 4 is fer0000009.png in train, but"),
        (text.replace("NF", "nobody"), "is it fer2013new.csv of FER+?"),
        (text.replace(",8,", ",-8,"), "votes are never negative"),
    ):
        table.write_text(change)
        assert message in refused("ferplus", path=str(tmp_path))
    table.rename(tmp_path / "votes.csv")
    message = refused("ferplus", path=str(tmp_path))
    assert "looked for fer2013new.csv, found fer2013.csv, votes.csv; it looks like fer2013" in message


def test_judged_split():
    assert judged_split(("train", "validation", "test")) == "test"
    assert judged_split(("all",)) == "all"
    with pytest.raises(FerkitError, match="the splits a, b, and none called test"):
        judged_split(("a", "b"))
