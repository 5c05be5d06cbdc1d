"""A sheet of faces whose answer changed, for a person to look at."""

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.errors import ImageError
from ferkit.recipe_model import Align
from ferkit.writers import replacing

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL import Image

SIDE, CAPTION, GAP, COLUMNS = 128, 34, 10, 6  # pixels; faces a line
MOST = 36  # faces


def draw_sheet(pairs: "DataFrame", change: str, path: Path) -> str | None:
    """Draw the faces with this ``change``, those that B is surest of first; a sheet that was there is removed.

    Returns:
        Why there is no sheet, or None.
    """
    from PIL import Image, ImageDraw, ImageFont

    path.unlink(missing_ok=True)  # it would show another result
    chosen = pairs[pairs["change"] == change].sort_values("confidence_b", ascending=False, kind="stable")
    if chosen.empty:
        return f"No face is {change}."
    align = Align(size=SIDE, method="box", margin=0.1)
    records: list[dict[str, Any]] = chosen.head(10 * MOST).to_dict("records")  # type: ignore[assignment]
    cut = ((row, _cut_face(row, align)) for row in records)
    faces = list(islice(((row, face) for row, face in cut if face is not None), MOST))
    if not faces:
        return f"No picture of the {len(chosen)} {change} faces can be read where it was: there is no {path.name}."
    wide, high = SIDE + GAP, SIDE + CAPTION + GAP
    lines = -(-len(faces) // COLUMNS)
    canvas = Image.new("RGB", (min(len(faces), COLUMNS) * wide + GAP, lines * high + GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for index, (row, face) in enumerate(faces):
        x, y = GAP + index % COLUMNS * wide, GAP + index // COLUMNS * high
        canvas.paste(face, (x, y))
        pen.multiline_text((x, y + SIDE + 1), _caption(row), fill="black", font=font, spacing=1)
    with replacing(path) as temporary:
        canvas.save(temporary, "JPEG", quality=90)
    return None


def _caption(row: Mapping[str, Any]) -> str:
    return f"is {row['true_label']}\n{row['label_a']} > {row['label_b']}"


def _cut_face(row: Mapping[str, Any], align: Align) -> "Image.Image | None":
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
