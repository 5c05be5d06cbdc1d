"""What suites ask of faces that were found."""

from typing import Any

import torch

from ferkit.types import Faces

POINTS = {"landmarks:5": 5, "landmarks:68": 68}


def of_image(faces: Faces, index: int) -> dict[str, Any]:
    """The faces of one image, as plain values."""
    chosen = faces.select(faces.image_index == index)
    return {"boxes": chosen.boxes, "scores": chosen.scores, "landmarks": chosen.landmarks, "pose": chosen.pose}


def check_landmarks(faces: Faces, provides: frozenset[str]) -> None:
    """Assert that the landmarks which ``provides`` promises are there, in the right number."""
    promised = {word.removeprefix("landmarks:") for word in provides if word.startswith("landmarks:")}
    missing = promised - faces.landmarks.keys()
    assert not missing, f"Component.provides promises landmarks {sorted(missing)}, which are not returned"
    for scheme in promised:
        count = POINTS.get(f"landmarks:{scheme}", faces.landmarks[scheme].shape[1])
        assert faces.landmarks[scheme].shape[1] == count, (
            f"landmarks {scheme!r} must be {count} points, not {faces.landmarks[scheme].shape[1]}"
        )
        assert torch.isfinite(faces.landmarks[scheme]).any(), f"landmarks {scheme!r} are promised, and all NaN"
