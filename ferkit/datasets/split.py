"""Splits that keep people together."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from ferkit.interfaces import Sample

Unit = tuple[str, str]


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split ``samples`` in two so that nobody is on both sides.

    Samples that share a subject or a group stay together, also by way of others: a group with two people ties all
    samples of both. A sample with neither stands alone. Labels are held out in proportion as well as that allows, and of
    each label something is left to learn from. Which go depends on ``seed`` and on what the samples are, not on their
    order.

    A greedy choice: units in an order drawn by hash are held out where that brings the counts by label closer to
    ``share``, and then where it brings the total closer. The total is off by at most half the largest unit, unless
    only units that are the last of a label are left.

    Args:
        samples: What to split. A sample with votes alone counts for its most frequent label.
        share: Of the samples to hold out, between 0 and 1.
        seed: Of the draw.

    Returns:
        Samples to learn from, and those held out (none, where every unit is the last of a label), in the given order.

    Raises:
        ValueError: If ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    named = units_of(samples)
    units: dict[Unit, Counter[str]] = {}
    for sample, unit in zip(samples, named, strict=True):
        units.setdefault(unit, Counter())[_label(sample)] += 1
    held = _choose(units, share, seed)
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for sample, unit in zip(samples, named, strict=True):
        sides[unit in held].append(sample)
    return sides


def units_of(samples: Sequence[Sample]) -> list[Unit]:
    """What each sample must stay together with, called by the least subject or group in it: the order changes no name.

    Union-find (Galler and Fischer 1964) with path halving.
    """
    parents: dict[Unit, Unit] = {}

    def root(tie: Unit) -> Unit:
        parents.setdefault(tie, tie)
        while (parent := parents[tie]) != tie:
            parents[tie] = tie = parents[parent]
        return tie

    each = [_ties(sample) for sample in samples]
    for first, *others in each:
        for other in others:
            least, greater = sorted((root(first), root(other)))
            parents[greater] = least
    return [root(first) for first, *_ in each]


def _ties(sample: Sample) -> list[Unit]:
    """What a sample shares with others, by kind and name; its own id where that is nothing."""
    named = (("subject", sample.subject), ("group", sample.group))
    return [(kind, name) for kind, name in named if name is not None] or [("id", sample.id)]


def _label(sample: Sample) -> str:
    votes = sample.votes or {"": 1.0}
    return sample.label if sample.label is not None else max(sorted(votes), key=votes.__getitem__)


def _choose(units: dict[Unit, Counter[str]], share: float, seed: int) -> set[Unit]:
    drawn = sorted(units, key=lambda each: _draw(each, seed))
    sizes = _sum(units.values())
    left = _sum(Counter(counts.keys()) for counts in units.values())
    held: set[Unit] = set()
    taken: Counter[str] = Counter()
    wanted = share * sizes.total()

    def closer_by_label(counts: Counter[str]) -> bool:
        """The sum of squared errors, each relative to the size of its label, shrinks."""
        return (
            sum(n * (2 * (taken[label] - share * sizes[label]) + n) / sizes[label] ** 2 for label, n in counts.items())
            < 0
        )

    for by_label in (True, False):
        for each in drawn:
            counts = units[each]
            closer = 2 * (wanted - taken.total()) > counts.total()
            free = each not in held and all(left[label] > 1 for label in counts)
            if closer and free and (not by_label or closer_by_label(counts)):
                held.add(each)
                taken.update(counts)
                left.subtract(counts.keys())
    return held


def _draw(each: Unit, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {each}".encode()).digest()


def _sum(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total
