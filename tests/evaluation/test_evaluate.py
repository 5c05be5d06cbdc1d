"""``ferkit.evaluate`` on a real scene and on small pictures, and reports that are read again."""

import json
import re
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

import fakes
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn.metrics import accuracy_score, balanced_accuracy_score

import ferkit
from ferkit import FerkitError
from ferkit.evaluation.rows import ADDED
from ferkit.journal import Journal
from ferkit.results import columns

COLOURS = {"neutral": "red", "happiness": "lime", "sadness": "blue"}  # what the fake encoder tells apart


@pytest.fixture
def colours(tmp_path):
    """A folder data set of crops whose colour is their label, but for one."""

    def write(split="test", wrong=1):
        for label, colour in COLOURS.items():
            for n in range(4):
                path = tmp_path / "data" / split / label / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 16), "blue" if label == "neutral" and n < wrong else colour).save(path)
        return {"use": "folder", "path": str(tmp_path / "data"), "crops": True}

    return write


@pytest.fixture
def evaluate(registry):
    def run(data, out=None, overrides=None, **more):
        return ferkit.evaluate(fakes.recipe(), data, out, overrides, registry=registry, resamples=200, **more)

    return run


def test_a_scene_is_judged_face_by_face_and_nothing_is_dropped(judged):
    found, _ = judged
    rows, metrics = found.rows.set_index("id"), found.metrics
    assert len(rows) == metrics["n"] == 31
    assert rows.loc["face-29", "status"] == "no_face"
    assert rows.loc["broken", "status"] == "unreadable" and "broken.jpg" in rows.loc["broken", "error"]
    assert (metrics["n_no_face"], metrics["n_unreadable"]) == ((rows["status"] == "no_face").sum(), 1)
    scored = rows[rows["status"] == "scored"]
    assert metrics["n_scored"] == len(scored) >= 27
    right = scored["label"] == scored["true_label"]
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert metrics["accuracy_all"] == pytest.approx(right.sum() / 31)
    assert metrics["uar"] == pytest.approx(balanced_accuracy_score(scored["true_label"], scored["label"]))
    assert metrics["bootstrap"]["drawn_by"] == "subject"
    assert scored["flags"].str.contains("several_faces").all()
    assert scored["face"].is_unique and set(scored["face"]) <= set(range(29))
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == len(scored) and np.trace(confusion) == right.sum()


def test_a_scenes_rows_are_what_predict_says(judged, installed):
    found, _ = judged
    rows = found.rows[found.rows["status"] == "scored"]
    predicted = ferkit.pipeline(registry=installed)(rows["source"].iloc[0]).to_pandas().set_index("face")
    for _, row in rows.iterrows():
        same = predicted.loc[row["face"]]
        assert row["label"] == same["label"] and row["confidence"] == pytest.approx(same["confidence"], abs=1e-4)
        assert row["yaw"] == pytest.approx(same["yaw"], abs=1e-3, nan_ok=True)


def test_the_pose_of_bins_and_its_estimator_are_told(judged):
    found, _ = judged
    assert found.provenance["pose"]["estimator"].startswith("ferkit-mesh:mesh ")
    bins = found.metrics["by_yaw"]
    assert sum(each["n"] for each in bins.values()) == 31
    assert bins["no pose"]["n"] == found.rows["yaw"].isna().sum() >= 2  # missed faces have none
    turned = found.rows["yaw"].abs().between(15, 30, inclusive="left")
    assert bins["15-30"]["n"] == turned.sum()
    assert sum(bins["15-30"]["class_mix"].values()) == turned.sum()


def test_the_folder_holds_all_of_it(judged):
    found, folder = judged
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json",
        "predictions.parquet",
        "report.html",
        "report.md",
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(found.metrics))
    wanted = (
        "n n_scored n_no_face accuracy accuracy_interval accuracy_all uar macro_f1 per_class confusion nll ece by_yaw"
    )
    assert set(wanted.split()) <= set(metrics)
    origin = metrics["provenance"]
    assert origin["data"]["name"] == "manifest" and origin["data"]["n"] == 31 and len(origin["data"]["digest"]) == 64
    assert origin["weights"] and origin["components"]["encoders.nano"]["weights_licence"]
    names = parquet.read_schema(folder / "predictions.parquet").names
    assert names == [*columns(found.labels), *ADDED]
    report = (folder / "report.md").read_text()
    assert "no face found | " in report and "picture unreadable | 1 |" in report and "accuracy\\_all" in report


def test_the_page_loads_nothing_and_shows_plots(judged):
    _, folder = judged
    page = (folder / "report.html").read_text()
    plots = [ElementTree.fromstring(plot) for plot in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert [len(list(plot)) > 10 for plot in plots] == [True] * 3
    assert re.findall(r"(?:src|href|url)\s*[=(]", page) == []
    assert set(re.findall(r"https?://[^\"\s]+", page)) <= {"http://www.w3.org/2000/svg"}
    open_tags = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta",):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checked().feed(page)
    assert open_tags == []


def test_reading_a_report_scores_it_again(judged):
    found, folder = judged
    again = ferkit.Evaluation.read(folder, resamples=500)
    assert again.metrics == json.loads((folder / "metrics.json").read_text())
    other = ferkit.Evaluation.read(folder, resamples=500, seed=1)
    assert other.metrics["accuracy"] == found.metrics["accuracy"]


def test_crops_are_scored_whole_and_the_test_split_is_taken(evaluate, colours):
    colours("train", wrong=4)
    found = evaluate(colours("test"))
    assert set(found.rows["split"]) == {"test"} and len(found.rows) == 12
    assert found.metrics["accuracy"] == pytest.approx(11 / 12)
    assert found.metrics["too_small"]
    assert found.metrics["per_class"]["neutral"] == {
        "precision": 1.0,
        "recall": 0.75,
        "f1": pytest.approx(6 / 7),
        "support": 4,
        "annotated": 4,
        "few": True,
    }
    assert found.metrics["flags"] == {"no_pose": 12, "whole_image": 12}
    assert found.metrics["by_yaw"]["no pose"]["n_scored"] == 12
    assert evaluate(colours("train", wrong=4), split="train").metrics["accuracy"] == pytest.approx(8 / 12)


def test_the_split_is_test_else_validation_else_it_must_be_named(evaluate, colours):
    colours("odd")
    with pytest.raises(
        FerkitError, match="the splits train, odd, and none called test or validation: choose one with --split"
    ):
        evaluate(colours("train"))
    assert evaluate(colours("validation")).provenance["data"]["split"] == "validation"
    assert evaluate(colours("test")).provenance["data"]["split"] == "test"
    with pytest.raises(FerkitError, match="no split 'tset': choose"):
        evaluate(colours("train"), split="tset")


def test_labels_that_the_recipe_lacks_are_named_or_dropped(evaluate, colours, tmp_path):
    data = colours("test")
    (tmp_path / "data" / "test" / "sadness").rename(tmp_path / "data" / "test" / "contempt")
    with pytest.raises(FerkitError, match=r"labels that the recipe lacks: contempt \(n = 4\)"):
        evaluate(data)
    found = evaluate(data, overrides={"data.drop_labels": ["contempt"]})
    assert len(found.rows) == 8 and found.provenance["data"]["dropped"] == 4


def manifest(tmp_path, text):
    Image.new("RGB", (16, 16), "lime").save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(text)
    return {"use": "manifest", "path": str(tmp_path / "t.csv"), "crops": True}


def test_votes_are_judged_by_their_majority(evaluate, tmp_path):
    data = manifest(tmp_path, "image,id,votes:happy,votes:sad\na.png,one,7,3\na.png,two,2,3\n")
    found = evaluate(data)
    assert found.rows["true_label"].tolist() == ["happiness", "sadness"]
    assert found.metrics["accuracy"] == accuracy_score(found.rows["true_label"], ["happiness"] * 2) == 0.5


def test_a_pose_that_the_data_knows_is_the_bins_truth(evaluate, registry, tmp_path):
    class Posed:
        splits, is_crop = ("all",), True

        def __init__(self, config, context):
            pass

        def samples(self, split):
            for index, yaw in enumerate((50.0, None)):
                pose = None if yaw is None else (yaw, 0.0, 0.0)
                path = tmp_path / ("a.png", "gone.png")[index]
                yield ferkit.Sample(str(index), str(path), "happiness", pose=pose)
            yield ferkit.Sample("gone", str(tmp_path / "gone.png"), "happiness", pose=(-70.0, 0.0, 0.0))

    fakes.Posed = Posed
    registry.register(fakes.plugin(fakes.component("dataset", "posed", target="fakes:Posed")), "ferkit-posed", "1")
    Image.new("RGB", (16, 16), "lime").save(tmp_path / "a.png")
    found = evaluate({"use": "posed"}, overrides={"pose": {"use": "fixed"}})
    assert found.rows["pose_from"].tolist() == ["data", "", "data"]
    assert found.metrics["by_yaw"]["45-60"]["n_scored"] == 1
    assert (
        found.metrics["by_yaw"]["60-90"] | {"n": 1, "n_scored": 0, "accuracy_all": 0.0}
        == found.metrics["by_yaw"]["60-90"]
    )
    assert found.metrics["n_unreadable"] == 2


def test_what_a_recipe_does_goes_by_its_own_estimate_never_by_the_truth(registry, tmp_path):
    """Else a gate would be judged with eyes that no user has."""
    data = manifest(tmp_path, "image,label,yaw\na.png,happy,70\n")
    turning = {"pose": {"use": "fixed"}, "normalizer": {"use": "mirror", "above_yaw": 30}}
    found = ferkit.evaluate(fakes.recipe(), data, overrides=turning, registry=registry, resamples=200).rows.iloc[0]
    assert (found["yaw"], found["pose_from"], found["pose_score"]) == (70.0, "data", 0.75)
    assert "not_turned" in found["flags"], "the estimate is 0"


def test_an_angle_that_the_data_lacks_is_as_estimated(evaluate, tmp_path):
    data = manifest(tmp_path, "image,label,roll\na.png,happy,5\n")
    found = evaluate(data, overrides={"pose": {"use": "fixed"}}).rows.iloc[0]
    assert np.isfinite(found["yaw"]) and found["roll"] == 5.0
    assert found["pose_from"] == "estimated"


def test_an_interval_draws_people_else_groups_else_faces(evaluate, tmp_path):
    people = ("1,a.png,happy,ann,", "2,a.png,happy,ann,x", "3,a.png,happy,,x", "4,a.png,happy,,x", "5,a.png,happy,,y")
    table = "\n".join(("id,image,label,subject,group", *people, "6,a.png,happy,,"))
    drawn = evaluate(manifest(tmp_path, table)).metrics["bootstrap"]
    assert (drawn["drawn_by"], drawn["units"]) == ("subject_or_group", 4)


def test_a_report_of_pictures_that_have_changed_is_not_taken(evaluate, colours, tmp_path):
    data = colours("test")
    evaluate(data, tmp_path / "out")
    assert evaluate(data, tmp_path / "out").metrics["n"] == 12
    Image.new("RGB", (64, 64), "lime").save(next((tmp_path / "data" / "test" / "sadness").iterdir()))
    with pytest.raises(FerkitError, match="differs in pictures"):
        evaluate(data, tmp_path / "out")
    evaluate(data, tmp_path / "out", overwrite=True)


def test_a_whole_scene_is_never_scored_silently(evaluate, tmp_path):
    data = manifest(tmp_path, "image,label\na.png,happy\n") | {"crops": False}
    with pytest.warns(UserWarning, match="1 of 1 faces are whole pictures, which the data does not call crops"):
        assert evaluate(data).metrics["n_scored"] == 1
    with pytest.warns(UserWarning, match="nothing was scored: of 1 pictures 0 can't be read"):
        found = evaluate(data, overrides={"detector": {"use": "boxes", "needs": 99}, "on_no_face": "whole_image"})
    assert (found.metrics["n_no_face"], found.metrics["accuracy"], found.metrics["accuracy_all"]) == (1, None, 0.0)


def test_an_evaluation_goes_on_where_it_was_stopped(evaluate, colours, tmp_path, monkeypatch):
    data, out = colours("test"), tmp_path / "out"
    whole = evaluate(data)
    appended = Journal.append

    def stop(self, record):
        appended(self, record)
        if len(self) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(data, out)
    journal = out / "predictions.partial.jsonl"
    assert len(journal.read_text().splitlines()) == 8 and not (out / "predictions.parquet").exists()
    with pytest.raises(FerkitError, match="begun with another recipe"):
        evaluate(data, out, {"align.size": 20})
    with pytest.raises(FerkitError, match="begun with other data"):
        evaluate(data, out, {"data.drop_labels": ["sadness"]})
    (tmp_path / "data" / "test" / "happiness" / "0.png").write_bytes(b"")  # done before, and changed since: done again
    (tmp_path / "data" / "test" / "happiness" / "1.png").touch()
    seen = []
    monkeypatch.setattr(Journal, "append", lambda self, record: (seen.append(record.source), appended(self, record)))
    found = evaluate(data, out)
    assert len(seen) == 5 + 2 and not journal.exists()
    kept = found.rows["id"] != "test/happiness/0.png"
    assert found.rows[kept].equals(whole.rows[kept])


def test_a_finished_report_is_scored_again_and_that_of_another_recipe_refused(evaluate, colours, tmp_path, monkeypatch):
    data, out = colours("test"), tmp_path / "out"
    first = evaluate(data, out)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", lambda *_: pytest.fail("predicted again"))
        assert evaluate(data, out, seed=5).rows.equals(first.rows)
    assert json.loads((out / "metrics.json").read_text())["bootstrap"]["seed"] == 5
    with pytest.raises(FerkitError, match=r"differs in recipe .* add --overwrite \(overwrite=True\)"):
        evaluate(data, out, {"encoders.colour.scale": 1.0})
    assert evaluate(data, out, {"encoders.colour.scale": 1.0}, overwrite=True).metrics["nll"] != first.metrics["nll"]
    with pytest.raises(FerkitError, match="holds a report: add --overwrite"):
        first.write(out)


def test_a_run_judged_by_what_it_learnt_from_is_warned_of(tmp_path, registry, colours):
    data = colours("train")
    run = tmp_path / "run"
    ferkit.train(
        fakes.recipe(head={"use": "linear"}, training={"epochs": 1, "batch_size": 2}),
        data | {"validation": 0.3},
        run,
        registry=registry,
        device="cpu",
    )
    with pytest.warns(UserWarning, match=r"was learnt from the split train of this data, of which 30% were held out"):
        ferkit.evaluate(run, registry=registry, resamples=200)


def test_a_report_of_before_pose_score_is_read(report, rows):
    found = ferkit.Evaluation.read(report("old", rows([("neutral", "neutral")]).drop(columns="pose_score")))
    assert found.rows["pose_score"].isna().all() and found.rows["label"].tolist() == ["neutral"]


def test_damaged_reports_say_what_is_wrong(report, rows, tmp_path):
    def refused(source):
        folder = source if isinstance(source, Path) else report(f"report-{next(number)}", source)
        with pytest.raises(FerkitError) as caught:
            ferkit.Evaluation.read(folder)
        return str(caught.value)

    number = count()
    good = rows([("neutral", "neutral"), ("sadness", None)])
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    assert "it has no predictions.parquet" in refused(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "predictions.parquet").write_bytes(b"PAR1 not really")
    assert "can't be read" in refused(tmp_path / "broken")
    assert "has no column true_label, status" in refused(good.drop(columns=["true_label", "status"]))
    assert "has no rows" in refused(good[:0])
    assert "1 of 2 rows have probabilities that are missing or no numbers, first: '00000'" in refused(
        good.assign(p_neutral=np.nan)
    )
    assert "don't add up to 1" in refused(good.assign(p_neutral=5.0))
    assert "1 of 2 rows have an id that another row has, first: 'same'" in refused(good.assign(id="same"))
    assert "a true_label that is none of neutral, happiness, sadness" in refused(good.assign(true_label="joyous"))
    assert "a label that is none of" in refused(good.assign(label="joyous"))
    assert "it takes at least 2" in refused(good.drop(columns=["p_neutral", "p_sadness"]))


def test_one_class_only_is_scored(report, rows):
    found = ferkit.Evaluation.read(
        report("one", rows([("neutral", "neutral")] * 60 + [("neutral", "sadness")] * 20)), resamples=200
    )
    assert found.metrics["uar"] == found.metrics["accuracy"] == 0.75
    assert found.metrics["per_class"]["happiness"]["recall"] is None
    found.write(report("other", rows([("neutral", "neutral")])), overwrite=True)
