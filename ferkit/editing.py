"""What generative editors share: the prompt, the crop that is edited, the seed of a face, and when to give up."""

import hashlib
import logging
import re
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

from ferkit.errors import ComponentError, StageError
from ferkit.labels import SPELLINGS, canonical

if TYPE_CHECKING:  # configurations import the prompt, and stay light
    from torch import Tensor

    from ferkit.types import Faces, ImageBatch

log = logging.getLogger(__name__)

HOPELESS = 5
"""So many faces in a row that fail are the editor's fault, not theirs."""
FRONTAL_PROMPT = (
    "Turn the head so that the face looks straight into the camera, in frontal view, with both sides of the face visible. "
    "Keep the same person and exactly the same facial expression: eyebrows, eyelids, cheeks and the shape of the mouth "
    "stay as they are. Keep hair, skin, lighting and background."
)
"""The default instruction. The paper does not state one: it is our choice. It names no expression."""


def check_prompt(text: str, labels: Sequence[str]) -> None:
    """Refuse a prompt that names a class, in any of its spellings, as a whole word: it would leak the answer.

    Raises:
        ComponentError: If it does.
    """
    for label in labels:
        spellings = {label, canonical(label), *(word for word, name in SPELLINGS.items() if name == canonical(label))}
        for name in sorted(spellings):
            words = r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", name.strip())))
            edge = r"\b" if name.isascii() else ""  # not every script sets words apart
            if re.search(f"{edge}{words}{edge}", text, re.IGNORECASE):
                raise ComponentError(
                    f"the prompt {text!r} names the label {label!r} ({name}): an editor told the expression paints the "
                    "answer into the face. Word it without any of the recipe's labels"
                )


def face_crop(batch: "ImageBatch", faces: "Faces", face: int, margin: float, size: int) -> "Tensor":
    """One face as an upright square, uint8 RGB ``[3, size, size]``.

    It is the squared box with ``margin`` (in units of its side) on every side, turned by the roll where that is known;
    beyond the picture its edge is repeated. A picture that is a crop already gets no margin.
    """
    import torch

    from ferkit.alignment import align_faces
    from ferkit.recipe_model import Align

    alone = faces.select(torch.tensor([face]))
    view = align_faces(batch.images, alone, Align(method="box", margin=margin, size=size))[0]
    return view.mul(255).round().to(torch.uint8)


def face_seed(seed: int, crop: "Tensor", sample: int = 0) -> int:
    """A seed in 0..2³¹-1 made of the recipe's seed, the draw and the crop's content, whatever the batch."""
    digest = hashlib.sha256(f"{seed}:{sample}:{list(crop.shape)}:".encode() + crop.numpy().tobytes()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Failures:
    """Counts faces that an editor fails on, one after the other; threads may share it.

    Args:
        editor: What fails, for the error.
        advice: What to do then.
    """

    def __init__(self, editor: str, advice: str = "") -> None:
        self._editor, self._advice = editor, advice
        self._lock, self._count = Lock(), 0

    def add(self, reason: str) -> None:
        """Take note of one more.

        Raises:
            StageError: If it is the fifth in a row.
        """
        with self._lock:
            self._count += 1
            hopeless = self._count >= HOPELESS
        if hopeless:
            raise StageError(
                f"{self._editor} failed on {HOPELESS} faces in a row, the last time so: {reason}{self._advice}"
            )
        log.warning("a face was not turned: %s", reason)

    def reset(self) -> None:
        """Take note that one was turned, or refused."""
        with self._lock:
            self._count = 0
