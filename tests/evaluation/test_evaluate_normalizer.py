"""``ferkit.evaluate_normalizer``: controls with known answers on real faces, pairs, and reports that are read again."""

import json
import warnings
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
import trees
from PIL import Image
from scipy.stats import bootstrap as scipy_bootstrap

import ferkit
from ferkit import FerkitError, Frontal
from ferkit.evaluation.edits import edit_columns
from ferkit.evaluation.figures import mean, share
from ferkit.evaluation.references import true_frontals
from ferkit.evaluation.resampling import Bootstrap
from ferkit.journal import Journal
from ferkit.testing import FACE_BOX, face_picture

SOLVAY = Path(__file__).parents[2] / "examples" / "images" / "solvay_1927.jpg"
TURNED = {  # four of its faces, by RetinaFace's box
    "left": (249, 404, 294, 463),
    "middle": (750, 546, 794, 601),
    "right": (1387, 450, 1427, 504),
    "last": (1434, 633, 1480, 695),
}


class Oracle:
    """Knows the true frontal view; its box is far off."""

    def __init__(self, config, context):
        pass

    def __call__(self, batch, faces):
        return [Frontal(face_picture(), box=torch.tensor([-9e9, 0, 9e9, 9e9])) for _ in range(len(faces))]


@pytest.fixture(scope="session")
def turned(tmp_path_factory):
    """A manifest of four real faces in pictures of their own, one without a face, and one that is broken."""
    folder = tmp_path_factory.mktemp("turned")
    picture = Image.open(SOLVAY).convert("RGB")
    lines = ["image,label,subject"]
    for index, (name, (x0, y0, x1, y1)) in enumerate(TURNED.items()):
        cut = picture.crop((x0 - 30, y0 - 30, x1 + 30, y1 + 30))
        cut.resize((cut.width * 3, cut.height * 3), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
        lines.append(f"{name}.png,{('neutral', 'happiness')[index % 2]},{name}")
    Image.new("RGB", (200, 200), "grey").save(folder / "empty.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "faces.csv").write_text("\n".join([*lines, "empty.png,neutral,e", "broken.png,neutral,b"]) + "\n")
    return f"manifest:{folder / 'faces.csv'}"


@pytest.fixture(scope="session")
def examine(installed, tmp_path_factory):
    """Evaluate a normalizer of the recipe ``default`` with few resamples."""

    def run(use, data, out=None, options=None, **more):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "how far faces are turned")
            patch.setenv("FERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
            own = {"normalizer": {"use": use, "above_yaw": 0, **(options or {})}}
            return ferkit.evaluate_normalizer(
                "default", data, out, own, resamples=200, registry=more.pop("registry", installed), **more
            )

    return run


@pytest.fixture(scope="session")
def resampled(examine, turned, tmp_path_factory):
    """The control that turns nothing, and its folder."""
    folder = tmp_path_factory.mktemp("resampled") / "report"
    return examine("resample", turned, folder, {"size": 1024}), folder


def test_a_control_that_turns_nothing_is_called_lazy(resampled):
    found, _ = resampled
    rows, back = found.rows.set_index("id").loc[[f"{name}.png" for name in TURNED]], found.metrics["returned"]
    assert rows["yaw_after"].to_numpy() == pytest.approx(rows["yaw_before"].to_numpy(), abs=4)
    assert rows["yaw_before"].to_numpy() == pytest.approx(rows["yaw"].to_numpy(), abs=1e-3)
    assert rows["pitch_after"].to_numpy() == pytest.approx(
        rows["pitch_before"].to_numpy(), abs=8
    )  # 40-pixel faces: pitch depends on the box
    assert back["unchanged"] == {"n": 4, "share": 1.0, "interval": [pytest.approx(0.51, abs=0.01), 1.0]}
    assert back["yaw_after"]["median"] == pytest.approx(np.median(rows["yaw_after"].abs()))
    assert back["one_face"]["share"] == 1.0 and back["n_no_pose"] == 0
    assert back["cosine"]["nano"]["mean"] > 0.9
    assert back["judge"]["a"]["accuracy"] == (rows["label_before"] == rows["true_label"]).mean()
    assert np.trace(found.metrics["flips"]) == (rows["label_before"] == rows["label_after"]).sum()
    assert np.sum(found.metrics["flips"]) == 4


def test_a_mirror_changes_the_sign_of_yaw(examine, turned):
    found = examine("mirror", turned)
    rows = found.rows.set_index("id")
    far = rows[rows["yaw_before"].abs() > 10]
    assert len(far) >= 3
    assert far["yaw_after"].to_numpy() == pytest.approx(-far["yaw_before"].to_numpy(), abs=8)
    assert (far["yaw_after"] - far["yaw_before"]).abs().min() > 5
    unchanged = (rows["yaw_after"] - rows["yaw_before"]).abs() < 5
    assert found.metrics["returned"]["unchanged"]["share"] == unchanged.sum() / 4


def test_missed_faces_are_counted_and_stand_in_the_rows(resampled):
    found, _ = resampled
    metrics, decisions = found.metrics, found.rows.set_index("id")["decision"]
    assert (metrics["n"], metrics["n_no_face"], metrics["n_unreadable"], metrics["n_asked"]) == (6, 1, 1, 4)
    assert decisions["empty.png"] == "no_face" and decisions["broken.png"] == "unreadable"
    assert metrics["decisions"] == {"no_face": 1, "turned": 4, "unreadable": 1}
    assert "broken.png" in found.rows.set_index("id").loc["broken.png", "error"]
    assert sum(each["n"] for each in metrics["by_yaw"].values()) == 6
    assert metrics["by_yaw"]["no pose"]["n"] == 2 and metrics["by_yaw"]["no pose"]["returned"]["n"] == 0
    assert metrics["seconds"]["n"] == 4 and metrics["seconds"]["median"] > 0 and metrics["seconds"]["n_cached"] == 0


def test_the_report_is_written_and_read_again(resampled):
    _, folder = resampled
    assert sorted(path.name for path in folder.iterdir()) == [
        "edits.parquet",
        "metrics.json",
        "report.html",
        "report.md",
    ]
    again = ferkit.NormalizerEvaluation.read(folder, resamples=200)
    assert again.metrics == json.loads((folder / "metrics.json").read_text())
    assert list(again.rows.columns) == edit_columns(["nano"])
    report = (folder / "report.md").read_text()
    assert "also what the recipe's gates go by" in report and "4 of 6 faces were given to the normalizer" in report
    assert "Beside the true frontal view" not in report
    assert "licence of encoders.nano" in report  # the judge's
    with pytest.raises(FerkitError, match=r"holds a report: add --overwrite"):
        again.write(folder)
    with pytest.raises(FerkitError, match=r"no report of ferkit evaluate-normalizer \(it has no edits.parquet\)"):
        ferkit.NormalizerEvaluation.read(folder.parent)


def test_gates_decide_and_what_they_reject_is_measured_all_the_same(examine, turned):
    found = examine("resample", turned, options={"size": 1024, "above_yaw": 15, "accept": {"max_yaw": 5}})
    yaw = found.rows.set_index("id")["yaw"].abs()
    asked = (yaw > 15).sum()
    assert 1 <= asked <= 3
    assert found.metrics["decisions"]["not_turned"] == 4 - asked
    assert found.metrics["decisions"]["rejected:yaw"] == asked == found.metrics["n_asked"]
    assert (found.metrics["rejected"]["share"], found.metrics["turned"]["share"]) == (1.0, 0.0)
    assert found.metrics["returned"]["n"] == asked and found.metrics["returned"]["yaw_after"]["n"] == asked
    assert found.metrics["accepted"]["n"] == 0 and found.metrics["accepted"]["yaw_after"]["median"] is None
    assert found.metrics["by_yaw"]["15-30"]["rejected"]["share"] == 1.0


@pytest.fixture
def red(registry):
    """Evaluate a fake that turns every face red, on crops of three colours."""

    def run(data, out=None, pose="fixed", **more):
        own = {"pose": {"use": "fixed"}, "normalizer": {"use": "red", "above_yaw": 30, **more.pop("options", {})}}
        recipe = more.pop("recipe", fakes.recipe(normalizer=True) | own)
        return ferkit.evaluate_normalizer(recipe, data, out, pose=pose, registry=registry, resamples=200, **more)

    return run


@pytest.fixture
def colours(tmp_path):
    """Four crops of each of three classes, whose colour is their label."""
    for label, colour in (("happiness", "lime"), ("neutral", "red"), ("sadness", "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (16, 16), colour).save(tmp_path / "data" / label / f"{n}.png")
    return {"use": "folder", "path": str(tmp_path / "data"), "crops": True}


@pytest.mark.filterwarnings("ignore:how far faces are turned")
def test_an_edit_that_makes_every_face_neutral_is_caught(red, colours):
    found = red(colours, options={"fails_on": [2]}, batch_size=12)
    back, metrics = found.metrics["returned"], found.metrics
    # the n-th face of a batch is turned by 40·n degrees: all but the first are beyond the gate, and one fails
    assert metrics["decisions"] == {"failed": 1, "not_turned": 1, "turned": 10}
    assert metrics["failed"]["share"] == 1 / 11 and metrics["by_yaw"]["beyond 90"]["failed"]["n"] == 9
    rows = found.rows[found.rows["label_before"].notna()]
    assert rows["label_before"].tolist() == rows["true_label"].tolist() and set(rows["label_after"]) == {"neutral"}
    assert metrics["flips"] == [[4, 0, 0], [2, 0, 0], [4, 0, 0]]
    assert (back["judge"]["a"]["accuracy"], back["judge"]["b"]["accuracy"], back["judge"]["lost"]) == (1.0, 0.4, 6)
    assert back["judge"]["harm_rate"] == 0.6
    drift = (rows["neutral_after"] - rows["neutral_before"]).mean()
    assert back["neutral_drift"]["mean"] == pytest.approx(drift) and drift > 0.5
    assert rows.loc[rows["true_label"] != "neutral", "colour_cosine"].max() == pytest.approx(0, abs=1e-3)


@pytest.mark.filterwarnings("ignore:how far faces are turned")
def test_what_was_made_before_is_told(red, colours, tmp_path):
    runs = [red(colours, tmp_path / str(n), options={"cache": True}) for n in range(2)]
    assert [run.metrics["seconds"]["n_cached"] for run in runs] == [0, 11]
    assert [run.metrics["seconds"]["n"] for run in runs] == [11, 11]
    assert "none was made before" in (tmp_path / "0" / "report.md").read_text()
    assert "11 were made before, and count with what they took then" in (tmp_path / "1" / "report.md").read_text()


@pytest.mark.filterwarnings("ignore:how far faces are turned")
def test_an_evaluation_goes_on_where_it_was_stopped(red, colours, tmp_path, monkeypatch):
    out, appended = tmp_path / "out", Journal.append

    def stop(self, record):
        appended(self, record)
        if len(self) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            red(colours, out, batch_size=4)
    assert len((out / "edits.partial.jsonl").read_text().splitlines()) == 8 and not (out / "edits.parquet").exists()
    with pytest.raises(FerkitError, match="begun with other pose"):
        red(colours, out, pose="landmark-pnp")
    with pytest.raises(FerkitError, match="begun with other judge"):
        red(colours, out, judge=fakes.recipe(encoders={"colour": {"use": "colour", "scale": 1.0}}))
    seen = []
    monkeypatch.setattr(Journal, "append", lambda self, record: (seen.append(record.source), appended(self, record)))
    found = red(colours, out, batch_size=4)
    assert len(seen) == 5 and len(found.rows) == 12 and not (out / "edits.partial.jsonl").exists()
    assert red(colours, out).metrics == found.metrics and len(seen) == 5  # finished: only scored again
    with pytest.raises(FerkitError, match=r"holds a report that differs in recipe and judge .*: add --overwrite"):
        red(colours, out, options={"above_yaw": 50})


def test_the_estimator_is_named_and_warned_of(red, colours):
    with pytest.warns(UserWarning, match=r"told by ferkit-fakes:fixed 1.0, by which .* Name another with --pose"):
        found = red(colours, pose=None)
    assert found.provenance["pose"]["estimator"] == "ferkit-fakes:fixed 1.0"
    assert set(found.rows["pose_score"].dropna()) == {0.75}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = red(colours, pose={"use": "landmark-pnp"})
    assert found.provenance["pose"]["estimator"] == "ferkit:landmark-pnp 0.1.0"
    assert found.provenance["pose"]["gate"] == "ferkit-fakes:fixed 1.0"
    assert found.metrics["returned"]["n_no_pose"] == found.metrics["returned"]["n"] == 11  # plain colour, no landmarks
    assert found.metrics["n_no_pose"] == 0  # the bins' pose is still the recipe's
    with pytest.raises(FerkitError, match=r"pose.use .* no pose 'fixd' \(did you mean fixed\?\)"):
        red(colours, pose="fixd")


@pytest.mark.filterwarnings("ignore:how far faces are turned")
def test_a_judge_is_a_recipe_of_its_own(red, colours):
    judge = fakes.recipe(
        labels=["sad", "neutral", "happy"],
        encoders={"strict": {"use": "colour"}, "lax": {"use": "colour", "scale": 0.0}},
    )
    found = red(colours, judge=judge)
    assert found.metrics["encoders"] == ["strict", "lax"] and found.metrics["labels"] == ["sad", "neutral", "happy"]
    rows = found.rows[found.rows["label_before"].notna()]
    assert set(rows["label_after"]) == {"sad"}  # red is its first label
    sad = (rows["true_label"] == "sadness").sum()
    assert found.metrics["returned"]["judge"]["b"]["accuracy"] == sad / len(rows)
    with pytest.raises(FerkitError, match="the judge test does not know sadness, which the data has"):
        red(colours, judge=fakes.recipe(labels=["neutral", "happiness", "anger"]))
    with pytest.raises(FerkitError, match="the recipe test has no normalizer"):
        red(colours, recipe=fakes.recipe())


@pytest.mark.parametrize("make, views", [(trees.kdef, 5), (trees.rafd, 5)])
def test_side_views_find_their_frontal_one(make, views, tmp_path):
    root = make(tmp_path / "tree", 1)
    dataset = ferkit.load_recipe(
        fakes.recipe(data={"use": make.__name__, "path": str(root)}), registry=_builtins()
    ).data
    samples = list(_samples(dataset))
    found = true_frontals(samples)
    assert len(found) == len(samples) * (views - 1) // views
    by_id = {sample.id: sample for sample in samples}
    for key, frontal in found.items():
        assert frontal.pose[0] == 0 and abs(by_id[key].pose[0]) >= 45
        same = ("subject", "group", "label")
        assert [getattr(frontal, name) for name in same] == [getattr(by_id[key], name) for name in same]


def _builtins():
    found = ferkit.Registry()
    found.register(ferkit.builtin, "ferkit", "0.1.0")
    found.register(fakes.plugin(*fakes.COMPONENTS), "ferkit-fakes", "1.0")
    return found


def _samples(part):
    from ferkit.stages import build

    context = ferkit.Context(torch.device("cpu"), torch.float32, 0, (), ferkit.WeightsStore())
    dataset = build(part, context)
    return [sample for split in dataset.splits for sample in dataset.samples(split)]


def test_what_comes_back_is_compared_with_the_true_frontal_view(examine, installed, tmp_path, monkeypatch):
    monkeypatch.setattr(fakes, "Oracle", Oracle, raising=False)
    registry = ferkit.Registry.discover()
    registry.register(
        fakes.plugin(fakes.component("normalizer", "oracle", target="fakes:Oracle", cheap=True)), "acme", "1"
    )
    face = Image.fromarray(face_picture().permute(1, 2, 0).numpy())
    grimace = Image.open(SOLVAY).convert("RGB").crop((104, 586, 192, 685)).resize((352, 396))
    face.save(tmp_path / "front.png")
    grimace.save(tmp_path / "side.png")  # stands in for the same person seen from the side
    face.save(tmp_path / "alone.png")
    (tmp_path / "t.csv").write_text(
        "image,label,subject,group,yaw\nside.png,happiness,one,x,40\nfront.png,happiness,one,x,0\n"
        "alone.png,happiness,two,x,-40\n"
    )
    found = examine("oracle", f"manifest:{tmp_path / 't.csv'}", tmp_path / "out", registry=registry)
    rows = found.rows.set_index("id")
    assert rows["frontal"].tolist() == ["front.png", None, None]
    assert rows.loc["side.png", "nano_to_frontal_after"] == pytest.approx(1, abs=1e-4)
    assert rows.loc["side.png", "nano_to_frontal_before"] < 0.95
    beside = found.metrics["returned"]["frontal"]["nano"]
    assert (beside["n_paired"], beside["n"], beside["closer"]["share"]) == (1, 1, 1.0)
    assert beside["difference"]["mean"] == pytest.approx(1 - rows.loc["side.png", "nano_to_frontal_before"], abs=1e-4)
    assert rows["yaw"].tolist() == [40, 0, -40] and set(rows["pose_from"]) == {"data"}
    assert abs(rows.loc["side.png", "yaw_before"] - 40) > 5  # the estimator's, whatever the data says
    assert "Beside the true frontal view" in (tmp_path / "out" / "report.md").read_text()


def test_crops_are_examined_whole_with_a_pose_found_by_a_border(examine, tmp_path):
    (tmp_path / "crops" / "happiness").mkdir(parents=True)
    x0, y0, x1, y1 = map(int, FACE_BOX)
    face = Image.fromarray(face_picture().permute(1, 2, 0).numpy())
    face.crop((x0 - 8, y0 - 8, x1 + 8, y1 + 8)).resize((200, 240)).save(tmp_path / "crops" / "happiness" / "a.png")
    data = {"use": "folder", "path": str(tmp_path / "crops"), "crops": True}
    [row] = examine("mirror", data).rows.to_dict("records")
    assert (row["decision"], row["faces_after"], row["detection_score"]) == (
        "turned",
        1,
        pytest.approx(float("nan"), nan_ok=True),
    )
    assert abs(row["yaw_before"]) < 10 and abs(row["yaw_after"]) < 10  # known, and of a nearly frontal face
    assert row["label_before"] == "happiness"


def test_a_manifest_tells_pose(tmp_path):
    (tmp_path / "t.csv").write_text("image,label,yaw,pitch\na.png,happy,-30,\nb.png,happy,,\n")
    config = {"use": "manifest", "path": str(tmp_path / "t.csv")}
    part = ferkit.load_recipe(fakes.recipe(data=config), registry=_builtins()).data
    one, two = _samples(part)
    assert one.pose == pytest.approx((-30, float("nan"), float("nan")), nan_ok=True) and two.pose is None
    (tmp_path / "t.csv").write_text("image,label,yaw\na.png,happy,270\n")
    with pytest.raises(FerkitError, match=r"t.csv, line 2 has the pose 270 0 0, beyond 180: write degrees"):
        _samples(part)


def test_means_have_the_bootstraps_interval_and_few_have_none():
    values = np.random.default_rng(0).normal(size=300)
    found = mean(np.append(values, np.nan), np.arange(301), Bootstrap(4000))
    reference = scipy_bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert found["n"] == 300 and found["mean"] == pytest.approx(values.mean())
    assert found["interval"] == pytest.approx(list(reference), abs=0.01)
    tripled = mean(np.repeat(values, 3), np.repeat(np.arange(300), 3), Bootstrap(4000))
    assert np.diff(tripled["interval"]) == pytest.approx(np.diff(found["interval"]), rel=0.1)  # no new evidence
    assert mean(values[:49], np.arange(49), Bootstrap()) == {
        "n": 49,
        "mean": pytest.approx(values[:49].mean()),
        "interval": None,
    }
    assert mean(np.array([]), np.array([], dtype=np.int64), Bootstrap()) == {"n": 0, "mean": None, "interval": None}
    assert share(np.array([], dtype=bool), np.array([], dtype=np.int64), Bootstrap())["share"] is None
