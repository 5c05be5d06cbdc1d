import json
import math

import fakes
import numpy as np
import pytest
import torch
from fakes import BoxesConfig, component, plugin, recipe
from PIL import Image
from safetensors.torch import save_file

import ferkit
from ferkit import FerkitError, ImageError, NoFaceError, StageError, WeightsError


def solid(colour, size=(20, 20)):
    return Image.new("RGB", size, colour)


@pytest.fixture
def make(registry):
    def build(overrides=None, **changes):
        return ferkit.pipeline(recipe(**changes), overrides, registry=registry)

    return build


def test_a_path_bytes_a_picture_an_array_and_a_tensor_give_the_same(make, tmp_path):
    path = tmp_path / "bläck ärger.png"
    solid((0, 200, 0)).save(path)
    array = np.asarray(solid((0, 200, 0)))
    inputs = [
        path,
        str(path),
        path.read_bytes(),
        solid((0, 200, 0)),
        array,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ]
    together = make()(inputs)
    assert [p.label for p in together] == ["happiness"] * 6
    assert torch.equal(together.probabilities, together.probabilities[:1].expand(6, -1))
    assert [p.source for p in together][:2] == [str(path), str(path)]


def test_arrays_can_be_bgr(make):
    array = np.zeros((8, 8, 3), np.uint8)
    array[..., 0] = 255
    fer = make()
    assert fer(array)[0].label == "neutral"
    assert fer(array, color="bgr")[0].label == "sadness"


def test_probabilities_sum_to_one_and_follow_the_labels(make):
    predictions = make()([solid("red"), solid("lime"), solid("blue")])
    assert predictions.labels == ("neutral", "happiness", "sadness")
    assert [p.label for p in predictions] == ["neutral", "happiness", "sadness"]
    assert torch.allclose(predictions.probabilities.sum(1), torch.ones(3))
    assert predictions[0].confidence == pytest.approx(math.exp(10) / (math.exp(10) + 2), rel=1e-4)


def test_a_batch_gives_what_singles_give(make):
    pictures = [solid((r, 90, 160), (10 + r, 30)) for r in range(0, 120, 17)]
    fer = make(detector={"use": "boxes", "boxes": [[0, 0, 8, 8], [2, 2, 9, 30]]})
    singles = torch.cat([fer(picture).probabilities for picture in pictures])
    assert torch.allclose(fer(pictures).probabilities, singles, atol=1e-6)


def test_faces_are_ordered_by_image_then_area_then_x(make):
    boxes = [[5, 0, 10, 5], [0, 0, 5, 5], [0, 0, 20, 20]]
    predictions = make(detector={"use": "boxes", "boxes": boxes})([solid("red"), solid("lime")])
    assert [p.image_index for p in predictions] == [0, 0, 0, 1, 1, 1]
    assert [p.face for p in predictions] == [0, 1, 2, 0, 1, 2]
    assert [p.box for p in predictions][:3] == [(0, 0, 20, 20), (0, 0, 5, 5), (5, 0, 10, 5)]
    assert "several_faces" in predictions[0].flags


def test_nothing_given_and_no_face_are_ordinary(make):
    fer = make(detector={"use": "boxes", "needs": 1000})
    for predictions in (fer([]), fer([solid("red")]), fer(solid("red"))):
        assert len(predictions) == 0
        assert predictions.probabilities.shape == (0, 3)
        assert predictions.to_dicts() == []
        assert list(predictions.to_pandas().columns)[:2] == ["source", "face"]
    assert fer([solid("red")]).images[0].n_faces == 0
    with pytest.raises(IndexError, match="no prediction 0: Predictions"):
        fer(solid("red"))[0]


def test_on_no_face_nan_keeps_a_row(make):
    fer = make(detector={"use": "boxes", "needs": 15}, on_no_face="nan")
    predictions = fer([solid("red"), solid("lime", (10, 10)), solid("blue")])
    assert [p.label for p in predictions] == ["neutral", "", "sadness"]
    assert math.isnan(predictions[1].confidence)
    assert all(math.isnan(side) for side in predictions[1].box)
    assert [info.n_faces for info in predictions.images] == [1, 0, 1]


def test_on_no_face_whole_image_is_flagged(make):
    fer = make(detector={"use": "boxes", "needs": 15}, on_no_face="whole_image")
    predictions = fer([solid("red"), solid("lime", (10, 12))])
    assert predictions[1].label == "happiness"
    assert predictions[1].box == (0, 0, 10, 12)
    assert "whole_image" in predictions[1].flags
    assert "whole_image" not in predictions[0].flags


def test_on_no_face_raise_names_the_picture(make, tmp_path):
    solid("red", (10, 10)).save(tmp_path / "small.png")
    with pytest.raises(NoFaceError, match=r"no face was found in .*small\.png"):
        make(detector={"use": "boxes", "needs": 15}, on_no_face="raise")(tmp_path / "small.png")


def test_a_single_unreadable_input_raises_and_in_a_list_it_is_an_entry(make, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    fer = make()
    with pytest.raises(ImageError, match="empty"):
        fer(tmp_path / "empty.jpg")
    predictions = fer([solid("red"), tmp_path / "empty.jpg", solid("lime"), tmp_path / "none.jpg"])
    assert [p.label for p in predictions] == ["neutral", "happiness"]
    assert [p.image_index for p in predictions] == [0, 2]
    assert [info.error_kind for info in predictions.images] == [None, "empty", None, "unreadable"]


def test_stream_is_lazy_ordered_and_one_result_an_input(make):
    taken = []

    def source():
        for index in range(100):
            taken.append(index)
            yield b"nonsense" if index == 1 else solid(("red", "lime", "blue")[index % 3])

    results = make().stream(source(), batch_size=4)
    first = [next(results) for _ in range(4)]
    assert len(taken) == 4
    assert [[p.label for p in result] for result in first] == [["neutral"], [], ["sadness"], ["neutral"]]
    assert first[1].images[0].error_kind == "not_an_image"
    assert all(len(result.images) == 1 for result in first)
    assert len(list(results)) == 96


def test_to_pandas_and_to_dicts_agree(make):
    predictions = make()([solid("red"), solid("blue")])
    table = predictions.to_pandas()
    assert list(table.columns) == [
        *("source", "face", "x0", "y0", "x1", "y1", "detection_score"),
        *("yaw", "pitch", "roll", "pose_score", "label", "confidence"),
        *("p_neutral", "p_happiness", "p_sadness", "flags"),
    ]
    assert (
        table.to_dict("records")[1]["p_sadness"] == predictions.to_dicts()[1]["p_sadness"] == predictions[1].confidence
    )
    assert "no_pose" in table["flags"][0]


def test_provenance_names_recipe_software_and_device(make):
    found = make()(solid("red")).provenance
    assert json.loads(json.dumps(found)) == found
    assert found["distributions"] == {"ferkit": ferkit.__version__, "ferkit-fakes": "1.0"}
    assert found["device"] == "cpu"
    assert len(found["recipe_digest"]) == 64


def test_draw_marks_the_face_and_leaves_the_file(make, tmp_path):
    path = tmp_path / "a.png"
    solid("red", (200, 200)).save(path)
    drawn = make(detector={"use": "boxes", "boxes": [[20, 20, 120, 120]]})(path).draw()
    assert drawn.size == (200, 200)
    assert drawn.getpixel((20, 60)) != (255, 0, 0)
    assert drawn.getpixel((180, 180)) == (255, 0, 0)
    assert Image.open(path).getpixel((20, 60)) == (255, 0, 0)


def test_draw_of_an_unreadable_input_and_of_one_in_memory(make):
    predictions = make()([b"x", solid("red", (40, 40))])
    with pytest.raises(ImageError):
        predictions.draw(0)
    assert predictions.draw(1, solid("red", (40, 40))).size == (40, 40)


def test_low_confidence_is_flagged_by_the_recipes_threshold(make):
    grey = solid((100, 100, 101))
    assert "low_confidence" in make()(grey)[0].flags
    assert "low_confidence" not in make(low_confidence=0.3)(grey)[0].flags


@pytest.fixture
def linear(tmp_path):
    """A linear head that swaps red and blue, its columns in another order than the recipe's."""
    weights = torch.tensor([[0.0, 9, 0], [0, 0, 9], [9, 0, 0]])
    tensors = {"classifier.weight": weights, "classifier.bias": torch.zeros(3)}
    path = tmp_path / "head.safetensors"
    save_file(tensors, path, metadata={"labels": json.dumps(["happiness", "neutral", "sadness"])})
    return path


def test_a_linear_heads_columns_are_matched_by_name(make, linear):
    fer = make(head={"use": "linear", "weights": str(linear)})
    assert [p.label for p in fer([solid("red"), solid("lime"), solid("blue")])] == ["sadness", "happiness", "neutral"]


def test_a_head_of_other_labels_or_encoders_is_refused(make, linear):
    with pytest.raises(FerkitError, match="has no column for anger"):
        make(head={"use": "linear", "weights": str(linear)}, labels=["neutral", "happiness", "anger"])
    with pytest.raises(WeightsError, match=r"classifier.weight has shape \[3, 3\], not \[3, 6\]"):
        two = {"colour": {"use": "colour"}, "again": {"use": "colour"}}
        make(head={"use": "linear", "weights": str(linear)}, encoders=two)


def test_weights_missing_altered_and_garbage(make, linear, tmp_path):
    with pytest.raises(WeightsError, match="the head has no weights: name those it was trained to"):
        make(head={"use": "linear"})
    with pytest.raises(WeightsError, match="weights are not on this machine"):
        make(head={"use": "linear", "weights": str(tmp_path / "none.safetensors")})
    with pytest.raises(WeightsError, match="is not the file that was pinned: SHA-256"):
        make(head={"use": "linear", "weights": f"{linear}#sha256={'0' * 64}"})
    save_file({"classifier.weight": torch.eye(3), "classifier.bias": torch.zeros(3)}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="does not say what its columns stand for"):
        make(head={"use": "linear", "weights": str(tmp_path / "bare.safetensors")})
    (tmp_path / "garbage.safetensors").write_bytes(b"\x80\x04garbage")
    with pytest.raises(WeightsError, match="is no safetensors file"):
        make(head={"use": "linear", "weights": str(tmp_path / "garbage.safetensors")})


def test_average_is_over_encoders(make):
    fer = make(encoders={"sharp": {"use": "colour"}, "blunt": {"use": "colour", "scale": 0.0}})
    sharp = make()(solid("red")).probabilities
    assert torch.allclose(fer(solid("red")).probabilities, (sharp + 1 / 3) / 2, atol=1e-6)


def test_what_a_component_does_wrong_is_told_with_its_name(registry, monkeypatch):
    class Bad:
        def __init__(self, config, context):
            pass

        def __call__(self, batch):
            return None

    class Raises(Bad):
        def __call__(self, batch):
            raise RuntimeError("out of luck")

    monkeypatch.setattr(fakes, "Bad", Bad, raising=False)
    monkeypatch.setattr(fakes, "Raises", Raises, raising=False)
    names = {"bad": "fakes:Bad", "raises": "fakes:Raises", "gone": "fakes:Gone", "none": "no_such:Thing"}
    registry.register(plugin(*(component("detector", n, target=t) for n, t in names.items())), "acme", "2.0")

    def run(name):
        return ferkit.pipeline(recipe(detector={"use": name}), registry=registry)(solid("red"))

    with pytest.raises(StageError, match=r"detector acme:bad 2.0: returned NoneType, not Faces; is a `return` missing"):
        run("bad")
    with pytest.raises(StageError, match=r"detector acme:raises 2.0 failed: RuntimeError: out of luck"):
        run("raises")
    with pytest.raises(FerkitError, match="can't be imported from fakes:Gone"):
        run("gone")
    with pytest.raises(FerkitError, match=r"can't be imported from no_such:Thing.*Reinstall acme"):
        run("none")


def test_what_an_encoder_or_head_promises_is_checked_and_told_of_the_right_one(registry, monkeypatch):
    class Mute:
        dim, token_dim = 3, None

        def __init__(self, config, context):
            pass

        def __call__(self, pixels):
            return ferkit.EncoderOutput(pixels.mean((2, 3)))

    class Wide(Mute):
        dim = 4

    class Nan(Mute):
        def __call__(self, features, faces):
            return torch.full((len(faces), 3), torch.nan)

    for fake in (Mute, Wide, Nan):
        monkeypatch.setattr(fakes, fake.__name__, fake, raising=False)
    logits = frozenset({"logits"})
    registry.register(
        plugin(
            component("encoder", "mute", target="fakes:Mute", provides=logits),
            component("encoder", "wide", target="fakes:Wide"),
            component("head", "nan", target="fakes:Nan"),
        ),
        "acme",
        "2.0",
    )

    def run(**changes):
        return ferkit.pipeline(recipe(**changes), registry=registry)(solid("red"))

    good = {"use": "colour"}
    with pytest.raises(StageError, match=r"encoder acme:mute 2.0: it provides logits of the recipe's 3 labels"):
        run(encoders={"good": good, "bad": {"use": "mute"}})
    with pytest.raises(StageError, match=r"encoder acme:wide 2.0: pooled has shape \[1, 3\], not \[1, 4\]"):
        run(encoders={"good": good, "bad": {"use": "wide"}})
    with pytest.raises(StageError, match=r"head acme:nan 2.0: logits are not finite"):
        run(head={"use": "nan"})
    with pytest.raises(StageError, match=r"the box 5 5 5 9 of a face in .* is no rectangle"):
        run(detector={"use": "boxes", "boxes": [[5, 5, 5, 9]]})


def test_features_can_be_learnt_from(make):
    fer = make()
    batch = ferkit.ImageBatch((torch.zeros(3, 8, 8, dtype=torch.uint8),), ("black",))
    views, _ = fer.views(batch, fer.faces(batch))
    layer = torch.nn.Linear(3, 2)
    layer(fer.features(views).encoders["colour"].pooled).sum().backward()
    assert layer.weight.grad is not None
    views.pixels.add_(0.1)


def test_what_comes_before_a_fault_is_streamed(make):
    fer = make(detector={"use": "boxes", "needs": 15}, on_no_face="raise")
    results = fer.stream([solid("red"), solid("blue"), solid("red", (5, 5)), solid("red")])
    assert [next(results)[0].label for _ in range(2)] == ["neutral", "sadness"]
    with pytest.raises(NoFaceError):
        next(results)


def test_calls_that_can_not_be_meant(make, registry):
    fer = make()
    with pytest.raises(FerkitError, match="stream takes many inputs"):
        next(fer.stream("photo.jpg"))
    with pytest.raises(FerkitError, match=r"an iterator of inputs goes to stream\(\)"):
        fer(iter([solid("red")]))
    with pytest.raises(FerkitError, match="a loaded recipe is complete"):
        ferkit.pipeline(ferkit.load_recipe(recipe(), registry=registry), {"align.size": 32})


def test_devices(make, registry):
    with pytest.raises(FerkitError, match="'tpux' is no device"):
        ferkit.pipeline(recipe(), device="tpux", registry=registry)
    if not torch.cuda.is_available():
        with pytest.raises(FerkitError, match="this torch finds no CUDA GPU: use device=cpu"):
            ferkit.pipeline(recipe(), device="cuda", registry=registry)


def test_given_uses_annotations_and_says_when_there_are_none(make):
    assert BoxesConfig().needs == 1
    fer = make(detector={"use": "given"})
    with pytest.raises(FerkitError, match="uses a data set's own boxes"):
        fer(solid("red"))
