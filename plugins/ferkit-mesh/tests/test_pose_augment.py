"""``ferkit data pose-augment``: a data set's faces in known poses."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from mesh_faces import IMAGES
from PIL import Image
from typer.testing import CliRunner

import ferkit
from ferkit.cli import app
from ferkit.datasets.manifest import COLUMNS


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, f"exit code {result.exit_code}, not {code}: {result.output} {result.exception}"
        return result

    return run


@pytest.fixture
def crops(tmp_path):
    """Two crops of the same face, one of nothing, and one that can't be read."""
    folder = tmp_path / "crops"
    folder.mkdir()
    with Image.open(IMAGES / "astronaut.jpg") as picture:
        face = picture.convert("RGB").crop((165, 50, 285, 190))
    face.save(folder / "a,1.png")
    face.convert("L").resize((48, 48)).save(folder / "b.png")
    Image.new("L", (48, 48), 90).save(folder / "nothing.png")
    lines = [
        "id,image,label,subject,split,votes:happiness,votes:anger",
        'a,"a,1.png",happiness,ann,train,3,1',
        "b,b.png,anger,,validation,1,0",
        "nothing,nothing.png,fear,,train,1,0",
    ]
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    return folder


def pose_augment(cli, *arguments, code=0):
    data = ("manifest:crops/faces.csv", "--set", "data.crops=true")
    return cli("data", "pose-augment", *data, *arguments, code=code)


def rows(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_face_is_shown_in_every_pose_with_its_annotations(cli, crops, tmp_path):
    result = pose_augment(cli, "--yaw=-60,0,60", "--pitch=0,20", "--out", "out", "--size", "96")
    assert "12 pictures of 2 faces; left out: 1 no_pose, named in out/left_out.csv" in result.stderr
    (left,) = csv.DictReader((tmp_path / "out/left_out.csv").read_text().splitlines())
    assert (left["id"], left["image"], left["reason"]) == ("nothing", str(crops / "nothing.png"), "no_pose")
    assert "pose is not known" in left["message"]
    assert "--data manifest:out/manifest.csv --set data.crops=true" in result.stderr
    found = rows(tmp_path / "out")
    assert [(row["yaw"], row["pitch"]) for row in found[:6]] == [
        (f"{yaw:.1f}", f"{pitch:.1f}") for yaw in (-60, 0, 60) for pitch in (0, 20)
    ]
    assert len({row["id"] for row in found}) == 12
    assert {row["group"] for row in found} == {"a", "b"}, "copies of a face are one group"
    first = found[0]
    assert [first[name] for name in ("label", "subject", "split", "votes:happiness", "votes:anger")] == [
        *("happiness", "ann", "train"),
        *("3.0", "1.0"),
    ]
    assert set(first) <= {*COLUMNS, "votes:happiness", "votes:anger"}
    assert "x0" not in first
    with Image.open(tmp_path / "out" / first["image"]) as picture:
        assert (picture.size, picture.mode) == ((96, 96), "RGB")
    with Image.open(tmp_path / "out" / found[-1]["image"]) as picture:
        assert picture.mode == "L", "grey stays grey"
    assert not list((tmp_path / "out").glob("*.partial*"))


def test_of_no_face_left_out_the_table_has_its_head_alone(cli, crops, tmp_path):
    pose_augment(cli, "--yaw=0", "--out", "out", "--split", "validation")
    assert (tmp_path / "out/left_out.csv").read_text() == "id,image,reason,message\n"


def test_the_pose_is_the_one_that_was_asked_for(cli, crops, tmp_path):
    pose_augment(cli, "--yaw=-45,0,45", "--out", "out", "--split", "train")
    shown = cli("evaluate", "frontal", "--data", "manifest:out/manifest.csv", "--out", "report", "--resamples", "100", "--set",
                "data.crops=true", "--split", "train", "--set", "normalizer=null")  # fmt: skip
    assert shown.exit_code == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["by_yaw"]["45-60"]["n"] == 2
    assert metrics["by_yaw"]["0-15"]["n"] == 1
    fer = ferkit.pipeline("frontal", {"detector": {"use": "whole-image"}, "normalizer": None})
    for row in rows(tmp_path / "out"):
        pose = fer(str(tmp_path / "out" / row["image"]))[0].pose
        assert abs(pose.yaw - float(row["yaw"])) < 12
        assert abs(pose.pitch) < 12


def test_random_poses_depend_on_seed_and_face_alone(cli, crops, tmp_path):
    def made(out, *more):
        pose_augment(cli, "--yaw=-80,80", "--roll=-10,10", "--copies", "3", "--vary", "--out", out, *more)
        return {row["id"]: row for row in rows(tmp_path / out)}

    one, other = made("one"), made("other", "--seed", "1")
    assert len(one) == 6
    assert all(-80 <= float(row["yaw"]) <= 80 and -10 <= float(row["roll"]) <= 10 for row in one.values())
    assert all(row["yaw"] != other[name]["yaw"] for name, row in one.items())
    alone = made("alone", "--split", "validation")
    for name, row in alone.items():
        assert row["yaw"] == one[name]["yaw"]
        pictures = [
            np.array(Image.open(tmp_path / out / r["image"])) for out, r in (("one", one[name]), ("alone", row))
        ]
        apart = np.abs(pictures[0].astype(int) - pictures[1])
        assert np.median(apart) == 0, "but for the network's last bits, which depend on the batch"
        assert apart.mean() < 0.5


def test_originals_stand_beside_their_copies(cli, crops, tmp_path):
    pose_augment(cli, "--yaw", "50", "--out", "out", "--originals")
    found = rows(tmp_path / "out")
    assert [row["id"] for row in found] == ["a", "a@0", "nothing", "b", "b@0"]
    assert found[0]["image"] == str(crops / "a,1.png")
    assert found[0]["yaw"] == "", "nobody measured it"
    check = cli("data", "check", "manifest:out/manifest.csv", "--set", "data.crops=true", "--json")
    assert json.loads(check.stdout)["missing"] == []


def test_faces_of_scenes_keep_a_box(cli, tmp_path):
    (tmp_path / "scenes.csv").write_text(f"id,image,label\nann,{IMAGES / 'astronaut.jpg'},happiness\n")
    cli("data", "pose-augment", "manifest:scenes.csv", "--yaw=-40,40", "--out", "out", "--size", "160")
    for row in rows(tmp_path / "out"):
        x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 < x0 < x1 < 160
        assert 0 < y0 < y1 < 160
        assert 60 < y1 - y0 < 120
    report = cli("evaluate", "default", "--data", "manifest:out/manifest.csv", "--out", "report", "--resamples", "100")
    assert "2" in report.stdout
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["n_no_face"] == 0, "the box is the face's"


def test_a_killed_run_goes_on(crops, tmp_path):
    lines = ["id,image,label", *(f'{index},"a,1.png",happiness' for index in range(120))]
    (crops / "many.csv").write_text("\n".join(lines) + "\n")
    command = [
        *(
            sys.executable,
            "-m",
            "ferkit",
            "data",
            "pose-augment",
            "manifest:crops/many.csv",
            "--set",
            "data.crops=true",
        ),
        *("--yaw=-60,60", "--out", "out"),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out" / "pose-augment.partial.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 16):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "the same command goes on from there" in told
    assert not (tmp_path / "out" / "manifest.csv").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    subprocess.run(command, cwd=tmp_path, check=True)
    kept = [path for path, when in done.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= 16 * 2, "what the journal has is not done again"
    assert len(rows(tmp_path / "out")) == 240


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--yaw", "120"], "between -90 and 90"),
        (["--yaw", "left"], "degrees separated by commas"),
        (["--yaw", "nan"], "between -90 and 90"),
        (["--yaw", "30", "--copies", "3"], "would be the same picture"),
        (["--yaw", "30", "--split", "test"], "test"),
        (["--yaw", "30", "--recipe", "default"], "no normalizer"),
        (["--yaw", "30", "--set", "normalizer.use=mirror"], "mesh-frontal"),
        (["--yaw", "30", "--max-yaw", "0"], "could be posed"),
    ],
)
def test_what_can_not_be_done_is_said(cli, crops, arguments, told):
    assert told in pose_augment(cli, *arguments, "--out", "out", code=2).stderr


def test_a_folder_of_something_else_is_left_alone(cli, crops, tmp_path):
    pose_augment(cli, "--yaw", "30", "--out", "out", "--split", "train")
    before = (tmp_path / "out" / "manifest.csv").read_bytes()
    assert "add --overwrite" in pose_augment(cli, "--yaw", "40", "--out", "out", code=2).stderr
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == before
    pose_augment(cli, "--yaw", "40", "--out", "out", "--overwrite")
    assert {row["yaw"] for row in rows(tmp_path / "out")} == {"40.0"}


def test_where_no_face_could_be_posed_each_is_told_why(cli, crops, tmp_path):
    pose_augment(cli, "--yaw", "20", "--out", "out")
    for path in crops.glob("*.png"):
        path.unlink()
    told = pose_augment(cli, "--yaw", "30", "--out", "out", "--overwrite", code=2).stderr
    assert f"none of 3 faces could be posed: 3 unreadable, first: there is no file {crops / 'a,1.png'}" in told
    assert "out/left_out.csv names them all" in told
    left = (tmp_path / "out/left_out.csv").read_text()
    assert [left.count(name) for name in ("unreadable", "no_pose")] == [3, 0], "the earlier set had one without a pose"


def test_an_interrupted_replacement_leaves_no_manifest_of_other_poses(cli, crops, tmp_path, monkeypatch):
    pose_augment(cli, "--yaw=-60,60", "--out", "out")
    assert "none of 3 faces could be posed: 2 turned, 1 no_pose" in (
        pose_augment(cli, "--yaw", "0", "--max-yaw", "0", "--out", "out", "--overwrite", code=2).stderr
    )
    assert "turned already, further than --max-yaw" in (tmp_path / "out" / "left_out.csv").read_text()
    assert not (tmp_path / "out" / "manifest.csv").exists(), "its pictures are gone"
    assert not list((tmp_path / "out" / "images").iterdir())
    (tmp_path / "out" / "images" / "mine.png").write_bytes(b"somebody's")
    pose_augment(cli, "--yaw", "20", "--out", "out", "--overwrite")
    assert (tmp_path / "out" / "images" / "mine.png").exists()


def test_a_picture_that_is_gone_is_made_again_where_a_run_goes_on(cli, crops, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ferkit.journal.Journal.finish", stop)
        pose_augment(cli, "--yaw=-30,30", "--out", "out", code=130)
    kept, gone = (tmp_path / "out" / rows(tmp_path / "out")[index]["image"] for index in (0, -1))
    gone.unlink()
    before = kept.stat().st_mtime_ns
    pose_augment(cli, "--yaw=-30,30", "--out", "out")
    assert all((tmp_path / "out" / row["image"]).is_file() for row in rows(tmp_path / "out"))
    assert kept.stat().st_mtime_ns == before, "what is there is not made again"


def test_a_run_begun_with_scenes_is_not_gone_on_with_as_crops(cli, crops, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    command = ("data", "pose-augment", "manifest:crops/faces.csv", "--yaw", "30", "--out", "out")
    with monkeypatch.context() as patch:
        patch.setattr("ferkit.posed_set.PosedSet._finish", stop)
        assert "goes on from there" in cli(*command, code=130).stderr
    assert "--overwrite" in cli(*command, "--set", "data.crops=true", code=2).stderr


def test_ids_that_would_be_there_twice_are_noticed_before_anything_is_made(cli, crops, tmp_path):
    pose_augment(cli, "--yaw", "20", "--out", "out", "--originals")
    again = (
        "data",
        "pose-augment",
        "manifest:out/manifest.csv",
        "--set",
        "data.crops=true",
        "--yaw",
        "20",
        "--originals",
    )
    assert "'a@0' would be there more than once" in cli(*again, "--out", "twice", code=2).stderr
    assert not (tmp_path / "twice").exists()


def test_a_split_names_no_folder(cli, crops, tmp_path):
    table = (crops / "faces.csv").read_text().replace("train", "../../up")
    (crops / "faces.csv").write_text(table)
    pose_augment(cli, "--yaw", "20", "--out", "deep/out")
    assert {path.name for path in tmp_path.iterdir()} == {"crops", "deep"}
    assert {row["split"] for row in rows(tmp_path / "deep" / "out")} == {"../../up", "validation"}


def test_captions_are_kept(cli, crops, tmp_path):
    (crops / "faces.csv").write_text('id,image,label,caption\na,"a,1.png",happiness,a smile\n')
    pose_augment(cli, "--yaw", "20", "--out", "out")
    assert rows(tmp_path / "out")[0]["caption"] == "a smile"


def test_unreadable_pictures_are_counted_and_the_rest_is_done(cli, crops, tmp_path):
    (crops / "b.png").write_bytes(b"\x89PNG but not really")
    result = pose_augment(cli, "--yaw", "30", "--out", "out", code=1)
    assert "1 unreadable" in result.stderr
    assert len(rows(tmp_path / "out")) == 1


def test_what_the_data_are_read_from_is_never_replaced(cli, crops, tmp_path):
    before = sorted(path.name for path in crops.iterdir())
    refused = pose_augment(cli, "--yaw=60", "--out", "crops", "--overwrite", code=2)
    assert "--out crops: the data set is read from there" in refused.stderr
    (tmp_path / "people" / "happiness").mkdir(parents=True)
    (crops / "a,1.png").rename(tmp_path / "people" / "happiness" / "a.png")
    for out in ("people", "people/more", "people/happiness"):
        refused = cli("data", "pose-augment", "folder:people", "--yaw=60", "--out", out, "--overwrite", code=2)
        assert f"--out {out}: the data set is read from there" in refused.stderr
    (tmp_path / "people" / "happiness" / "a.png").rename(crops / "a,1.png")
    assert sorted(path.name for path in crops.iterdir()) == before
    cli(
        "data",
        "pose-augment",
        f"manifest:{crops / 'faces.csv'}",
        "--set",
        "data.crops=true",
        "--yaw=0",
        "--out",
        "made",
    )
    own = cli("data", "pose-augment", "manifest:made/manifest.csv", "--yaw=30", "--out", "made", "--overwrite", code=2)
    assert "the data set is read from there" in own.stderr
    assert all((tmp_path / "made" / row["image"]).is_file() for row in rows(tmp_path / "made"))


def test_pictures_that_belong_to_no_set_stay(cli, crops, tmp_path):
    foreign = tmp_path / "out" / "images" / "000007-1.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's")
    assert "belongs to no set" in pose_augment(cli, "--yaw=30", "--out", "out", code=2).stderr
    assert foreign.read_bytes() == b"somebody's"
    pose_augment(cli, "--yaw=30", "--out", "out", "--overwrite")
    assert not foreign.exists()


def test_a_run_killed_before_its_first_face_was_written_down_begins_anew(cli, crops, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    journal = tmp_path / "out" / "pose-augment.partial.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("ferkit.posed_set.PosedSet._finish", stop)
        pose_augment(cli, "--yaw=-30,30", "--out", "out", code=130)
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    assert any((tmp_path / "out" / "images").iterdir())
    pose_augment(cli, "--yaw=-30,30", "--out", "out")
    assert {float(row["yaw"]) for row in rows(tmp_path / "out")} == {-30, 30}


def test_an_angle_counts_once(cli, crops):
    assert "yaw 45,45: an angle is there twice" in pose_augment(cli, "--yaw=45,45", "--out", "out", code=2).stderr
