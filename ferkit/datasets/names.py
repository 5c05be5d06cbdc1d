"""What data sets call their splits, classes and samples, made the same for all."""

import re
from collections.abc import Iterable, Mapping, Sequence

from ferkit.errors import FerkitError
from ferkit.labels import canonical

ALL = "all"
"""The only split of data that has none."""
_ORDER = ("train", "validation", "test")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_INDEX = re.compile(r"[+-]?\d+(\.0*)?")


def split_name(name: str) -> str:
    """``train``, ``validation`` or ``test`` for their usual spellings; other names stay."""
    return _SPLITS.get(name.strip().lower(), name.strip())


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Different names of splits: train, validation and test first, others sorted."""
    return tuple(sorted(set(splits), key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)))


def check_split(split: str, splits: Sequence[str], where: str) -> None:
    """Check that a data set has ``split``.

    Raises:
        FerkitError: If not; it names those it has.
    """
    if split not in splits:
        raise FerkitError(f"{where} has no split {split!r}: choose {', '.join(splits)}")


def judged_split(splits: Sequence[str]) -> str:
    """The split that results are reported on: ``test``; without one ``validation``; the only one there is.

    Raises:
        FerkitError: If that does not decide.
    """
    for name in ("test", "validation"):
        if name in splits:
            return name
    if len(splits) == 1:
        return splits[0]
    raise FerkitError(
        f"the data has the splits {', '.join(splits)}, and none called test or validation: choose one with --split (split=…)"
    )


def class_name(name: str, names: Mapping[str, str], where: str) -> str:
    """The canonical class name for what the data calls it.

    Args:
        name: As the data has it.
        names: The data's own names and indices to class names; it need not have all.
        where: The place in the data, for the error.

    Raises:
        FerkitError: If it is an index that ``names`` does not have: every data set counts in an order of its own.
    """
    own = name.strip()
    if own not in names and _INDEX.fullmatch(own):
        raise FerkitError(
            f"{where}: the label {own} is an index, and nothing says which class that is: name every index with the "
            "option labels, such as {0: anger, 1: disgust}"
        )
    return canonical(names.get(own, own))


def sample_id(text: str) -> str:
    """``text`` with bytes that are no Unicode escaped, so that it can be written anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()
