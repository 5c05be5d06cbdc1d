"""What to say of a folder that does not hold the data set it was given for."""

from pathlib import Path

from ferkit.datasets.folder import check_folder
from ferkit.errors import FerkitError
from ferkit.images import shown, unreadable

_SIGNS = {
    "rafdb": ("EmoLabel", "Image/aligned", "Image/original"),
    "affectnet": ("Manually_Annotated_Images", "train_set/annotations", "val_set/annotations"),
    "expw": ("data/label/label.lst", "label/label.lst"),
    "ferplus": ("fer2013new.csv",),
    "fer2013": ("fer2013.csv", "icml_face_data.csv"),
    "kdef": ("[AB][FM][0-9][0-9]", "[AB][FM][0-9][0-9][A-Z][A-Z]*.[jJ][pP][gG]"),
    "rafd": ("Rafd[0-9][0-9][0-9]_*",),
}
"""What a data set's folder holds any of."""
SHOWN = 5


def require(path: Path, name: str, *needed: tuple[str, ...]) -> list[Path]:
    """Of every group of relative paths, of which any will do, the first that is there below ``path``.

    Args:
        path: The option of that name.
        name: The data set.
        *needed: Groups of spellings of one file or folder.

    Raises:
        FerkitError: If ``path`` is no folder, or of a group nothing is there. It says what was looked for and found, and
            whether the folder above, one below, or another data set would fit.
    """
    check_folder(path)
    found = [next((path / each for each in group if (path / each).exists()), None) for group in needed]
    if None in found:
        raise unlike(path, name, " and ".join(" or ".join(group) for group in needed))
    return [each for each in found if each is not None]


def unlike(path: Path, name: str, looked_for: str) -> FerkitError:
    """The error of a folder that does not hold the data set ``name``."""
    try:
        entries = sorted(item.name + "/" * item.is_dir() for item in path.iterdir() if not item.name.startswith("."))
        hint = _hint(path, name)
    except OSError as error:
        return unreadable(path, error)
    listed = ", ".join(map(shown, entries[:SHOWN])) + (f" and {len(entries) - SHOWN} more" * (len(entries) > SHOWN))
    return FerkitError(
        f"{shown(path)} is not the folder of {name}: looked for {looked_for}, found {listed or 'nothing'}; {hint}"
    )


def _hint(path: Path, name: str) -> str:
    below = [item for item in sorted(path.iterdir()) if item.is_dir()]
    if inner := next((item for item in below if _is(item, name)), None):
        return f"it is one level deeper: {name}:{shown(inner)}"
    if outer := next((item for item in path.absolute().parents[:2] if _is(item, name)), None):
        return f"it begins further up: {name}:{shown(outer)}"
    for other in _SIGNS:
        if other != name and _is(path, other):
            return f"it looks like {other}: write {other}:{shown(path)}"
    if any(folder.name.isdecimal() for item in below for folder in (item, *item.iterdir()) if folder.is_dir()):
        return (
            "it holds numbered folders, a copy whose order of classes nothing tells: find that out, and use the data set "
            "folder with the option labels"
        )
    return "point path to the folder as it was unpacked, or correct what is missing"


def _is(path: Path, name: str) -> bool:
    return any(next(path.glob(sign), None) for sign in _SIGNS[name])
