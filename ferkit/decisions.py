"""What became of faces in front of a normalizer, in words and counts."""

from collections import Counter
from collections.abc import Iterable, Mapping

TURNED, NOT_TURNED, FAILED, REJECTED = "turned", "not_turned", "failed", "rejected"


def decision(flags: Iterable[str]) -> str:
    """``turned``, ``not_turned``, ``failed`` or ``rejected:…`` with the reason, from the flags of an outcome."""
    for flag in flags:
        return flag.removeprefix("edit_")
    return TURNED


def counted(decisions: Iterable[str]) -> dict[str, int]:
    """How many faces there are, ``n``, and how many of each decision; those of :data:`TURNED` to :data:`FAILED` also if none."""
    count = Counter(decisions)
    every = dict.fromkeys((TURNED, NOT_TURNED, FAILED), 0) | dict(sorted(count.items()))
    return {"n": count.total(), **every}


def told(count: Mapping[str, int]) -> str:
    """What :func:`counted` gives, for people: ``turned 27, not turned 0, failed 0, rejected 15 (several_faces 15)``."""
    reasons = {name.partition(":")[2]: n for name, n in count.items() if name.startswith(REJECTED)}
    why = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1]))
    rejected = f"{REJECTED} {sum(reasons.values())}" + (f" ({why})" if why else "")
    plain = ", ".join(f"{name.replace('_', ' ')} {count.get(name, 0)}" for name in (TURNED, NOT_TURNED, FAILED))
    return f"{plain}, {rejected}"
