"""Splits that keep people together."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from ferkit.interfaces import Sample

Unit = tuple[str, str]


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split ``samples`` in two so that nobody is on both sides.

    Samples of one subject stay together; without a subject, those of one group; without either, each stands alone. Labels
    are held out in proportion as well as that allows, and of each label something is left to learn from. Which go
    depends on ``seed`` and on what the samples are, not on their order.

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
    units: dict[Unit, Counter[str]] = {}
    for sample in samples:
        units.setdefault(unit(sample), Counter())[_label(sample)] += 1
    held = _choose(units, share, seed)
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        sides[unit(sample) in held].append(sample)
    return sides


def unit(sample: Sample) -> Unit:
    """What must stay together: ``"subject"``, ``"group"`` or ``"id"``, and its name."""
    if sample.subject is not None:
        return "subject", sample.subject
    return ("group", sample.group) if sample.group is not None else ("id", sample.id)


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
