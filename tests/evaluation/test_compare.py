"""``ferkit.compare`` of reports and of recipes."""

import json
import subprocess
import sys

import fakes
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import f1_score, recall_score

import ferkit
from ferkit import FerkitError
from ferkit.evaluation.rows import table

FAST = {"resamples": 300}


def changed(frame, ids, label):
    """The rows with another answer for some ids."""
    return frame.assign(label=frame["label"].where(~frame["id"].isin(ids), label))


def test_a_report_compared_with_itself_differs_in_nothing(report, random_rows):
    same = report("a", random_rows(120))
    found = ferkit.compare(same, str(same), **FAST).metrics
    assert found["difference"]["accuracy_interval"] == [0.0, 0.0] and found["mcnemar_p"] == 1.0
    assert (found["gained"], found["lost"], found["n_paired"], found["harm_rate"]) == (0, 0, 120, 0.0)


def test_figures_of_a_comparison_are_scipys_and_scikit_learns(report, random_rows):
    a, b = random_rows(300, 0.6, seed=1), random_rows(300, 0.7, seed=1)
    b = b.assign(true_label=a["true_label"])
    found = ferkit.compare(report("a", a), report("b", b.sample(frac=1, random_state=0)), **FAST).metrics
    right_a, right_b = (frame["label"] == frame["true_label"] for frame in (a, b))
    gained, lost = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    assert (found["gained"], found["lost"], found["harm_rate"]) == (gained, lost, lost / 300)
    assert found["mcnemar_p"] == pytest.approx(stats.binomtest(lost, gained + lost, 0.5).pvalue)
    difference = found["difference"]
    assert difference["accuracy"] == pytest.approx(right_b.mean() - right_a.mean())
    for name, score in (("uar", recall_score), ("macro_f1", f1_score)):
        one, two = (score(frame["true_label"], frame["label"], average="macro") for frame in (a, b))
        assert difference[name] == pytest.approx(two - one)
        low, high = difference[f"{name}_interval"]
        assert low < two - one < high
    low, high = difference["accuracy_interval"]
    normal = 1.96 * (right_b.astype(float) - right_a).std() / np.sqrt(300)
    assert (high - low) / 2 == pytest.approx(normal, rel=0.25)


def test_rows_are_paired_by_id_and_others_counted(report, rows):
    a = rows([("neutral", "neutral"), ("sadness", "neutral"), ("sadness", None), ("sadness", "sadness")])
    b = changed(a, ["00001"], "sadness")
    found = ferkit.compare(report("a", a[:3]), report("b", b[1:]), **FAST)
    metrics = found.metrics
    assert (metrics["n_a"], metrics["n_b"], metrics["n_paired"], metrics["only_a"], metrics["only_b"]) == (
        3,
        3,
        2,
        1,
        1,
    )
    assert found.pairs["change"].tolist() == ["gained", "missed"]
    assert (metrics["n_scored"], metrics["b"]["accuracy"], metrics["b"]["accuracy_all"]) == (1, 1.0, 0.5)


def test_bins_are_by_the_pose_of_a(report, rows):
    a = rows([("sadness", "sadness", {"yaw": 50.0})] * 8 + [("sadness", "neutral", {"yaw": 5.0})] * 6)
    b = changed(changed(a, [f"{i:05}" for i in range(8)], "neutral"), [f"{i:05}" for i in range(8, 14)], "sadness")
    found = ferkit.compare(report("a", a), report("b", b.assign(yaw=80.0)), **FAST).metrics["by_yaw"]
    assert (found["45-60"]["lost"], found["0-15"]["gained"], found["60-90"]["n"]) == (8, 6, 0)
    p = [2 * 0.5**8, 2 * 0.5**6]
    assert found["45-60"]["mcnemar_p"] == pytest.approx(p[0])
    assert found["45-60"]["holm_p"] == pytest.approx(2 * p[0]) and found["0-15"]["holm_p"] == pytest.approx(p[1])
    assert found["60-90"]["holm_p"] is None and found["60-90"]["difference"]["accuracy"] is None


def test_people_are_drawn_whole(report, random_rows):
    """One person's faces change together: intervals by subject are wider than by face."""
    who = [f"person {index // 20}" for index in range(400)]
    alone, together = random_rows(400, 0.1), random_rows(400, 0.1, subject=who)
    lucky = [f"{index:05}" for index in range(400) if index // 20 in (1, 4, 9)]
    widths = []
    for name, frame in (("alone", alone), ("together", together)):
        b = frame.assign(label=frame["label"].where(~frame["id"].isin(lucky), frame["true_label"]))
        metrics = ferkit.compare(report(name, frame), report(f"{name}-b", b), resamples=2000).metrics
        low, high = metrics["difference"]["accuracy_interval"]
        widths.append(high - low)
    assert metrics["bootstrap"]["drawn_by"] == "subject" and metrics["bootstrap"]["units"] == 20
    assert widths[1] > 1.5 * widths[0]


def test_other_true_labels_are_named(report, rows):
    a = rows([("neutral", "neutral"), ("sadness", "sadness")])
    other = a.assign(true_label=["neutral", "happiness"])
    with pytest.raises(FerkitError, match="1 of 2 faces have another true label in each: '00001' is sadness in A and"):
        ferkit.compare(report("a", a), report("b", other))


def test_no_common_id_shows_some_of_each(report, rows):
    a = rows([("neutral", "neutral")])
    with pytest.raises(FerkitError, match="no id in common: A has '00000' and 0 more, B has 'x' and 0 more"):
        ferkit.compare(report("a", a), report("b", a.assign(id="x")))


def test_other_labels_are_matched_by_name(report, rows):
    a = rows([("happiness", "happiness"), ("sadness", "sadness"), ("sadness", "neutral")])
    spelt = a.rename(columns={"p_happiness": "p_happy"}).replace({"label": {"happiness": "happy"}})
    spelt = spelt.replace({"true_label": {"happiness": "happy"}})
    spelt["p_anger"] = 0.0
    spelt = spelt[
        [*[c for c in spelt.columns if not c.startswith("p_")], "p_anger", "p_happy", "p_sadness", "p_neutral"]
    ]
    b = table(spelt.to_dict("records"), ("anger", "happy", "sadness", "neutral")).assign(
        label=["happy", "anger", "sadness"]
    )
    found = ferkit.compare(report("a", a), report("b", b), **FAST)
    assert found.metrics["labels"] == ["neutral", "happiness", "sadness", "anger"]
    assert (found.metrics["labels_only_a"], found.metrics["labels_only_b"]) == ([], ["anger"])
    assert found.pairs["change"].tolist() == ["both right", "lost", "gained"]


def test_what_is_neither_report_nor_recipe_with_data(report, rows, tmp_path):
    a = report("a", rows([("neutral", "neutral")]))
    with pytest.raises(FerkitError, match=r"default is no report of ferkit evaluate \(it has no predictions.parquet\)"):
        ferkit.compare(a, "default")
    with pytest.raises(FerkitError, match="split and overrides are of recipes"):
        ferkit.compare(a, a, split="test")


def test_a_comparison_is_written_with_sheets_of_what_changed(judged, tmp_path):
    found, folder = judged
    ids = found.rows.loc[found.rows["status"] == "scored", "id"].tolist()[:6]
    wrong = found.rows["label"] != found.rows["true_label"]
    turned = found.rows["true_label"].where(wrong, "anger")
    rows = found.rows.assign(label=found.rows["label"].where(~found.rows["id"].isin(ids), turned))
    other = ferkit.Evaluation(rows, found.metrics, found.provenance)
    comparison = ferkit.compare(folder, other, out=tmp_path / "out", **FAST)
    changes = set(comparison.pairs["change"])
    sheets = {f"{name}.jpg" for name in ("gained", "lost") if name in changes}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert sheets and names == {"comparison.json", "pairs.parquet", "report.md", "report.html", *sheets}
    for name in sheets:
        with Image.open(tmp_path / "out" / name) as sheet:
            assert sheet.width >= 128 and len(sheet.convert("L").getcolors(256)) > 50
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == json.loads(json.dumps(comparison.metrics))
    report = (tmp_path / "out" / "report.md").read_text()
    assert "31 faces are in both, 0 only in A, 0 only in B" in report
    with pytest.raises(FerkitError, match="holds a comparison: add --overwrite"):
        ferkit.compare(folder, other, out=tmp_path / "out", **FAST)


def test_without_pictures_there_is_no_sheet_and_the_report_says_so(report, rows, tmp_path):
    a = rows([("neutral", "sadness"), ("neutral", "neutral")])
    found = ferkit.compare(report("a", a), report("b", changed(a, ["00000"], "neutral")), **FAST)
    notes = found.write(tmp_path / "out")
    assert notes == [
        "No picture of the 1 gained faces can be read where it was: there is no gained.jpg.",
        "No face is lost.",
    ]
    assert "there is no gained.jpg" in (tmp_path / "out" / "report.md").read_text()


def test_recipes_are_evaluated_first(registry, tmp_path):
    for label, colour in (("happiness", "lime"), ("sadness", "blue"), ("neutral", "purple")):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (16, 16), colour).save(tmp_path / "data" / label / "0.png")
    data = {"use": "folder", "path": str(tmp_path / "data"), "crops": True}
    flipped = fakes.recipe(encoders={"colour": {"use": "colour", "scale": -10.0}})
    found = ferkit.compare(fakes.recipe(), flipped, data, tmp_path / "out", registry=registry, **FAST)
    assert found.metrics["lost"] >= 2 and found.metrics["n_paired"] == 3
    assert (tmp_path / "out" / "a" / "report.html").exists() and (tmp_path / "out" / "b" / "metrics.json").exists()
    again = ferkit.compare(tmp_path / "out" / "a", tmp_path / "out" / "b", **FAST)
    assert again.metrics["difference"] == found.metrics["difference"]


def test_reports_are_compared_without_torch(report, random_rows):
    a, b = report("a", random_rows(60)), report("b", random_rows(60, seed=0))
    code = (
        f"import sys, ferkit; ferkit.compare({str(a)!r}, {str(b)!r}, resamples=100); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
