"""Features computed once: they train the same head, and are found again exactly where they are the same."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ferkit import FerkitError
from ferkit.cache import read_tensors
from ferkit.training.source import FeatureSource
from ferkit_nano.network import Nano
from ferkit_timm.encoder import TimmEncoder

CLOSE = {"atol": 1e-5, "rtol": 1e-4}  # convolutions of batches and of shards add up in another order


def head(run):
    return load_file(run / "head.safetensors")


def same(first, second):
    torch.testing.assert_close(head(first), head(second), **CLOSE)


@pytest.fixture
def seen(monkeypatch):
    """The number of views in every call of an encoder from now on."""
    counts, call = [], TimmEncoder.__call__

    def counted(self, pixels):
        counts.append(len(pixels))
        return call(self, pixels)

    monkeypatch.setattr(TimmEncoder, "__call__", counted)
    return counts


@pytest.fixture
def seen_batches(monkeypatch):
    """Every batch of features from now on."""
    batches, get = [], FeatureSource.__getitem__

    def recorded(self, index):
        batches.append(get(self, index))
        return batches[-1]

    monkeypatch.setattr(FeatureSource, "__getitem__", recorded)
    return batches


@pytest.mark.parametrize("draws", [0, 2])
@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_cached_features_train_the_head_that_views_train(draws, model, recipe, train, checkpoints, history):
    settings = {"draws": draws, "epochs": 3, "batch_size": 16}
    made = recipe(encoders={"one": checkpoints[model]}, training=settings)
    cached, _ = train(made, "cached")
    through, _ = train(
        recipe(encoders={"one": checkpoints[model]}, training=settings | {"cache_features": False}), "views"
    )
    same(cached, through)
    for ours, theirs in zip(history(cached), history(through), strict=True):
        assert ours["train"]["loss"] == pytest.approx(theirs["train"]["loss"], rel=1e-4)
        assert ours["validation"] == pytest.approx(theirs["validation"], rel=1e-4)


def test_a_frozen_encoder_in_training_mode_is_put_to_rest(recipe, train, tmp_path):
    """nano is built for training with batch norms that look at the batch; a frozen one must not."""
    torch.manual_seed(0)
    metadata = {"labels": '["neutral", "happiness", "sadness"]', "size": "32"}
    save_file(Nano(3).state_dict(), tmp_path / "nano.safetensors", metadata)
    nano = {"use": "nano", "weights": str(tmp_path / "nano.safetensors")}
    settings = {"epochs": 1, "batch_size": 16}
    cached, _ = train(recipe(encoders={"nano": nano}, training=settings), "cached")
    through, _ = train(recipe(encoders={"nano": nano}, training=settings | {"cache_features": False}), "views")
    same(cached, through)


def test_class_texts_stay_with_the_learner(recipe, train, clip, seen_batches):
    """They may lie on a GPU, and batches are made by processes that must not touch it."""
    made = {"encoders": {"clip": clip}, "head": {"use": "zero-shot"}}
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    cached, _ = train(recipe(**made, training=settings), "cached")
    assert seen_batches and all(batch.views.encoders["clip"].text is None for batch in seen_batches)
    through, _ = train(recipe(**made, training=settings | {"cache_features": False}), "views")
    same(cached, through)


def test_draws_change_what_is_learnt(recipe, train):
    once, _ = train(recipe(training={"epochs": 2, "draws": 1}), "once")
    plain, _ = train(recipe(training={"epochs": 2}), "plain")
    assert not torch.allclose(head(once)["classifier.weight"], head(plain)["classifier.weight"])


def test_the_encoder_is_not_asked_twice(recipe, train, seen):
    settings = {"draws": 2, "epochs": 2}
    train(recipe(training=settings), "first")
    assert sum(seen) == 2 * 48 + 16
    seen.clear()
    train(recipe(training=settings | {"lr": 0.01}), "second")
    assert seen == []
    train(recipe(training=settings | {"draws": 3}), "third")
    assert sum(seen) == 48


@pytest.mark.parametrize("change", ["augment", "seed", "weights", "picture", "align"])
def test_what_decides_features_misses_the_cache(change, recipe, train, seen, faces, portraits, checkpoints, tmp_path):
    settings = {"draws": 1, "epochs": 1}
    train(recipe(training=settings), "first")
    seen.clear()
    if change == "augment":
        other = recipe(training=settings | {"augment": {"flip": 0.1}})
    elif change == "seed":
        other = recipe(training=settings, seed=1)
    elif change == "align":
        other = recipe(training=settings, align={"size": 40})
    elif change == "weights":
        tensors = load_file(checkpoints["test_vit"]["weights"])
        save_file({name: value * 1.1 for name, value in tensors.items()}, tmp_path / "other.safetensors")
        vit = checkpoints["test_vit"] | {"weights": str(tmp_path / "other.safetensors")}
        other = recipe(training=settings, encoders={"vit": vit})
    else:
        path = min((faces / "train" / "neutral").iterdir())
        portraits[63][1].save(path)
        other = recipe(training=settings)
    train(other, "second")
    assert sum(seen) == {"weights": 64, "picture": 48, "augment": 48}.get(change, 64)


def test_weights_that_changed_in_place_miss_the_cache(recipe, train, seen, checkpoints, tmp_path):
    tensors = load_file(checkpoints["test_vit"]["weights"])
    path = tmp_path / "mine.safetensors"
    made = recipe(encoders={"vit": checkpoints["test_vit"] | {"weights": str(path)}})
    save_file(tensors, path)
    train(made, "first")
    save_file({name: value * 1.1 for name, value in tensors.items()}, path)
    seen.clear()
    train(made, "second")
    assert sum(seen) == 64


def copied(entry):
    """An entry in memory: what is read is mapped from the file."""
    tensors, metadata = entry
    return {name: value.clone() for name, value in tensors.items()}, metadata


@pytest.mark.parametrize("room", ["views", "features"])
def test_a_damaged_entry_is_computed_again(room, recipe, train, cache):
    whole, _ = train(recipe(), "whole")
    entries = sorted((cache / room).rglob("*.safetensors"))
    assert len(entries) == 2
    before = [copied(read_tensors(path)) for path in entries]
    for path in entries:
        path.write_bytes(path.read_bytes()[:-50])
    again, _ = train(recipe(), "again")
    assert head(again).keys() == head(whole).keys()
    assert all(torch.equal(head(again)[name], value) for name, value in head(whole).items())
    for path, (tensors, metadata) in zip(entries, before, strict=True):
        computed, told = read_tensors(path)
        assert told == metadata
        assert computed.keys() == tensors.keys()
        assert all(torch.equal(computed[name].nan_to_num(), value.nan_to_num()) for name, value in tensors.items())


def test_mixup_of_features_is_refused(recipe, train):
    with pytest.raises(FerkitError, match=r"let an encoder learn, training\.learn: \{vit: 1\}; or set"):
        train(recipe(training={"augment": {"mixup": 0.2}}))


def test_a_cache_that_can_not_be_written_is_told(recipe, train, cache):
    cache.write_text("a file")
    with pytest.raises(FerkitError, match=r"can't be (read|written) .* name another folder in FERKIT_CACHE"):
        train(recipe())
