"""Faces cut out of their pictures again, and sheets of them."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ferkit.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

    from ferkit.recipe_model import Align


def cut_face(row: Mapping[str, Any], align: "Align") -> "Image.Image | None":
    """The face of a row with ``source``, ``x0`` to ``y1`` and pose, as ``align`` cuts it; None if its picture is gone."""
    import torch
    from PIL import Image

    from ferkit.alignment import align_faces
    from ferkit.images import decode
    from ferkit.types import Faces

    try:
        picture = decode(row["source"])
    except ImageError:
        return None
    pose = [math.nan if row.get(name) is None else row[name] for name in ("yaw", "pitch", "roll")]
    face = Faces.of([0], [[row[name] for name in ("x0", "y0", "x1", "y1")]], pose=torch.tensor([pose]))
    view = align_faces((picture,), face, align)[0]
    return Image.fromarray(view.mul(255).round().byte().permute(1, 2, 0).numpy())
