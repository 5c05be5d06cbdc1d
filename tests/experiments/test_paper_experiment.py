"""``ferkit reproduce paper``: end to end on RAF-DB's layout with tiny checkpoints, and what it makes of finished arms."""

import csv
import json
import shutil
from pathlib import Path

import fakes
import pytest
import trees

import ferkit
from ferkit.evaluation.rows import table
from ferkit.experiments.arms import GRID
from ferkit.experiments.paper import plan, reproduce_paper
from ferkit.journal import Journal
from ferkit.labels import SEVEN
from ferkit.recipe import load_recipe
from ferkit.registry import Registry

ARMS = "aligned-visual,both-fused"
PAPER = "ferkit-diffusers,ferkit-face-alignment,ferkit-open-clip,ferkit-timm"


@pytest.fixture(scope="module")
def rafdb(tmp_path_factory):
    return f"rafdb:{trees.rafdb(tmp_path_factory.mktemp('data') / 'basic', train=3, test=1, original=False)}"


@pytest.fixture
def options(tiny):
    return {**tiny, "data": {"validation": 0.3}}


def written(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_arms_are_trained_judged_and_compared_and_a_failed_one_is_gone_on_with(
    run, rafdb, options, small_editor, tmp_path
):
    command = ("paper", "--data", rafdb, "--out", "out", "--arms", ARMS, "--resamples", "100", "--device", "cpu")
    editor = Path(options["normalizer"]["folder"])
    shutil.move(editor, editor.with_name("gone"))
    told = run(*command, options=options, code=1).stderr
    assert "paper-rafdb-both-fused, seed 0: " in told and "the other arms go on" in told
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: arm["state"] for name, arm in results["arms"].items() if arm["state"] != "not run"} == {
        "aligned-visual": "done",
        "both-fused": "failed",
    }
    assert str(editor) in results["arms"]["both-fused"]["reason"]

    shutil.move(editor.with_name("gone"), editor)
    before = written(tmp_path / "out" / "arms" / "aligned-visual")
    told = run(*command, options=options)
    assert "89.39 % [88.25, 90.43]" in told.stdout
    assert written(tmp_path / "out" / "arms" / "aligned-visual") == before
    out = tmp_path / "out" / "arms"
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    aligned, (fused,) = results["arms"]["aligned-visual"], results["arms"]["both-fused"]["runs"]
    judged = ferkit.Evaluation.read(out / "both-fused" / "report", resamples=100)
    assert (fused["n"], fused["accuracy_all"]) == (7, judged.metrics["accuracy_all"])
    assert sum(fused["by_yaw"][name]["n"] for name in ("0-30", ">30", "no pose")) == 7
    assert aligned["runs"][0]["against_baseline"] is None
    apart = ferkit.compare(out / "aligned-visual" / "report", out / "both-fused" / "report", resamples=100).metrics
    assert fused["against_baseline"]["difference"] == apart["difference"]
    assert fused["against_baseline"]["harm_rate"] == apart["harm_rate"]
    assert not judged.rows["flags"].str.contains("not_turned").any()  # the editor was asked
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No number of right answers among 3068 gives 89.39 %" in page and "control-pose-augmentation" in page

    again = written(tmp_path / "out" / "arms")
    assert "seed 0" not in run(*command, options=options).stderr
    assert written(tmp_path / "out" / "arms") == again
    other = {**options, "align": {"size": 48}}
    assert "is of another recipe or other data" in run(*command, options=other, code=2).stderr


def test_an_interrupted_experiment_goes_on_without_training_again(run, rafdb, options, tmp_path, monkeypatch):
    options = {**options, "normalizer": None}
    command = (
        "paper",
        "--data",
        rafdb,
        "--out",
        "out",
        "--arms",
        "aligned-text",
        "--resamples",
        "100",
        "--device",
        "cpu",
    )

    def stop(self, record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        told = run(*command, options=options, code=130).stderr
    assert "interrupted: what is done is in out; the same command goes on" in told
    trained = written(tmp_path / "out" / "arms" / "aligned-text" / "run")
    told = run(*command, options=options)
    assert written(tmp_path / "out" / "arms" / "aligned-text" / "run") == trained
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["arms"]["aligned-text"]["state"] == "done"
    assert results["arms"]["both-text"]["reason"] == "the recipe has no normalizer (--set normalizer=null)"
    recipe = load_recipe(tmp_path / "out" / "arms" / "aligned-text" / "recipe.yaml")
    assert (recipe.normalizer, list(recipe.encoders), recipe.data.name) == (None, ["clip"], "rafdb")


def recipes_of(arms):
    return {name: arm.recipe for name, arm in arms.items() if arm.recipe}


def test_the_control_learns_from_turned_heads_and_is_judged_by_the_data(run, rafdb, options, tmp_path):
    command = ("paper", "--data", rafdb, "--out", "out", "--resamples", "100", "--device", "cpu")
    command += ("--arms", "control-pose-augmentation,control-warp")
    told = run(*command, options=options)
    arm = tmp_path / "out" / "arms" / "control-pose-augmentation"
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["arms"]["control-pose-augmentation"]["state"] == "done", told.output
    with (arm / "posed" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    held = [row["id"] for row in rows if row["split"] == "validation"]
    learnt = [row["id"] for row in rows if row["split"] == "train"]
    assert held and not any("@" in name for name in held), "what is held out is as it is"
    originals = [name for name in learnt if "@" not in name]
    assert (len(originals) + len(held), len(learnt)) == (21, 3 * len(originals)), "each face, and two copies"
    assert f"{2 * len(originals)} copies of {len(originals)} faces" in told.stderr
    assert "manifest" in (arm / "run" / "recipe.yaml").read_text()
    judged = ferkit.Evaluation.read(arm / "report", resamples=100)
    assert judged.metrics["n"] == 7
    assert not judged.rows["id"].str.contains("@").any()
    assert results["arms"]["control-warp"]["state"] == "done", "its normalizer is mesh-frontal"
    before = written(arm)
    run(*command, options=options)
    assert written(arm) == before


@pytest.mark.parametrize("name, classes", [("rafdb", None), ("expw", None), ("affectnet", 7)])
def test_every_arm_changes_one_part_of_the_shipped_recipe(name, classes):
    arms = {arm.name: arm for arm in plan(f"{name}:data", {"align.size": 112}, seed=2)}
    assert set(GRID) < set(arms)
    posed = arms["control-pose-augmentation"]
    assert (posed.poser.pose.name, posed.poser.normalizer.name) == ("mesh", "mesh-frontal")
    assert posed.recipe.normalizer is None, "it learns from turned heads, and turns none"
    assert (
        posed.recipe.pose.name == posed.recipe.resolved()["pose"]["use"] == recipes_of(arms)["aligned-fused"].pose.name
    )
    recipes = recipes_of(arms)
    base = recipes["both-fused"]
    assert (base.normalizer.name, base.normalization.keep, base.labels) == ("qwen-image-edit", "both", SEVEN)
    for arm, recipe in recipes.items():
        assert (recipe.framework.align.size, recipe.framework.seed) == (112, 2)
        assert getattr(recipe.data.config, "classes", None) == classes
        if arm.startswith("aligned"):
            assert recipe.normalizer is None
        if arm.endswith(("visual", "text")):
            assert (list(recipe.encoders), list(recipe.framework.training.learn)) == (["clip"], ["clip"])
            assert recipe.encoders["clip"].config.text == arm.endswith("text")
            assert bool(recipe.framework.training.objectives.image_text) == arm.endswith("text")
    assert recipes["frontal-fused"].normalization == base.normalization.model_copy(update={"keep": "frontal"})
    assert recipes["control-edited-frontal"].normalization == base.normalization.model_copy(update={"above_yaw": 0})
    assert recipes["control-resample"].normalizer.name == "resample"
    assert recipes["control-resample"].normalization.accept.max_yaw is None
    digests = [recipe.digest for recipe in recipes.values()]
    assert len(digests) == 13
    assert len(set(digests)) == 12, "with copies of other poses the same recipe is learnt from more"


def test_the_warp_is_the_mesh_where_that_is_installed(monkeypatch):
    monkeypatch.setenv("FERKIT_PLUGINS", PAPER)
    registry = Registry.discover()
    plans = {arm.name: arm.recipe for arm in plan("rafdb:data", {}, registry)}
    assert plans["control-warp"].normalizer.name == "mirror"
    mesh = [
        fakes.component("pose", "mesh", target="fakes:FixedPose", provides=frozenset({"pose", "landmarks:mesh"})),
        fakes.component("normalizer", "mesh-frontal", needs=frozenset({"landmarks:mesh"}), cheap=True),
    ]
    registry.register(fakes.plugin(*mesh), "mesh-fake", "1.0")
    warp = {arm.name: arm.recipe for arm in plan("rafdb:data", {}, registry)}["control-warp"]
    assert (warp.normalizer.name, warp.pose.name, warp.normalization.accept.max_yaw) == ("mesh-frontal", "mesh", 20)


def test_a_dry_run_lists_arms_and_missing_weights(run, options, tmp_path):
    missing = {**options, "normalizer": {**options["normalizer"], "folder": str(tmp_path / "nowhere")}}
    told = run("paper", "--data", "rafdb:nowhere", "--out", "out", "--dry-run", options=missing)
    assert all(name in told.stdout for name in GRID)
    assert str(tmp_path / "nowhere") in told.stdout
    assert "13 arms can be run; 1 weights are missing" in told.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--data", "kdef:x", "--out", "o"), "the paper reports on rafdb, expw, affectnet"),
        (("--data", "rafdb:x", "--out", "o", "--arms", "aligned"), "--arms aligned: there is no such arm"),
        (("--data", "rafdb:x", "--out", "o", "--set", "align.sise=3"), "did you mean size?"),
        (("--data", "rafdb:x", "--out", "o", "--set", "seed=5"), "--seeds says how many"),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(run, tmp_path, arguments, message):
    assert message in run("paper", *arguments, code=2).stderr
    assert not (tmp_path / "o").exists()


def report(folder, wrong, yaw=0.0):
    """A report of 70 faces, ten a class, of which those at ``wrong`` are taken for the next class."""
    rows = []
    for index in range(70):
        truth = SEVEN[index % 7]
        guess = SEVEN[(index + (index in wrong)) % 7]
        shares = {f"p_{label}": 0.7 if label == guess else 0.05 for label in SEVEN}
        own = {"label": guess, "confidence": 0.7, "status": "scored", "pose_from": "estimated", "flags": ""}
        place = {"id": f"{index}", "source": f"{index}.jpg", "true_label": truth, "split": "test", "face": 0}
        rows.append({**place, **shares, **own, "yaw": 50.0 if index < 7 else 35.0 if index < 21 else yaw, "pitch": 0.0})
    ferkit.Evaluation.of(table(rows, SEVEN), {}, resamples=100).write(folder)


def test_finished_arms_are_told_with_pose_differences_and_spread_over_seeds(tmp_path):
    arms = tmp_path / "arms"
    report(arms / "aligned-visual" / "report", wrong=range(14))
    report(arms / "aligned-visual" / "seed-1" / "report", wrong=range(7))
    report(arms / "both-fused" / "report", wrong=range(10, 21), yaw=float("nan"))
    report(arms / "both-fused" / "seed-1" / "report", wrong=range(0))
    results = reproduce_paper("rafdb:data", tmp_path, {}, arms=ARMS.split(","), seeds=2, resamples=200)
    first, second = results["arms"]["both-fused"]["runs"]
    assert (first["accuracy"], second["accuracy"]) == (59 / 70, 1.0)
    spread = results["arms"]["both-fused"]["over_seeds"]
    assert spread["accuracy"] == pytest.approx({"mean": 64.5 / 70, "sd": 11 / 70 / 2**0.5})
    # bins are by the baseline's pose, not by this arm's own
    assert {name: each["n"] for name, each in first["by_yaw"].items()} == {
        "0-30": 49,
        ">30": 21,
        ">45": 7,
        "no pose": 0,
    }
    assert first["by_yaw"][">45"]["accuracy"] == 1.0
    apart = first["against_baseline"]
    assert (apart["gained"], apart["lost"], apart["harm_rate"]) == (10, 7, 0.1)
    assert apart["holm_p"] == apart["mcnemar_p"]  # one arm was compared
    assert second["against_baseline"]["lost"] == 0
    assert results["arms"]["frontal-fused"] | {"what": ""} == {
        "what": "",
        "state": "not run",
        "reason": "not asked for",
        "runs": [],
        "over_seeds": None,
    }
    page = (tmp_path / "report.md").read_text()
    assert "| both-fused | 2 | 92.1 ± 11.1 % |" in page
    assert "The two intervals overlap. That says nothing of the paper's method." in page
