"""Results as a person or a program reads them: rows with fixed columns, and drawings."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ferkit.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

    from ferkit.types import Prediction, Predictions

BEFORE = ("source", "face", "x0", "y0", "x1", "y1", "detection_score", "yaw", "pitch", "roll", "label", "confidence")
COLOURS = ("#4e79a7", "#f28e2b", "#76b7b2", "#edc948", "#b07aa1", "#59a14f", "#e15759", "#9c755f", "#bab0ac")


def columns(labels: Sequence[str]) -> list[str]:
    """Column names of every table ferkit writes."""
    return [*BEFORE, *(f"p_{label}" for label in labels), "flags"]


def row(prediction: "Prediction", landmarks: bool = False) -> dict[str, Any]:
    """One face as a flat dict; NaN stays NaN, flags are joined by ``;``."""
    x0, y0, x1, y1 = prediction.box
    record: dict[str, Any] = {
        "source": prediction.source,
        "face": prediction.face,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "detection_score": prediction.detection_score,
        **prediction.pose._asdict(),
        "label": prediction.label,
        "confidence": prediction.confidence,
        **{f"p_{label}": value for label, value in prediction.probabilities.items()},
        "flags": ";".join(prediction.flags),
    }
    if landmarks:
        record["landmarks"] = {scheme: points.tolist() for scheme, points in prediction.landmarks.items()}
    return record


def draw(predictions: "Predictions", image: int, picture: Any = None) -> "Image.Image":
    """See :meth:`ferkit.types.Predictions.draw`."""
    from PIL import Image

    from ferkit.images import decode

    info = predictions.images[image]
    if info.error:
        raise ImageError(info.error_kind or "unreadable", info.error)
    pixels = decode(info.source if picture is None else picture)
    canvas = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    for prediction in predictions:
        if prediction.image_index == image and prediction.label:
            _draw_face(canvas, prediction, predictions.labels)
    return canvas


def _draw_face(canvas: "Image.Image", prediction: "Prediction", labels: Sequence[str]) -> None:
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(canvas)
    colour = COLOURS[labels.index(prediction.label) % len(COLOURS)]
    x0, y0, x1, y1 = prediction.box
    line = max(round(max(canvas.size) / 500), 1)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    font = ImageFont.load_default(size=max(min((x1 - x0) / 5, 28), 11))
    text = f"{prediction.label} {prediction.confidence:.0%}"
    if math.isfinite(prediction.pose.yaw):
        text += f"\nyaw {prediction.pose.yaw:+.0f}°"
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
    wide, high = right - left + 2 * line, bottom - top + 2 * line
    x = min(max(x0, 0), max(canvas.width - wide, 0))
    y = y1 if y1 + high <= canvas.height else max(y0 - high, 0)
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.multiline_text((x + line - left, y + line - top), text, fill="white", font=font)
    radius = max((x1 - x0) / 60, 1)
    points = prediction.landmarks.get("5")
    for px, py in [] if points is None else points[:, :2].tolist():
        if math.isfinite(px) and math.isfinite(py):
            pen.ellipse((px - radius, py - radius, px + radius, py + radius), fill=colour)
