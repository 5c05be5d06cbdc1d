"""A sheet of faces before and after, for a person to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.contact_sheet import cut_face
from ferkit.writers import replacing

if TYPE_CHECKING:
    from ferkit.recipe_model import Align

Row = dict[str, Any]
SIDE, CAPTION, GAP, COLUMNS = 144, 18, 10, 4  # pixels; pairs a line
MOST = 60  # faces


class Sheet:
    """Collects at most :data:`MOST` faces, those a normalizer was asked for before those it was not, and draws them.

    Args:
        folder: What the rows' views are relative to.
        align: How views were cut; the faces as they were are cut out of their pictures again, by their boxes.
    """

    def __init__(self, folder: Path, align: "Align") -> None:
        self._folder = folder
        self._align = align.model_copy(update={"method": "box", "size": SIDE})
        self._asked: list[Row] = []
        self._others: list[Row] = []

    def add(self, row: Row) -> None:
        """Take a row of the table, if there is room."""
        rows = self._others if row["decision"] == "not_turned" else self._asked
        if len(rows) < MOST:
            rows.append(row)

    def save(self, path: Path) -> None:
        """Write the sheet as JPEG: before on the left, after on the right, decision and yaw below."""
        from PIL import Image, ImageDraw, ImageFont

        rows = [*self._asked, *self._others][:MOST]
        wide, high = 2 * SIDE + GAP, SIDE + CAPTION + GAP
        lines = max(-(-len(rows) // COLUMNS), 1)
        canvas = Image.new("RGB", (min(max(len(rows), 1), COLUMNS) * wide + GAP, lines * high + GAP), "white")
        pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
        for index, row in enumerate(rows):
            x, y = GAP + index % COLUMNS * wide, GAP + index // COLUMNS * high
            if before := cut_face(row, self._align):
                canvas.paste(before, (x, y))
            with Image.open(self._folder / row["view"]) as after:
                canvas.paste(after.convert("RGB").resize((SIDE, SIDE)), (x + SIDE, y))
            pen.text((x, y + SIDE + 1), caption(row), fill="black", font=font)
        with replacing(path) as temporary:
            canvas.save(temporary, "JPEG", quality=90)


def caption(row: Row) -> str:
    """Decision and yaw of a face, before and after where they are known."""
    yaws = [row[name] for name in ("yaw", "yaw_after") if row[name] is not None]
    return f"{row['decision']} {' to '.join(f'{yaw:+.0f}°' for yaw in yaws)}".strip()
