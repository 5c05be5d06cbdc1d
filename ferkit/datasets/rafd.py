"""Data set ``rafd``: the Radboud Faces Database (Langner et al., Cognition and Emotion 2010)."""

import re
from pathlib import Path

from ferkit.datasets.listed import Counts, Named, class_counts
from ferkit.datasets.names import ALL
from ferkit.interfaces import Sample
from ferkit.labels import EIGHT, canonical

CAMERAS = ("000", "045", "090", "135", "180")
MODELS, GAZES = 67, 3
_NAME = re.compile(r"Rafd(\d{3})_(\d+)_(\w+?)_(male|female)_([a-z]+)_(frontal|left|right)")


class RaFD(Named):
    """RaFD by the names of its files, such as ``Rafd090_28_Caucasian_male_angry_frontal.jpg``, in the only split ``all``.

    ``subject`` is the model's number; ``group`` ties the pictures that the cameras took at once; ``pose`` is the camera's
    nominal yaw, 90 degrees below its number, the rest unknown. Pictures are scenes with one face.

    Raises:
        FerkitError: If ``path`` is no folder; when it is listed, if no file is named so.
    """

    terms = "Researchers of accredited universities only, not commercial, on individual request (rafd.socsci.ru.nl)."

    _title, _example = "RaFD", "Rafd090_28_Caucasian_male_angry_frontal.jpg"

    def _sample(self, path: Path) -> Sample | None:
        match = _NAME.fullmatch(path.stem)
        label = canonical(match[5]) if match else ""
        if match is None or match[1] not in CAMERAS or label not in EIGHT:
            return None
        return Sample(
            id=path.stem,
            source=str(path),
            label=label,
            pose=(float(match[1]) - 90, float("nan"), float("nan")),
            subject=match[2],
            group=f"{match[2]}_{match[5]}_{match[6]}",
        )

    @property
    def _counts(self) -> Counts:
        return class_counts(EIGHT, {ALL: (MODELS * GAZES * len(CAMERAS),) * len(EIGHT)})
