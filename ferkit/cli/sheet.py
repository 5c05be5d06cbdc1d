"""A sheet of faces before and after, for a person to look at."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.decisions import FAILED, NOT_TURNED
from ferkit.writers import replacing

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ferkit.normalizing import NormalizedFace

Row = dict[str, Any]
SIDE, CAPTION, GAP, BETWEEN, FRAME = 144, 18, 10, 4, 3  # pixels
WIDE, HIGH = 2 * SIDE + BETWEEN, SIDE + CAPTION
COLUMNS, MOST = 4, 60  # pairs a line; faces
RED, BLANK = (208, 32, 32), (224, 224, 224)


class Sheet:
    """Keeps a pair of pictures for every face while a run lasts, and makes a sheet of them at its end.

    Args:
        folder: Where the pairs are until then; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, row: Row) -> bool:
        """Whether the pair of a row of the table is there."""
        return self._pair(row).is_file()

    def keep(self, row: Row, face: "NormalizedFace") -> None:
        """Draw the pair of a face: its aligned view on the left, what came of it on the right, its row in words below."""
        from PIL import Image, ImageDraw, ImageFont

        pair = Image.new("RGB", (WIDE, HIGH), "white")
        pair.paste(_square(face.aligned.mul(255).round().byte()), (0, 0))
        pair.paste(_after(face), (SIDE + BETWEEN, 0))
        pen, font = ImageDraw.Draw(pair), ImageFont.load_default(size=13)
        pen.text((0, SIDE + 1), caption(row), fill="black", font=font)
        self._folder.mkdir(exist_ok=True)
        with replacing(self._pair(row)) as temporary:
            pair.save(temporary, "PNG", compress_level=1)

    def save(self, path: Path, rows: Sequence[Row]) -> None:
        """Write the sheet of some rows as JPEG."""
        from PIL import Image

        lines = max(-(-len(rows) // COLUMNS), 1)
        columns = min(max(len(rows), 1), COLUMNS)
        size = columns * (WIDE + GAP) + GAP, lines * (HIGH + GAP) + GAP
        canvas = Image.new("RGB", size, "white")
        for index, row in enumerate(rows):
            with Image.open(self._pair(row)) as pair:
                canvas.paste(pair, (GAP + index % COLUMNS * (WIDE + GAP), GAP + index // COLUMNS * (HIGH + GAP)))
        with replacing(path) as temporary:
            canvas.save(temporary, "JPEG", quality=90)

    def clear(self) -> None:
        """Remove the pairs."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _pair(self, row: Row) -> Path:
        return self._folder / Path(row["view"]).name


class Chosen:
    """Rows for a sheet: at most :data:`MOST`, those a normalizer was asked for before those it was not."""

    def __init__(self) -> None:
        self._asked: list[Row] = []
        self._others: list[Row] = []

    def add(self, row: Row) -> None:
        """Take a row of the table, if there is room."""
        rows = self._others if row["decision"] == NOT_TURNED else self._asked
        if len(rows) < MOST:
            rows.append(row)

    @property
    def rows(self) -> list[Row]:
        """Those that are shown, in order."""
        return [*self._asked, *self._others][:MOST]


def caption(row: Row) -> str:
    """Decision and yaw of a face, before and after where they are known."""
    yaws = [row[name] for name in ("yaw", "yaw_after") if row[name] is not None]
    return f"{row['decision']} {' to '.join(f'{yaw:+.0f}°' for yaw in yaws)}".strip()


def _after(face: "NormalizedFace") -> "Image.Image":
    """The face's view; what the normalizer returned in a red frame if that was rejected, nothing if it returned nothing."""
    from PIL import Image, ImageDraw

    if face.decision == FAILED:
        return Image.new("RGB", (SIDE, SIDE), BLANK)
    if face.outcome.frontal is None or face.outcome.view is not None:
        return _square(face.view.mul(255).round().byte())
    shown = _square(face.outcome.frontal.image.cpu())
    ImageDraw.Draw(shown).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=RED, width=FRAME)
    return shown


def _square(pixels: "Tensor") -> "Image.Image":
    """A picture, uint8 ``[3, h, w]``, as large as fits a square."""
    from PIL import Image, ImageOps

    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    return ImageOps.pad(picture, (SIDE, SIDE), color=BLANK)
