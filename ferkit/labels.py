"""Expression names: the canonical ones, their common spellings, and mapping columns by name."""

from collections.abc import Sequence

from ferkit.errors import FerkitError

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
EIGHT = (*SEVEN, "contempt")

FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Classes by their index in ``fer2013.csv``."""
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Classes by their number in ``list_patition_label.txt``, which counts from 1; the lists of hard poses count from 0."""
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""Classes by their index, without 8 None, 9 Uncertain and 10 No-Face."""
EXPW = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Classes by their index in ``label.lst``."""
KDEF = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
"""Classes by their code in a file's name."""
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Classes in the order of the columns of ``fer2013new.csv``, which ``unknown`` and ``NF`` (no face) follow."""

SPELLINGS = {
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
    "calm": "neutral",
    "neutrality": "neutral",
    "joy": "happiness",
}


def canonical(name: str) -> str:
    """The canonical name of an expression; an unknown name is returned in lower case."""
    lower = name.strip().lower()
    return SPELLINGS.get(lower, lower)


def missing_labels(model_labels: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Those of ``labels`` that a model has no column for."""
    names = {canonical(name) for name in model_labels}
    return tuple(label for label in labels if canonical(label) not in names)


def column_order(model_labels: Sequence[str], labels: Sequence[str], what: str) -> list[int]:
    """Columns of a model's output, reordered to ``labels`` by name.

    Args:
        model_labels: Names of the model's columns.
        labels: Names wanted, all of which the model must have.
        what: The model, for the error message.

    Returns:
        For each of ``labels`` the index of its column in the model's output.

    Raises:
        FerkitError: If the model lacks one of ``labels``, or has one twice.
    """
    names = [canonical(name) for name in model_labels]
    wanted = [canonical(name) for name in labels]
    if missing := missing_labels(model_labels, labels):
        raise FerkitError(
            f"{what} was trained for {', '.join(model_labels)} and has no column for {', '.join(missing)}: "
            "change the recipe's labels, or use a model trained for them"
        )
    twice = sorted({name for name in wanted if names.count(name) > 1})
    if twice:
        raise FerkitError(f"{what} has more than one column named {', '.join(twice)}")
    return [names.index(name) for name in wanted]
