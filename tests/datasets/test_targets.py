import pytest
import torch

from ferkit import FerkitError, Sample
from ferkit.datasets.targets import class_targets

LABELS = ("happy", "sadness", "fear")


def sample(label=None, **votes):
    return Sample("id", "x.jpg", label, votes=votes or None)


def test_classes_and_shares_are_in_the_recipes_order():
    samples = [sample("fear"), sample("Joy"), sample(None, sad=1, happiness=3), sample("sadness", fear=1, sadness=1)]
    targets = class_targets(samples, LABELS)
    assert targets.samples == tuple(samples)
    assert targets.classes.tolist() == [2, 0, 0, 1]
    assert targets.shares.tolist() == [[0, 0, 1], [1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5]]
    assert (targets.classes.dtype, targets.shares.dtype) == (torch.int64, torch.float32)
    targets.require_every_class()


def test_labels_that_the_recipe_lacks_are_named_with_their_number():
    samples = [sample("contempt"), sample("contempt"), sample("fear"), sample("fear", boredom=1, fear=2, anger=0)]
    with pytest.raises(FerkitError) as caught:
        class_targets(samples, LABELS)
    assert "boredom (n = 1), contempt (n = 2); the recipe has happy, sadness, fear" in str(caught.value)
    assert "data.drop_labels: [boredom, contempt]" in str(caught.value)


def test_dropped_labels_take_their_samples_and_votes_with_them():
    samples = [
        sample("contemptuous"),
        sample("fear"),
        sample(None, contempt=5, fear=1, sadness=3),
        sample(None, contempt=1),
        sample("sadness", contempt=2),
    ]
    targets = class_targets(samples, LABELS, drop_labels=["Contempt"])
    assert targets.samples == (samples[1], samples[2], samples[4])
    assert targets.classes.tolist() == [2, 1, 1]
    assert targets.shares.tolist() == [[0, 0, 1], [0, 0.75, 0.25], [0, 1, 0]]


def test_classes_without_a_sample_are_named():
    with pytest.raises(FerkitError, match=r"none of the 1 samples is labelled happy, sadness: add such samples"):
        class_targets([sample("fear")], LABELS).require_every_class()
    with pytest.raises(FerkitError, match="none of the 0 samples is labelled happy, sadness, fear"):
        class_targets([], LABELS).require_every_class()
