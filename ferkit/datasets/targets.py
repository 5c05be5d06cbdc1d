"""What a model is to learn from samples: classes and soft labels in the recipe's order."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.interfaces import Sample
from ferkit.labels import canonical


@dataclass(frozen=True, eq=False)
class Targets:
    """N samples with a label of the recipe's C.

    Attributes:
        labels: The recipe's labels.
        samples: The samples that were kept, in their order.
        classes: int64 ``[N]``, index of the label; without a label, of the largest share (of equals the first).
        shares: float32 ``[N, C]``, soft labels; rows sum to one. Votes where there are any, else all on the label.
    """

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    classes: Tensor
    shares: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def require_every_class(self) -> None:
        """Check that there is something to learn for every class.

        Raises:
            FerkitError: If a class has no sample and no vote; it names all such classes.
        """
        empty = [label for label, share in zip(self.labels, self.shares.sum(0).tolist(), strict=True) if share == 0]
        if empty:
            raise FerkitError(
                f"none of the {len(self)} samples is labelled {', '.join(empty)}: add such samples, or take them out of "
                "the recipe's labels"
            )


def class_targets(samples: Sequence[Sample], labels: Sequence[str], drop_labels: Collection[str] = ()) -> Targets:
    """The classes of ``samples`` in the order of ``labels``.

    Names are compared in their canonical form. A sample with a dropped label is left out, and so is one without a label
    that has votes for dropped labels only. Votes for dropped labels are taken away before votes become shares.

    Args:
        samples: Samples with a label, votes or both; where both are there, the label decides the class.
        labels: The recipe's labels.
        drop_labels: Labels of the data to leave out.

    Raises:
        FerkitError: If the data has labels that are in neither list; it names them with their number of samples.
    """
    columns = {canonical(label): column for column, label in enumerate(labels)}
    dropped = {canonical(label) for label in drop_labels}
    _check_known(samples, columns.keys() | dropped, labels)
    kept, classes, rows = [], [], []
    for sample in samples:
        shares = _shares(sample, columns, dropped)
        if shares is not None:
            kept.append(sample)
            rows.append(shares)
            classes.append(shares.index(max(shares)) if sample.label is None else columns[canonical(sample.label)])
    return Targets(
        tuple(labels),
        tuple(kept),
        torch.tensor(classes, dtype=torch.int64),
        torch.tensor(rows, dtype=torch.float32).reshape(len(kept), len(columns)),
    )


def _check_known(samples: Sequence[Sample], known: Collection[str], labels: Sequence[str]) -> None:
    strangers = Counter(name for sample in samples for name in _named(sample) - set(known))
    if strangers:
        counts = ", ".join(f"{name} (n = {n})" for name, n in sorted(strangers.items()))
        raise FerkitError(
            f"the data has labels that the recipe lacks: {counts}; the recipe has {', '.join(labels)}. Add them to its "
            f"labels, or leave those samples out with data.drop_labels: [{', '.join(sorted(strangers))}]"
        )


def require_dropped(samples: Sequence[Sample], drop_labels: Collection[str]) -> None:
    """Check that the data has the labels that are to be left out.

    Raises:
        FerkitError: If not; it names those it has.
    """
    there = {name for sample in samples for name in _named(sample)}
    if absent := [label for label in drop_labels if canonical(label) not in there]:
        raise FerkitError(
            f"data.drop_labels: the data has no label {', '.join(absent)}; it has {', '.join(sorted(there))}: correct or "
            "remove it"
        )


def _named(sample: Sample) -> set[str]:
    """The labels a sample speaks of."""
    voted = {canonical(name) for name, count in (sample.votes or {}).items() if count > 0}
    return voted if sample.label is None else voted | {canonical(sample.label)}


def _shares(sample: Sample, columns: dict[str, int], dropped: Collection[str]) -> list[float] | None:
    """The sample's soft label, or None where it is left out."""
    label = None if sample.label is None else canonical(sample.label)
    if label in dropped:
        return None
    row = [0.0] * len(columns)
    for name, count in (sample.votes or {}).items():
        if count > 0 and canonical(name) not in dropped:
            row[columns[canonical(name)]] += count
    if not sum(row) and label is not None:
        row[columns[label]] = 1.0
    total = sum(row)
    return [count / total for count in row] if total else None
