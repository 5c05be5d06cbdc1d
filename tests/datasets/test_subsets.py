"""The published lists of hard poses, on lists written for the small trees."""

import pytest
import trees

from ferkit.datasets import open_dataset


def read(name, path, lists, subset="pose30", **options):
    dataset = open_dataset(name, path=str(path), subset=subset, lists=str(lists), **options)
    return dataset, {split: [(s.id, s.label) for s in dataset.samples(split)] for split in dataset.splits}


def remarks(dataset):
    return {remark.what: [place.partition(": ")[2] for place in remark.where] for remark in dataset.remarks}


@pytest.fixture
def data(tmp_path):
    return trees.rafdb(tmp_path / "basic")


def lists(tmp_path, name, *lines):
    return trees.lists(tmp_path / "lists", **{name: lines})


def test_a_list_of_rafdb(data, tmp_path):
    folder = lists(tmp_path, "RAF_DB_dir/val_raf_db_list.txt", "3/test_0004_aligned.jpg", "0/test_0001_aligned.jpg")
    dataset, found = read("rafdb", data, folder)
    assert found == {"test": [("test_0001.jpg", "surprise"), ("test_0004.jpg", "happiness")]}
    assert dataset.remarks == ()
    assert dataset.published == {(None, None): 1247}
    assert read("rafdb", data, folder / "RAF_DB_dir")[1] == found, "the folder that holds the list will do"
    assert read("rafdb", data, folder, images="original")[1] == found


def test_what_does_not_agree_is_told(data, tmp_path):
    lines = ("3/test_0004_aligned.jpg", "1/test_0001_aligned.jpg", "3/test_0004_aligned.jpg", "2/test_9999_aligned.jpg")
    folder = lists(tmp_path, "RAF_DB_dir/val_raf_db_list.txt", *lines, "4/test_0004_aligned.jpg")
    dataset, found = read("rafdb", data, folder)
    assert found == {"test": [("test_0001.jpg", "fear"), ("test_0004.jpg", "happiness")]}
    assert remarks(dataset) == {
        "pictures listed twice": ["test_0004"],
        "pictures listed twice with two labels, the first was taken": ["test_0004"],
        "listed labels unlike the data's, the list's was taken": [
            "test_0001.jpg is fear in the list, surprise in the data"
        ],
        "listed pictures that are not among the data's": ["test_9999"],
    }


def test_the_other_lists(data, tmp_path):
    folder = lists(tmp_path, "RAF_DB_dir/val_raf_db_list_45.txt", "3/test_0004_aligned.jpg")
    trees.lists(folder, **{"RAF_DB_dir/rafdb_occlusion_list.txt": ["test_0003_aligned 2 wearing glasses"]})
    assert read("rafdb", data, folder, "pose45")[1] == {"test": [("test_0004.jpg", "happiness")]}
    assert read("rafdb", data, folder, "occlusion")[1] == {"test": [("test_0003.jpg", "disgust")]}


def test_lists_of_affectnet(tmp_path):
    data = trees.affectnet(tmp_path / "affectnet")
    names = [trees.affectnet_stem("validation", number) for number in (2, 7)]
    folder = lists(tmp_path, "AffectNet_dir/pose_30_affectnet_list.txt", f"2/{names[0]}.jpg", f"7/{names[1]}.jpg")
    trees.lists(folder, **{"AffectNet_dir/pose_45_affectnet_list.txt": [f"2/{names[0]}/8.jpg"]})
    trees.lists(folder, **{"AffectNet_dir/occlusion_affectnet_list.txt": [f"val/7/{names[1]}/"]})
    _, found = read("affectnet", data, folder)
    assert found == {"validation": [(f"1/{names[0]}.jpg", "sadness"), (f"2/{names[1]}.jpg", "contempt")]}
    assert read("affectnet", data, folder, "pose45")[1] == {"validation": found["validation"][:1]}
    assert read("affectnet", data, folder, "occlusion")[1] == {"validation": found["validation"][1:]}
    seven, found = read("affectnet", data, folder, classes=7)
    assert len(found["validation"]) == 1
    assert remarks(seven)["listed pictures that are not among the data's"] == [names[1]]


def test_lists_of_ferplus_hold_faces_that_the_protocol_leaves_out(tmp_path):
    votes = [None] * 14 + [[3, 0, 3, 3, 1, 0, 0, 0, 0, 0], [8, 2, 0, 0, 0, 0, 0, 0, 0, 0]]
    data = trees.ferplus(tmp_path / "ferplus", votes)
    folder = lists(tmp_path, "FERplus_dir/pose_30_ferplus_list.txt", "2/fer0000014.jpg", "0/fer0000015.jpg")
    trees.lists(folder, **{"FERplus_dir/jianfei_occlusion_list.txt": ["2_fer0000014.png 8 0"]})
    dataset, found = read("ferplus", data, folder)
    assert found == {"test": [("fer0000014", "surprise"), ("fer0000015", "neutral")]}
    assert remarks(dataset)["listed labels unlike the data's, the list's was taken"] == [
        "fer0000014 is surprise in the list, without a label in the data"
    ]
    assert read("ferplus", data, folder, "occlusion")[1] == {"test": [("fer0000014", "surprise")]}


def test_wrong_lists(data, tmp_path, refused):
    path = str(data)
    assert "go together" in refused("rafdb", path=path, subset="pose30")
    assert "go together" in refused("rafdb", path=path, lists=path)
    folder = str(lists(tmp_path, "RAF_DB_dir/val_raf_db_label.txt", "1247 7"))
    message = refused("rafdb", path=path, subset="pose30", lists=folder)
    assert "there is no RAF_DB_dir/val_raf_db_list.txt in" in message
    for line, expected in (
        ("1247 7", "line 1: '1247 7' is no entry of RAF_DB_dir/val_raf_db_list.txt"),
        ("7/test_0001_aligned.jpg", "line 1: '7/test_0001_aligned.jpg' is no entry"),
        ("1/test_9999_aligned.jpg", "names none of the data's pictures (n = 1), such as test_9999"),
    ):
        lists(tmp_path, "RAF_DB_dir/val_raf_db_list.txt", line)
        assert expected in refused("rafdb", path=path, subset="pose30", lists=folder)
    numbered = str(trees.affectnet_2021(tmp_path / "2021"))
    lists(tmp_path, "AffectNet_dir/pose_30_affectnet_list.txt", f"2/{'0' * 56}.jpg")
    assert "use the classic release" in refused("affectnet", path=numbered, subset="pose30", lists=folder)
