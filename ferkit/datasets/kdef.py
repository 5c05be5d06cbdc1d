"""Data set ``kdef``: Karolinska Directed Emotional Faces (Lundqvist, Flykt and Öhman 1998)."""

import re
from pathlib import Path

from ferkit.datasets.listed import Counts, Named, class_counts
from ferkit.datasets.names import ALL
from ferkit.interfaces import Sample
from ferkit.labels import KDEF as CLASSES

YAW = {"FL": -90.0, "HL": -45.0, "S": 0.0, "HR": 45.0, "FR": 90.0}
"""Nominal yaw by view, in degrees."""
_NAME = re.compile(rf"([AB])([FM]\d\d)({'|'.join(CLASSES)})({'|'.join(YAW)})", re.IGNORECASE)


class KDEF(Named):
    """KDEF by the names of its files, such as ``AF01/AF01ANFL.JPG``, in the only split ``all``.

    ``subject`` is gender and number, since both sessions show the same person; ``group`` ties the views of one
    expression in one session; ``pose`` is the view's nominal yaw, the rest unknown. Pictures are scenes with one face.

    Raises:
        FerkitError: If ``path`` is no folder; when it is listed, if no file is named so.
    """

    terms = "Researchers only, not commercial; it may not be passed on without written consent (kdef.se)."

    _title, _example = "KDEF", "AF01/AF01ANFL.JPG"

    def _sample(self, path: Path) -> Sample | None:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return None
        session, subject, expression, view = (match[n].upper() for n in (1, 2, 3, 4))
        return Sample(
            id=match[0].upper(),
            source=str(path),
            label=CLASSES[expression],
            pose=(YAW[view], float("nan"), float("nan")),
            subject=subject,
            group=f"{session}{subject}{expression}",
        )

    @property
    def _counts(self) -> Counts:
        return class_counts(tuple(CLASSES.values()), {ALL: (70 * 2 * len(YAW),) * len(CLASSES)})
