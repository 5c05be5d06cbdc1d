"""The heads that fuse: what they compute, learn, keep apart and save."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import LABELS, recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional as F

import ferkit
from ferkit import Context, EncoderFeatures, Faces, Features, FeatureSpec
from ferkit.builtin import CrossAttention as CrossAttentionConfig
from ferkit.builtin import Gated as GatedConfig
from ferkit.builtin import ZeroShot as ZeroShotConfig
from ferkit.builtin.cross_attention import CrossAttention
from ferkit.builtin.gated import Gated
from ferkit.builtin.zero_shot import ZeroShot
from ferkit.errors import FerkitError, RecipeError, StageError, WeightsError
from ferkit.weights import WeightsStore

IMAGES = Path(__file__).parent.parent / "examples" / "images"
INPUTS = {"clip": FeatureSpec(6, 10, text=True), "vit": FeatureSpec(4), "siglip": FeatureSpec(5, text=True)}
SMALL = {
    ZeroShot: ZeroShotConfig(),
    Gated: GatedConfig(width=8),
    CrossAttention: CrossAttentionConfig(width=16, heads=2),
}
BY_NAME = {"zero-shot": ZeroShot, "gated": Gated, "cross-attention": CrossAttention}
OPTIONS = {"zero-shot": {}, "gated": {"width": 8}, "cross-attention": {"width": 16, "heads": 2}}
BOTH, ALIGNED, FRONTAL, FAILED = ("aligned", "frontal"), ("aligned",), ("frontal",), ("failed",)


def context(inputs=INPUTS, labels=LABELS, seed=0, training=True):
    return Context(
        torch.device("cpu"), torch.float32, seed, tuple(labels), WeightsStore(), inputs=inputs, training=training
    )


def make(kind, config=None, inputs=INPUTS, stir=True, **more):
    """A head as for training; stirred, no parameter has the value it starts with."""
    head = kind(config or SMALL[kind], context(inputs, **more))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in head.module.parameters() if stir else ():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return head


def posed(yaws, scores=None):
    """Faces turned by ``yaws`` degrees, NaN where unknown."""
    pose = torch.tensor(yaws, dtype=torch.float32).reshape(-1, 1) * torch.tensor([1.0, 0.0, 0.0])
    score = torch.ones(len(pose)) if scores is None else torch.tensor(scores)
    return Faces.of(torch.arange(len(pose)), torch.zeros(len(pose), 4), pose=pose, pose_score=score)


def views_of(faces, **encoders):
    """Features of faces with the given views each."""
    owners = [face for face, views in enumerate(faces) for _ in views]
    names = [view for views in faces for view in views]
    view = tuple("aligned" if name == "failed" else name for name in names)
    failed = torch.tensor([name == "failed" for name in names], dtype=torch.bool)
    return Features(encoders, torch.tensor(owners, dtype=torch.int64), view, failed)


def drawn(faces, inputs=INPUTS, seed=0, classes=3):
    """Random features of faces with the given views each; a row depends on the seed and its place only."""
    generator = torch.Generator().manual_seed(seed)
    rows = sum(map(len, faces))
    encoders = {}
    for name, spec in inputs.items():
        tokens = torch.randn(rows, 4, spec.token_dim, generator=generator) if spec.token_dim else None
        pooled = torch.randn(rows, spec.dim, generator=generator)
        text = F.normalize(torch.randn(classes, spec.dim, generator=generator), dim=-1) if spec.text else None
        encoders[name] = EncoderFeatures(pooled, tokens, None, text, 5.0 if spec.text else None)
    return views_of(faces, **encoders)


def chosen(features, faces, order):
    """The faces at ``order``, with their features."""
    rows = [row for face in order for row in torch.nonzero(features.face_index == face).flatten().tolist()]
    counts = torch.bincount(features.face_index, minlength=len(faces))[order]
    encoders = {
        name: replace(e, pooled=e.pooled[rows], tokens=None if e.tokens is None else e.tokens[rows])
        for name, e in features.encoders.items()
    }
    owners = torch.repeat_interleave(torch.arange(len(order)), counts)
    part = Features(encoders, owners, tuple(features.view[row] for row in rows), features.failed[rows])
    return part, faces.select(torch.tensor(order, dtype=torch.int64))


def fit(head, features, faces, targets, steps, rate=0.02, learns=None):
    """Train, and return the last loss and the accuracy afterwards."""
    head.module.train()
    optimizer = torch.optim.Adam(learns or head.module.parameters(), lr=rate)
    for _ in range(steps):
        loss = F.cross_entropy(head(features, faces), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.module.eval()
    return float(loss.detach()), float((head(features, faces).argmax(1) == targets).float().mean())


# zero-shot


def eye(pooled, scale=2.0):
    """Pooled features among three texts that are the axes."""
    return EncoderFeatures(torch.tensor(pooled), None, None, torch.eye(3), scale)


ONE = {"clip": FeatureSpec(3, text=True)}


def test_zero_shot_gives_the_known_answer():
    head = ZeroShot(ZeroShotConfig(), context(ONE, training=False))
    features = views_of([ALIGNED, ALIGNED], clip=eye([[3.0, 4.0, 0.0], [0.0, 0.0, 9.0]]))
    found = head(features, posed([0, 0])).softmax(1)
    expected = torch.tensor([[2 * 0.6, 2 * 0.8, 0], [0, 0, 2.0]]).softmax(1)
    torch.testing.assert_close(found, expected)
    warmer = ZeroShot(ZeroShotConfig(temperature=0.1), context(ONE, training=False))(features, posed([0, 0])).softmax(1)
    torch.testing.assert_close(warmer, torch.tensor([[6.0, 8, 0], [0, 0, 10]]).softmax(1))


def test_zero_shot_averages_probabilities_over_views_and_encoders_with_text():
    inputs = {"a": ONE["clip"], "blind": FeatureSpec(2), "b": ONE["clip"]}
    a, b = eye([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), eye([[0.0, 1, 0], [0, 1, 0], [1, 0, 0]], 9.0)
    features = views_of([BOTH, FRONTAL], a=a, blind=EncoderFeatures(torch.ones(3, 2)), b=b)
    found = ZeroShot(ZeroShotConfig(), context(inputs, training=False))(features, posed([50, 50])).softmax(1)
    each = torch.stack([(2 * a.pooled).softmax(1), (9 * b.pooled).softmax(1)]).mean(0)
    torch.testing.assert_close(found, torch.stack([each[:2].mean(0), each[2]]))


def test_zero_shot_learns_its_temperature():
    """Faces that resemble their class only three times in four want less confidence than a scale of 10 has."""
    targets = torch.arange(64) % 3
    shown = torch.where(torch.arange(64) % 4 == 0, (targets + 1) % 3, targets)
    features = views_of([ALIGNED] * 64, clip=eye(F.one_hot(shown, 3).float().tolist(), 10.0))
    head = ZeroShot(ZeroShotConfig(), context(ONE))
    assert [[p.numel() for p in stage] for stage in head.stages()] == [[1]]
    fit(head, features, posed([0.0] * 64), targets, 150, 0.1)
    sure = head(features, posed([0.0] * 64)).softmax(1).max(1).values
    torch.testing.assert_close(sure, torch.full((64,), 0.75), atol=0.02, rtol=0)


def test_zero_shot_learns_from_what_it_gives_no_chance():
    features = views_of([ALIGNED], clip=eye([[1.0, -0.5, 0.0]], 1000.0))
    features.encoders["clip"].pooled.requires_grad_()
    loss = F.cross_entropy(ZeroShot(ZeroShotConfig(), context(ONE))(features, posed([0])), torch.tensor([1]))
    loss.backward()
    assert loss.isfinite() and features.encoders["clip"].pooled.grad.abs().sum() > 1


def test_zero_shot_without_a_scale_says_what_to_set():
    features = views_of([ALIGNED], clip=eye([[1.0, 0, 0]], None))
    with pytest.raises(StageError, match=r"encoder 'clip' gives logit_scale None: set head\.temperature=0\.01"):
        ZeroShot(ZeroShotConfig(), context(ONE))(features, posed([0]))


# gated


def test_gated_starts_as_the_mean_over_views_and_encoders():
    head = make(Gated, stir=False)
    features, faces = drawn([BOTH, FAILED]), posed([50.0, math.nan])
    _, log_probabilities = head.module([features.encoders[name].pooled for name in INPUTS], torch.zeros(3, 6))
    each = log_probabilities.exp().mean(1)
    expected = torch.stack([each[:2].mean(0), each[2]])
    torch.testing.assert_close(head(features, faces).exp(), expected)


def misleading(right, targets):
    """One-hot features of ``targets`` in the rows that are ``right``, of another class in the rest."""
    shown = torch.where(right, targets, (targets + torch.randint(1, 3, targets.shape)) % 3)
    return F.one_hot(shown, 3).float() * 3


def test_gated_learns_to_trust_the_frontal_view_of_turned_faces_only():
    torch.manual_seed(0)
    yaws = torch.cat([torch.rand(50) * 60 - 30, torch.rand(25) * 30 + 50, torch.rand(25) * -30 - 50])
    turned = (yaws.abs() > 40).repeat_interleave(2)
    targets = torch.randint(0, 3, (100,))
    frontal = torch.tensor([False, True]).repeat(100)
    inputs = {"vit": FeatureSpec(3)}
    pooled = misleading(frontal == turned, targets.repeat_interleave(2))
    features = views_of([BOTH] * 100, vit=EncoderFeatures(pooled))
    head = make(Gated, inputs=inputs, stir=False)
    _, accuracy = fit(head, features, posed(yaws.tolist()), targets, 150)
    assert accuracy >= 0.98
    new = views_of([BOTH] * 4 + [ALIGNED], vit=EncoderFeatures(torch.eye(3).repeat(3, 1) * 3))
    shown = head(new, posed([-75.0, 0, 75, 0, 75])).argmax(1)  # views show 01 20 12 01 2
    assert shown.tolist() == [1, 2, 2, 0, 2]
    yaws = yaws.tolist()
    torch.testing.assert_close(head(features, posed([-yaw for yaw in yaws])), head(features, posed(yaws)))


@pytest.mark.parametrize(
    ("usual", "special"),
    [
        ((10.0, 0.9, ALIGNED), (70.0, 0.9, ALIGNED)),
        ((0.0, 0.9, ALIGNED), (math.nan, 0.9, ALIGNED)),
        ((10.0, 0.9, ALIGNED), (10.0, 0.1, ALIGNED)),
        ((10.0, 0.0, ALIGNED), (10.0, math.nan, ALIGNED)),
        ((70.0, 0.9, ALIGNED), (70.0, 0.9, FAILED)),
    ],
    ids=["yaw", "no pose", "doubtful pose", "no score", "failed"],
)
def test_gated_learns_which_encoder_to_trust_from_every_circumstance(usual, special):
    torch.manual_seed(0)
    odd = torch.arange(60) % 2 == 1
    targets = torch.randint(0, 3, (60,))
    yaws, scores, views = zip(*(special if is_odd else usual for is_odd in odd.tolist()), strict=True)
    inputs = {"a": FeatureSpec(3), "b": FeatureSpec(3)}
    a, b = misleading(~odd, targets), misleading(odd, targets)
    features = views_of(views, a=EncoderFeatures(a), b=EncoderFeatures(b))
    head = make(Gated, inputs=inputs, stir=False)
    _, accuracy = fit(head, features, posed(yaws, scores), targets, 150)
    assert accuracy >= 0.98


# cross-attention


def test_cross_attention_fits_random_tokens():
    """64 faces of random tokens; pooled features are zero, so that only attention can tell them apart."""
    features = drawn([ALIGNED, BOTH] * 32)
    for encoder in features.encoders.values():
        encoder.pooled.zero_()
    targets = torch.arange(64) % 3
    head = make(CrossAttention, CrossAttentionConfig(width=32, heads=4), stir=False)
    loss, accuracy = fit(head, features, posed([0.0] * 64), targets, 60, 0.005)
    assert accuracy == 1
    assert loss < 0.1


def test_cross_attention_scores_a_class_alike_whichever_others_there_are():
    head, fewer = make(CrossAttention), make(CrossAttention, labels=[LABELS[2], LABELS[0]])
    features, faces = drawn([BOTH, ALIGNED]), posed([40.0, math.nan])
    state = head.module.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][[2, 0]]
    fewer.module.load_state_dict(state)
    encoders = {
        name: replace(e, text=None if e.text is None else e.text[[2, 0]]) for name, e in features.encoders.items()
    }
    found = fewer(replace(features, encoders=encoders), faces)
    torch.testing.assert_close(found, head(features, faces)[:, [2, 0]])


def test_cross_attention_adds_a_linear_classifier_on_pooled_features():
    """An encoder's pooled feature beside tokens counts there only."""
    head, features, faces = make(CrossAttention), drawn([BOTH]), posed([20.0])
    clip = features.encoders["clip"]
    change = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    changed = {**features.encoders, "clip": replace(clip, pooled=clip.pooled + change)}
    difference = head(replace(features, encoders=changed), faces) - head(features, faces)
    torch.testing.assert_close(difference[0], head.module.classifier.weight[:, :6] @ change.mean(0))


def test_cross_attention_sees_tokens_text_view_failure_and_yaw():
    head = make(CrossAttention)
    features, faces = drawn([ALIGNED]), posed([20.0])
    clip = features.encoders["clip"]
    before = head(features, faces)

    def after(**changes):
        return replace(features, encoders={**features.encoders, "clip": replace(clip, **changes)})

    others = {
        "tokens": (after(tokens=clip.tokens.flip(2)), faces),
        "text": (after(text=clip.text.flip(1)), faces),
        "view": (replace(features, view=("frontal",)), faces),
        "failed": (replace(features, failed=torch.tensor([True])), faces),
        "side": (features, posed([-20.0])),
        "no pose": (features, posed([math.nan])),
    }
    for what, arguments in others.items():
        assert (head(*arguments) - before).abs().max() > 1e-3, what
    torch.testing.assert_close(head(after(tokens=clip.tokens.flip(1)), faces), before)  # a set of tokens, no sequence


def test_cross_attention_has_an_embedding_of_its_own_for_unknown_yaw():
    features, faces = drawn([ALIGNED, ALIGNED]), posed([20.0, math.nan])
    head = make(CrossAttention)
    before = head(features, faces)
    with torch.no_grad():
        head.module.views.yaw.weight[:, 4] += torch.arange(16.0)
    change = (head(features, faces) - before).abs().amax(1)
    assert change[0] == 0
    assert change[1] > 1e-3


def test_cross_attention_without_the_tokens_it_was_built_for():
    features = drawn([ALIGNED])
    clip = replace(features.encoders["clip"], tokens=None)
    with pytest.raises(StageError, match="features of encoder 'clip' come without its tokens"):
        make(CrossAttention)(replace(features, encoders={**features.encoders, "clip": clip}), posed([0]))


def test_cross_attention_width_must_divide(clip_registry):
    odd = {"use": "cross-attention", "width": 30, "heads": 4}
    with pytest.raises(RecipeError, match="width 30 must be a multiple of heads, 4"):
        ferkit.pipeline(recipe(encoders={"clip": {"use": "clip"}}, head=odd), registry=clip_registry)


# all of them

KINDS = [ZeroShot, Gated, CrossAttention]
HEADS = {kind: make(kind) for kind in KINDS}
FACE = st.tuples(st.sampled_from([BOTH, ALIGNED, FRONTAL, FAILED]), st.floats(-90, 90) | st.just(math.nan))


@settings(max_examples=30)
@given(st.lists(FACE, min_size=1, max_size=6), st.integers(0, 1000), st.randoms(use_true_random=False), st.data())
def test_faces_do_not_touch_each_other(described, seed, random, data):
    """Whatever their views: faces in another order, or without some of them, have the logits they had."""
    views, yaws = zip(*described, strict=True)
    features, faces = drawn(views, seed=seed), posed(yaws)
    order = random.sample(range(len(faces)), data.draw(st.integers(0, len(faces))))
    for head in HEADS.values():
        with torch.no_grad():
            found, expected = head(*chosen(features, faces, order)), head(features, faces)[order]
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_a_faces_views_does_not_matter(kind):
    features, faces = drawn([BOTH, BOTH]), posed([40.0, 60.0])
    rows = [3, 0, 2, 1]
    encoders = {
        name: replace(e, pooled=e.pooled[rows], tokens=None if e.tokens is None else e.tokens[rows])
        for name, e in features.encoders.items()
    }
    mixed = Features(encoders, features.face_index[rows], tuple(features.view[row] for row in rows), features.failed)
    torch.testing.assert_close(HEADS[kind](mixed, faces), HEADS[kind](features, faces))


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_without_a_view_is_nan_and_alone(kind):
    features, faces = drawn([ALIGNED, (), BOTH]), posed([0.0, 0, 0])
    found = HEADS[kind](features, faces)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], HEADS[kind](*chosen(features, faces, [0, 2])))
    assert HEADS[kind](drawn([(), ()]), posed([0.0, 0])).isnan().all()


@pytest.mark.parametrize("kind", [ZeroShot, CrossAttention])
def test_text_is_read_at_each_call_and_learns(kind):
    head, features, faces = make(kind), drawn([BOTH, ALIGNED]), posed([0.0, 30.0])
    text = features.encoders["clip"].text.requires_grad_()
    before = head(features, faces)
    F.cross_entropy(before, torch.tensor([0, 1])).backward()
    assert (text.grad.abs().sum(1) > 0).all()
    with torch.no_grad():
        text -= text.grad
    assert not torch.allclose(head(features, faces), before)
    bare = {name: replace(encoder, text=None) for name, encoder in features.encoders.items()}
    with pytest.raises(StageError, match="features of encoder 'clip' come without class texts"):
        head(replace(features, encoders=bare), faces)


@pytest.mark.parametrize("kind", [Gated, CrossAttention])
def test_dropout_is_for_learning_and_the_seed_decides_what_one_starts_with(kind):
    config = SMALL[kind].model_copy(update={"dropout": 0.5})
    head, features, faces = make(kind, config), drawn([BOTH, ALIGNED]), posed([0.0, 30.0])
    assert torch.equal(head(features, faces), head(features, faces))
    head.module.train()
    assert not torch.equal(head(features, faces), head(features, faces))
    weights = [make(kind, stir=False, seed=seed).module.state_dict()["classifier.weight"] for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


TURNED = {
    "detector": {"use": "boxes", "boxes": [[0, 0, 12, 12], [20, 0, 30, 10], [40, 0, 48, 8]]},
    "pose": {"use": "fixed"},
    "normalizer": {"use": "red", "fails_on": [0], "above_yaw": 30, "keep": "both"},
    "encoders": {"clip": {"use": "clip"}, "colour": {"use": "colour"}},
}
SPECS = {"clip": FeatureSpec(512, 768, text=True), "colour": FeatureSpec(3, logits=True)}


@pytest.fixture
def picture():
    """Three coloured faces, turned by 0, 40 and 80 degrees."""
    colours = torch.rand(3, 1, 6, generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)
    return colours.repeat_interleave(10, 2).expand(3, 20, 60)


@pytest.fixture
def trained(clip_registry, tmp_path):
    """From a head's name and changes of a recipe to a pipeline with the weights of one that was trained."""

    def build(name, **changes):
        path = tmp_path / f"{name}.safetensors"
        tensors = make(BY_NAME[name], inputs=SPECS).module.state_dict()
        save_file(tensors, path, {"labels": json.dumps(LABELS), "encoders": json.dumps(list(SPECS))})
        head = {"use": name, "weights": str(path), **OPTIONS[name]}
        return ferkit.pipeline(recipe(**{**TURNED, "head": head, **changes}), registry=clip_registry)

    return build


@pytest.mark.parametrize("name", OPTIONS)
def test_a_trained_head_serves_a_recipe_and_its_labels_in_another_order(name, trained, picture):
    found = trained(name)(picture)
    assert found.probabilities.shape == (3, 3)
    assert [p.flags[-1:] for p in found] == [("not_turned",), ("edit_failed",), ("several_faces",)]
    fer = trained(name)
    batch = ferkit.ImageBatch((picture,), ("picture",))
    faces = fer.faces(batch)
    features = fer.features(fer.views(batch, faces)[0])
    with torch.no_grad():
        expected = make(BY_NAME[name], inputs=SPECS)(features, faces).softmax(1)
    torch.testing.assert_close(found.probabilities, expected, atol=1e-5, rtol=1e-4)
    order = [2, 0, 1]
    again = trained(name, labels=[LABELS[index] for index in order])(picture)
    torch.testing.assert_close(again.probabilities, found.probabilities[:, order], atol=1e-5, rtol=1e-4)


def test_fewer_labels_share_what_they_had(trained, picture):
    """Of heads that score classes apart, probabilities of fewer labels are those of all, scaled to one."""
    every, two = (trained("cross-attention", labels=labels)(picture).probabilities for labels in (LABELS, LABELS[1:]))
    torch.testing.assert_close(two, every[:, 1:] / every[:, 1:].sum(1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert trained("gated", labels=LABELS[1:])(picture).probabilities.shape == (3, 2)


def test_a_head_for_other_labels_or_encoders_is_refused(trained):
    other = [*LABELS[:2], "contempt"]
    for name in ("gated", "cross-attention"):
        with pytest.raises(
            FerkitError, match="was trained for neutral, happiness, sadness and has no column for contempt"
        ):
            trained(name, labels=other)
    assert trained("zero-shot", labels=other).recipe.labels == tuple(other)  # a temperature is of no label
    renamed = {"clip": {"use": "clip"}, "hue": {"use": "colour"}}
    for name in OPTIONS:
        with pytest.raises(WeightsError, match="was trained on the encoders clip, colour, in this order"):
            trained(name, encoders=renamed)


@pytest.mark.parametrize("name", ["gated", "cross-attention"])
def test_without_weights(name, clip_registry):
    with pytest.raises(WeightsError, match="the head has no weights"):
        ferkit.pipeline(recipe(**{**TURNED, "head": {"use": name}}), registry=clip_registry)


@pytest.mark.parametrize("name", ["zero-shot", "cross-attention"])
def test_a_recipe_without_an_encoder_that_reads(name, registry):
    with pytest.raises(RecipeError, match=f"'{name}' needs text"):
        ferkit.pipeline(recipe(head={"use": name}), registry=registry)


def test_real_faces_are_fused_alike_alone_and_together(tmp_path):
    """Photos of one and of many faces, by the default recipe with another head on its encoder."""
    labels, inputs = ferkit.load_recipe("default").labels, {"nano": FeatureSpec(1024, 1024, logits=True)}
    tensors = make(Gated, inputs=inputs, labels=labels).module.state_dict()
    save_file(tensors, tmp_path / "head.safetensors", {"labels": json.dumps(labels), "encoders": '["nano"]'})
    head = {"use": "gated", "width": 8, "weights": str(tmp_path / "head.safetensors")}
    fer = ferkit.pipeline("default", {"head": head})
    photos = [IMAGES / "astronaut.jpg", IMAGES / "solvay_1927.jpg"]
    together, alone = fer(photos), [fer(photo).probabilities for photo in photos]
    assert len(together) > 20
    torch.testing.assert_close(together.probabilities, torch.cat(alone), atol=1e-4, rtol=1e-3)
