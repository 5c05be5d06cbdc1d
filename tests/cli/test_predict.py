import csv
import json
import os
import resource
from pathlib import Path

import fakes
import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import ferkit
from ferkit.results import columns

LABELS = ["neutral", "happiness", "sadness"]
BOXES = {"use": "boxes", "boxes": [[0, 0, 8, 8], [9, 0, 15, 6]], "needs": 21}
"""Two faces in every picture at least 21 pixels wide: of the photos in a.jpg and c.png."""


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("detector", [{"use": "whole-image"}, BOXES])
def test_every_format_has_the_same_columns_and_values(cli, write_recipe, photos, registry, tmp_path, detector):
    recipe = write_recipe(detector=detector)
    for suffix in ("csv", "jsonl", "parquet"):
        cli("predict", "photos", "-r", recipe, "--out", f"out.{suffix}")
    paths = [f"photos/{name}" for name in ("a.jpg", "b.png", "c.png")]
    expected = ferkit.pipeline(str(recipe), registry=registry)(paths).to_pandas()
    expected = expected.astype({"label": str, "flags": str, "source": str})
    lines = read_jsonl(tmp_path / "out.jsonl")
    tables = {
        "csv": pandas.read_csv(
            tmp_path / "out.csv", keep_default_na=False, na_values={c: [""] for c in expected.columns[2:11]}
        ),
        "jsonl": pandas.DataFrame([{k: v for k, v in line.items() if k != "landmarks"} for line in lines]),
        "parquet": pandas.read_parquet(tmp_path / "out.parquet"),
    }
    assert len(expected) == (3 if detector != BOXES else 4)
    for table in tables.values():
        assert list(table.columns) == columns(LABELS)
        pandas.testing.assert_frame_equal(
            table.astype(expected.dtypes.to_dict()), expected, check_exact=False, rtol=1e-7
        )
    assert all(line["landmarks"] == {} for line in lines)


def test_what_is_unknown_is_empty_in_csv_and_null_elsewhere(cli, write_recipe, photos, tmp_path):
    recipe = write_recipe(detector=BOXES, on_no_face="nan")
    for suffix in ("csv", "jsonl", "parquet"):
        cli("predict", photos / "b.png", "-r", recipe, "--out", f"out.{suffix}")
    unknown = [name for name in columns(LABELS) if name not in ("source", "face", "label", "flags")]
    (row,) = read_csv(tmp_path / "out.csv")
    assert [row[name] for name in unknown] == [""] * len(unknown)
    (line,) = read_jsonl(tmp_path / "out.jsonl")
    assert [line[name] for name in unknown] == [None] * len(unknown)
    table = pandas.read_parquet(tmp_path / "out.parquet")
    assert table[unknown].isna().all(axis=None)
    assert line["label"] == row["label"] == table["label"][0] == ""


def test_landmarks_are_an_extra_key_of_json_lines(cli, write_recipe, photos, tmp_path, registry):
    class WithLandmarks(fakes.Boxes):
        def __call__(self, batch):
            faces = super().__call__(batch)
            points = torch.arange(10.0).reshape(1, 5, 2).repeat(len(faces), 1, 1)
            points[:, 4] = torch.nan
            return faces.with_landmarks(**{"5": points})

    fakes.WithLandmarks = WithLandmarks
    part = fakes.component("detector", "marked", fakes.BoxesConfig, "fakes:WithLandmarks")
    registry.register(fakes.plugin(part), "ferkit-marked")
    cli("predict", "photos/b.png", "-r", write_recipe(detector={"use": "marked"}), "--out", "out.jsonl")
    (line,) = read_jsonl(tmp_path / "out.jsonl")
    assert line["landmarks"] == {"5": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [None, None]]}
    assert list(line)[-1] == "landmarks"


def test_errors_are_rows_by_kind_and_the_run_goes_on(cli, write_recipe, photos, tmp_path):
    (photos / "d.jpg").write_bytes(b"")
    (photos / "e.jpg").write_bytes((photos / "a.jpg").read_bytes()[:2000])
    (photos / "f.jpg").write_text("hello")
    (photos / "loop").symlink_to(photos)
    recipe = write_recipe(detector=BOXES)
    result = cli("predict", photos, "gone.jpg", "-r", recipe, "--out", "out.csv", code=1)
    errors = {
        Path(row["source"]).name: (row["kind"], row["message"]) for row in read_csv(tmp_path / "out.csv.errors.csv")
    }
    assert {name: kind for name, (kind, _) in errors.items()} == {
        "b.png": "no_face",
        "d.jpg": "empty",
        "e.jpg": "corrupt",
        "f.jpg": "not_an_image",
        "loop": "directory_loop",
        "gone.jpg": "unreadable",
    }
    assert errors["b.png"][1] == "no face was found"
    assert errors["gone.jpg"][1] == "there is no file gone.jpg: check the path"
    assert "empty (0 bytes)" in errors["d.jpg"][1]
    assert [Path(row["source"]).name for row in read_csv(tmp_path / "out.csv")] == ["a.jpg", "a.jpg", "c.png", "c.png"]
    assert "unreadable: there is no file gone.jpg: check the path\n" in result.stderr
    assert "3 images (1 without a face), 4 faces, 5 errors, " in result.stderr
    assert "Traceback" not in result.output
    meta = json.loads((tmp_path / "out.csv.meta.json").read_text())
    assert meta["counts"] == {"images": 3, "faces": 4, "no_face": 1, "failed": 5}
    assert meta["provenance"]["distributions"] == {"ferkit": "0.1.0", "ferkit-fakes": "1.0"}
    assert not (tmp_path / "out.csv.partial.jsonl").exists()


def test_a_picture_without_a_face_is_no_failure(cli, write_recipe, photos, tmp_path):
    cli("predict", photos / "b.png", "-r", write_recipe(detector=BOXES), "--out", "out.csv", code=0)
    assert read_csv(tmp_path / "out.csv") == []
    assert [row["kind"] for row in read_csv(tmp_path / "out.csv.errors.csv")] == ["no_face"]


def test_only_the_first_errors_are_printed(cli, write_recipe, tmp_path):
    for index in range(14):
        (tmp_path / f"{index:02}.jpg").write_bytes(b"")
    result = cli("predict", tmp_path, "-r", write_recipe(), "--out", "out.csv", code=1)
    assert result.stderr.count("empty (0 bytes)") == 10
    assert "… and 4 errors more: see out.csv.errors.csv" in result.stderr
    assert len(read_csv(tmp_path / "out.csv.errors.csv")) == 14


def test_without_out_a_table_goes_to_stdout_and_the_summary_to_stderr(cli, write_recipe, photos):
    result = cli("predict", photos / "b.png", "-r", write_recipe())
    heading, row = (line.split() for line in result.stdout.splitlines() if "─" not in line and line.strip())
    assert heading == ["source", "face", "box", "yaw", "pitch", "roll", "label", "confidence", "flags"]
    assert row[1:] == ["0", "0", "0", "20", "16", "happiness", "100%", "no_pose", "whole_image"]
    assert result.stderr.startswith("1 image, 1 face, 0 errors, ")


def test_paths_come_from_standard_input_by_line_or_nul(cli, write_recipe, photos, tmp_path):
    recipe = write_recipe()
    cli("predict", "-", "-r", recipe, "--out", "lines.csv", stdin="photos/c.png\n\n  \nphotos/b.png\n")
    assert [row["source"] for row in read_csv(tmp_path / "lines.csv")] == ["photos/c.png", "photos/b.png"]
    (photos / "b.png").rename(photos / "b\nb.png")
    cli("predict", "-", "-r", recipe, "--out", "nul.csv", stdin="photos/c.png\0photos/b\nb.png\0")
    assert [row["source"] for row in read_csv(tmp_path / "nul.csv")] == ["photos/c.png", "photos/b\nb.png"]


def test_folders_files_and_patterns_give_each_picture_once(cli, write_recipe, photos, tmp_path):
    cli("predict", "photos/c.png", "photos", "photos/*.png", "-r", write_recipe(), "--out", "out.csv")
    assert [row["source"] for row in read_csv(tmp_path / "out.csv")] == ["photos/c.png", "photos/a.jpg", "photos/b.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_odd_file_names(cli, write_recipe, tmp_path, suffix):
    names = ['a, "b".png', "ärger 表情.png", "line\nbreak.png"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        Image.new("RGB", (8, 8), "red").save(folder / name)
    undecodable = os.fsdecode(b"\xff.png")
    Image.new("RGB", (8, 8), "red").save(folder / undecodable)
    cli("predict", "odd", "-r", write_recipe(), "--out", f"out.{suffix}", "--annotate", "copies")
    out = tmp_path / f"out.{suffix}"
    rows = {"csv": read_csv, "jsonl": read_jsonl, "parquet": lambda path: pandas.read_parquet(path).to_dict("records")}
    sources = {row["source"] for row in rows[suffix](out)}
    last = undecodable if suffix == "jsonl" else "\\udcff.png"  # JSON can say it, UTF-8 can't
    assert sources == {f"odd/{name}" for name in [*names, last]}
    assert len(list((tmp_path / "copies").iterdir())) == 4


def test_a_link_to_itself_is_an_unreadable_picture(cli, write_recipe, photos, tmp_path):
    (photos / "loop.png").symlink_to("loop.png")
    n = len(list(photos.iterdir()))
    result = cli("predict", photos, "-r", write_recipe(), "--out", "out.csv", "--annotate", "copies", code=1)
    assert "loop.png" in result.stderr
    assert len(list((tmp_path / "copies").iterdir())) == n - 1


def test_odd_file_names_are_printed_escaped(cli, write_recipe, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "line\nbreak\x1b[31m.png")
    result = cli("predict", tmp_path / "line\nbreak\x1b[31m.png", "-r", write_recipe())
    assert "line\\nbreak\\x1b[31m.png" in result.stdout


def test_overrides_are_yaml(cli, write_recipe, photos, tmp_path):
    recipe = write_recipe(pose={"use": "fixed"})
    cli("predict", "photos/b.png", "-r", recipe, "--out", "posed.csv")
    cli(
        "predict",
        "photos/b.png",
        "-r",
        recipe,
        "--set",
        "pose=null",
        "--set",
        "labels=[joy, anger, fear]",
        "--out",
        "out.csv",
    )
    assert read_csv(tmp_path / "posed.csv")[0]["yaw"] == "0.0"
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["yaw"], row["label"]) == ("", "anger")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--out", "out.txt"], "out.txt: write results to a file that ends in .csv, .jsonl, .parquet"),
        (["photos", "--out", "out"], "out: write results to a file that ends in .csv, .jsonl, .parquet"),
        (["photos", "--out", "no/such/out.csv"], "no/such/out.csv: there is no folder no/such: make it first"),
        (["photos", "--out", "folder.csv"], "folder.csv is a folder: name a file"),
        (["photos", "--out", "taken.csv"], "taken.csv exists: add --overwrite to replace it, or choose another name"),
        (["empty"], "no image in empty"),
        (["-"], "no image in what standard input names: it is empty"),
        (["photos", "--set", "align.size"], "--set align.size: write KEY=VALUE, such as --set align.size=112"),
        (["photos", "--set", "align={"], "--set align={: the value is no YAML"),
        (["photos", "--set", "align.sise=3"], "align.sise (override): unknown key"),
        (["photos", "--device", "toaster"], "'toaster' is no device: choose cpu, cuda, cuda:1, mps"),
        (["photos", "--annotate", "photos"], "--annotate photos: pictures are read from there"),
        (["photos", "--annotate", "photos/copies"], "--annotate photos/copies: pictures are read from there"),
        (["photos/b.png", "--annotate", "photos"], "--annotate photos: pictures are read from there"),
        (["photos", "--annotate", "taken.csv"], "--annotate taken.csv: taken.csv is a file: name another folder"),
    ],
)
def test_usage_errors(cli, write_recipe, photos, tmp_path, arguments, message):
    (tmp_path / "taken.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    recipe = write_recipe()
    result = cli("predict", *arguments, "-r", recipe, code=2)
    assert f"error: {message}" in result.stderr or message in result.stderr.splitlines()[1].strip()
    assert sorted(tmp_path.rglob("*")) == sorted([*before, recipe])
    assert (tmp_path / "taken.csv").read_text() == "mine"


def test_an_unknown_recipe_is_a_usage_error(cli, photos):
    assert "there is no recipe 'nowhere'" in cli("predict", photos, "-r", "nowhere", code=2).stderr


def test_a_component_that_fails_is_an_error_without_traceback(cli, write_recipe, photos):
    recipe = write_recipe(head={"use": "linear"})
    result = cli("predict", photos, "-r", recipe, "--out", "out.csv", code=2)
    assert "error: the head has no weights: name those it was trained to with head.weights=…" in result.stderr


def test_raise_stops_at_a_picture_without_face(cli, write_recipe, photos):
    recipe = write_recipe(detector=BOXES, on_no_face="raise")
    assert "error: no face was found in photos/b.png" in cli("predict", "photos", "-r", recipe, code=1).stderr
    assert "error: no face was found in" in cli("predict", "photos", "-r", recipe, "--out", "out.csv", code=1).stderr
    assert "photos/a.jpg" in Path("out.csv.partial.jsonl").read_text()  # what came before it is kept


def test_a_carriage_return_in_a_name_is_quoted(cli, write_recipe, photos, tmp_path):
    odd = photos / 'car\rriage, "q".png'
    (photos / "a.jpg").rename(odd)
    cli("predict", odd, "-r", write_recipe(), "--out", "out.csv")
    assert [row["source"] for row in read_csv(tmp_path / "out.csv")] == [str(odd)]


def test_a_linked_result_stays_a_link(cli, write_recipe, photos, tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "out.csv").symlink_to("real.csv")
    cli("predict", photos, "-r", write_recipe(), "--out", "out.csv", "--overwrite")
    assert (tmp_path / "out.csv").is_symlink()
    assert len(read_csv(tmp_path / "real.csv")) == 3


def test_an_empty_path_is_not_the_working_folder(cli, write_recipe, photos):
    assert (
        "an empty path names no folder" in cli("predict", photos, "--annotate", "", "-r", write_recipe(), code=2).stderr
    )
    assert "an empty path names no file" in cli("predict", "", "-r", write_recipe(), code=1).stderr


def test_overwrite_replaces_a_result(cli, write_recipe, photos, tmp_path):
    (tmp_path / "out.csv").write_text("old")
    cli("predict", photos, "-r", write_recipe(), "--out", "out.csv", "--overwrite")
    assert len(read_csv(tmp_path / "out.csv")) == 3


def test_a_learnt_head_and_pose_of_the_core(cli, write_recipe, photos, tmp_path):
    save_file(
        {"classifier.weight": np.eye(3, dtype=np.float32), "classifier.bias": np.zeros(3, np.float32)},
        tmp_path / "head.safetensors",
        {"labels": json.dumps(LABELS)},
    )
    recipe = write_recipe(pose={"use": "landmark-pnp"}, head={"use": "linear", "weights": "head.safetensors"})
    cli("predict", photos, "-r", recipe, "--out", "out.csv")
    assert [row["label"] for row in read_csv(tmp_path / "out.csv")][1:] == ["happiness", "sadness"]
    assert {row["yaw"] for row in read_csv(tmp_path / "out.csv")} == {""}


def test_annotated_copies_have_names_of_their_own(cli, write_recipe, photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 48), "white").save(other / "B.png")
    Image.new("RGB", (64, 48), "white").save(other / "d.bmp")
    (photos / "z.jpg").write_bytes(b"")
    cli("predict", photos, other, "-r", write_recipe(), "--annotate", "copies", code=1)
    copies = sorted(path.name for path in (tmp_path / "copies").iterdir())
    assert len(copies) == 5
    assert [name for name in copies if "-" not in name] == ["a.jpg", "c.png", "d.jpg"]
    assert [name[:2].lower() + name[10:] for name in copies if "-" in name] == ["b-.png"] * 2
    with Image.open(tmp_path / "copies" / "d.jpg") as copy, Image.open(tmp_path / "copies" / "a.jpg") as photo:
        assert copy.size == (64, 48)
        assert len(copy.convert("RGB").getcolors(64 * 48)) > 1  # the box and label drawn on white
        with Image.open(photos / "a.jpg") as original:
            assert photo.size == original.size


def test_a_full_disk_keeps_the_journal(cli, write_recipe, photos, tmp_path):
    recipe = write_recipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, hard))
    try:
        result = cli("predict", "photos", "-r", recipe, "--out", "out.csv", "--batch-size", 1, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (
        "error: can't write the results: [Errno 27] File too large; what is done is in out.csv.partial.jsonl"
        in result.stderr
    )
    assert not (tmp_path / "out.csv").exists()
    done = len((tmp_path / "out.csv.partial.jsonl").read_bytes().splitlines()) - 2  # without header and half a line
    assert done >= 1
    result = cli("predict", "photos", "-r", recipe, "--out", "out.csv")
    assert f"going on with out.csv.partial.jsonl: {done} of 3 inputs are done" in result.stderr
    assert [row["source"] for row in read_csv(tmp_path / "out.csv")] == ["photos/a.jpg", "photos/b.png", "photos/c.png"]


def test_an_interruption_prints_the_table_of_what_was_done(cli, write_recipe, photos, monkeypatch):
    calls, encode = iter([False, False, True]), fakes.ColourEncoder.__call__

    def interrupted(self, pixels):
        if next(calls):
            raise KeyboardInterrupt
        return encode(self, pixels)

    monkeypatch.setattr(fakes.ColourEncoder, "__call__", interrupted)
    result = cli("predict", "photos", "-r", write_recipe(), "--batch-size", 1, code=130)
    assert "photos/b.png" in result.stdout
    assert "photos/c.png" not in result.stdout
    assert "2 images, 2 faces, 0 errors" in result.stderr
