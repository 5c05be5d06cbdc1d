"""The types carry what comes: CLIP-shaped encoders, cached features, failed turns, annotated scenes, crops, soft labels."""

import json

import pytest
import torch
from fakes import COLOURS, ClipShaped, recipe
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional as F

import ferkit
from ferkit import (
    Context,
    EncoderFeatures,
    Faces,
    Features,
    FeatureSpec,
    ImageBatch,
    Sample,
)
from ferkit.builtin import Learnt
from ferkit.builtin.linear import Linear
from ferkit.weights import WeightsStore

LABELS = ["neutral", "happiness", "sadness"]


def plain(colour, size=16):
    """A picture of one colour."""
    return torch.tensor(COLOURS[colour], dtype=torch.uint8).reshape(3, 1, 1).repeat(1, size, size)


def batch_of(*images, given=None):
    return ImageBatch(tuple(images), ("picture",) * len(images), given)


def features_of(fer, batch):
    faces = fer.faces(batch)
    views, _ = fer.views(batch, faces)
    return fer.features(views), faces


def test_clip_shaped_encoder_classifies_by_text(clip_registry):
    words = {"red": ["red", "crimson"]}
    described = {"prompts": {"templates": ["a {label} face"], "words": words}, "labels": list(COLOURS)}
    described |= {"encoders": {"clip": {"use": "clip"}}, "head": {"use": "zero-shot"}}
    fer = ferkit.pipeline(recipe(**described), registry=clip_registry)
    features, _ = features_of(fer, batch_of(plain("blue"), plain("red")))
    clip = features.encoders["clip"]
    assert (clip.pooled.shape, clip.tokens.shape, clip.text.shape) == ((2, 512), (2, 50, 768), (3, 512))
    torch.testing.assert_close(clip.text.norm(dim=1), torch.ones(3))
    assert clip.logit_scale == 100.0
    encoder = ClipShaped(None, None)
    red, crimson = F.normalize(encoder.encode_text(["a red face", "a crimson face"]), dim=-1)
    torch.testing.assert_close(clip.text[0], F.normalize(red + crimson, dim=-1))
    labels = [prediction.label for prediction in fer([plain("blue"), plain("red"), plain("green")])]
    assert labels == ["blue", "red", "green"]


def save_features(features, path):
    """Features without text as one safetensors file."""
    tensors = {f"{name}.pooled": encoder.pooled for name, encoder in features.encoders.items()}
    tensors |= {"face_index": features.face_index, "failed": features.failed}
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"view": json.dumps(features.view)}
    )


def load_features(path):
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        view = tuple(json.loads(file.metadata()["view"]))
    encoders = {
        name.removesuffix(".pooled"): EncoderFeatures(tensor) for name, tensor in tensors.items() if "." in name
    }
    return Features(encoders, tensors["face_index"], view, tensors["failed"])


def train_linear(features, targets, labels, path):
    """Fit the head ``linear`` to class indices or shares, and save it as a run does."""
    inputs = {name: FeatureSpec(encoder.pooled.shape[1]) for name, encoder in features.encoders.items()}
    context = Context(
        torch.device("cpu"), torch.float32, 0, tuple(labels), WeightsStore(), inputs=inputs, training=True
    )
    head = Linear(Learnt(), context)
    faces = Faces.of(torch.arange(len(targets)), torch.zeros(len(targets), 4))
    optimizer = torch.optim.LBFGS(head.module.parameters(), max_iter=200)

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(head(features, faces), targets)
        value.backward()
        return value

    optimizer.step(loss)
    save_file(dict(head.module.state_dict()), path, {"labels": json.dumps(labels)})


def test_head_trained_on_cached_features_predicts_in_a_pipeline(registry, tmp_path):
    meaning = {"red": "sadness", "green": "neutral", "blue": "happiness"}
    fer = ferkit.pipeline(recipe(), registry=registry)
    features, _ = features_of(fer, batch_of(*map(plain, COLOURS)))
    save_features(features, tmp_path / "features.safetensors")
    cached = load_features(tmp_path / "features.safetensors")
    trained_for = ["sadness", "happiness", "neutral"]  # another order than the recipe's
    targets = torch.tensor([trained_for.index(meaning[colour]) for colour in COLOURS])
    train_linear(cached, targets, trained_for, tmp_path / "head.safetensors")
    head = {"use": "linear", "weights": str(tmp_path / "head.safetensors")}
    trained = ferkit.pipeline(recipe(head=head), registry=registry)
    predictions = trained([plain(colour) for colour in COLOURS])
    assert predictions.labels == tuple(LABELS)
    assert [prediction.label for prediction in predictions] == list(meaning.values())


def test_soft_labels_are_learnt_as_shares(registry, tmp_path):
    samples = [
        Sample("a", "red.png", None, votes={"happiness": 3, "sadness": 1}),
        Sample("b", "blue.png", None, votes={"neutral": 10}),
    ]
    votes = torch.tensor([[float(sample.votes.get(label, 0)) for label in LABELS] for sample in samples])
    fer = ferkit.pipeline(recipe(), registry=registry)
    features, _ = features_of(fer, batch_of(plain("red"), plain("blue")))
    train_linear(features, votes / votes.sum(1, keepdim=True), LABELS, tmp_path / "head.safetensors")
    head = {"use": "linear", "weights": str(tmp_path / "head.safetensors")}
    found = ferkit.pipeline(recipe(head=head), registry=registry)([plain("red"), plain("blue")])
    expected = torch.tensor([[0.0, 0.75, 0.25], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(found.probabilities, expected, atol=0.02, rtol=0)


def test_failed_face_has_exactly_its_aligned_view(registry):
    """Three faces turned by 0, 40 and 80 degrees, of which the second can't be turned back."""
    boxes = [[0, 0, 12, 12], [20, 0, 30, 10], [40, 0, 48, 8]]
    described = {
        "detector": {"use": "boxes", "boxes": boxes},
        "pose": {"use": "fixed"},
        "normalizer": {"use": "red", "fails_on": [0], "above_yaw": 30, "keep": "both"},
    }
    fer = ferkit.pipeline(recipe(**described), registry=registry)
    batch = batch_of(plain("blue", 60))
    views, flags = fer.views(batch, fer.faces(batch))
    found = list(zip(views.face_index.tolist(), views.view, views.failed.tolist(), strict=True))
    assert found == [(0, "aligned", False), (1, "aligned", True), (2, "aligned", False), (2, "frontal", False)]
    assert flags == (("not_turned",), ("edit_failed",), ())
    assert [int(view.mean((1, 2)).argmax()) for view in views.pixels] == [2, 2, 2, 0]
    assert [prediction.flags[-1:] for prediction in fer(plain("blue", 60))][1] == ("edit_failed",)


def test_annotated_scenes_with_several_faces(registry):
    """Faces of a data set's scenes pass ``given`` in the usual order, and their features belong to them."""
    scene = plain("red", 40)
    scene[:, :, 20:] = plain("blue", 20).repeat(1, 2, 1)
    first = Faces.of([0, 0], [[22.0, 2, 30, 10], [2, 2, 18, 18]])
    fer = ferkit.pipeline(recipe(detector={"use": "given"}), registry=registry)
    batch = batch_of(scene, plain("green"), scene, given=(first, Faces.none(), first.select(torch.tensor([0]))))
    features, faces = features_of(fer, batch)
    assert faces.image_index.tolist() == [0, 0, 2]
    assert faces.boxes[:, 0].tolist() == [2, 22, 22]
    torch.testing.assert_close(features.encoders["colour"].pooled, torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 1]]))
    assert fer.probabilities(features, faces).argmax(1).tolist() == [0, 2, 2]


@pytest.mark.parametrize("detector", ["whole-image", "given"])
def test_cropped_pictures_get_no_margin(detector, registry):
    """A crop's view is the picture itself, whatever margin and landmarks say; a box in a scene grows by the margin."""
    picture = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    box = [[0.0, 0, 16, 16]]
    points = torch.tensor([[[4.0, 5], [11, 5], [8, 8], [5, 11], [10, 11]]])

    def view(is_crop):
        given = Faces.of([0], box, landmarks={"5": points}, is_crop=is_crop)
        batch = batch_of(picture, given=(given,))
        fer = ferkit.pipeline(recipe(detector={"use": detector}, align={"size": 16, "margin": 0.25}), registry=registry)
        return fer.views(batch, fer.faces(batch))[0].pixels[0]

    torch.testing.assert_close(view(True), picture / 255, atol=1e-3, rtol=0)
    if detector == "given":
        assert (view(False) - picture / 255).abs().max() > 0.05
