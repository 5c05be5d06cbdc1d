"""Data set ``kdef``: Karolinska Directed Emotional Faces (Lundqvist, Flykt and Öhman 1998)."""

import re
from collections.abc import Iterator
from pathlib import Path

from ferkit.datasets import PathConfig
from ferkit.datasets.layouts import unlike
from ferkit.datasets.listed import Counts, Listed, class_counts, pictures
from ferkit.datasets.names import ALL
from ferkit.interfaces import Context, Sample
from ferkit.labels import KDEF as CLASSES

YAW = {"FL": -90.0, "HL": -45.0, "S": 0.0, "HR": 45.0, "FR": 90.0}
"""Nominal yaw by view, in degrees."""
_NAME = re.compile(rf"([AB])([FM]\d\d)({'|'.join(CLASSES)})({'|'.join(YAW)})", re.IGNORECASE)


class KDEF(Listed):
    """KDEF by the names of its files, such as ``AF01/AF01ANFL.JPG``, in the only split ``all``.

    ``subject`` is gender and number, since both sessions show the same person; ``group`` ties the views of one
    expression in one session; ``pose`` is the view's nominal yaw, the rest unknown. Pictures are scenes with one face.

    Raises:
        FerkitError: If ``path`` is no folder; when it is listed, if no file is named so.
    """

    terms = "Researchers only, not commercial; it may not be passed on without written consent (kdef.se)."

    def __init__(self, config: PathConfig, context: Context) -> None:
        del context
        self._path = Path(config.path)

    def _read(self) -> Iterator[tuple[str, str, Sample]]:
        found = False
        for path in pictures(self._path):
            match = _NAME.fullmatch(path.stem)
            if match is None:
                self._remark("pictures that are not named as in KDEF, left out", path.name)
                continue
            found = True
            session, subject, expression, view = match[0][0].upper(), *(match[n].upper() for n in (2, 3, 4))
            yield (
                str(path),
                ALL,
                Sample(
                    id=match[0].upper(),
                    source=str(path),
                    label=CLASSES[expression],
                    pose=(YAW[view], float("nan"), float("nan")),
                    subject=subject,
                    group=f"{session}{subject}{expression}",
                ),
            )
        if not found:
            raise unlike(self._path, "kdef", "pictures named like AF01/AF01ANFL.JPG")

    @property
    def _counts(self) -> Counts:
        return class_counts(tuple(CLASSES.values()), {ALL: (70 * 2 * len(YAW),) * len(CLASSES)})
