"""Results as a person or a program reads them: rows with fixed columns, and drawings."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

    from ferkit.types import Prediction, Predictions

BEFORE = (
    *("source", "face", "x0", "y0", "x1", "y1", "detection_score"),
    *("yaw", "pitch", "roll", "pose_score", "label", "confidence"),
)
Box = tuple[float, float, float, float]
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
        "pose_score": prediction.pose_score,
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

    if not -len(predictions.images) <= image < len(predictions.images):
        raise IndexError(f"no image {image}: there are {len(predictions.images)}")
    image %= len(predictions.images)
    info = predictions.images[image]
    if info.error:
        raise ImageError(info.error_kind or "unreadable", info.error)
    if picture is None and not Path(info.source).exists():
        raise ImageError(
            "unreadable", f"{info.source} was not read from a file, or is gone: give it as draw({image}, picture)"
        )
    pixels = decode(info.source if picture is None else picture)
    canvas = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    faces = [face for face in predictions if face.image_index == image and face.label]
    taken = [face.box for face in faces]
    for face in faces:
        _outline(canvas, face, _colour(face, predictions.labels))
    for face in faces:
        taken.append(_caption(canvas, face, _colour(face, predictions.labels), taken))
    return canvas


def _colour(face: "Prediction", labels: Sequence[str]) -> str:
    return COLOURS[labels.index(face.label) % len(COLOURS)]


def _line(canvas: "Image.Image") -> int:
    return max(round(max(canvas.size) / 500), 1)


def _outline(canvas: "Image.Image", face: "Prediction", colour: str) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    pen.rectangle(face.box, outline=colour, width=_line(canvas))
    radius = max((face.box[2] - face.box[0]) / 60, 1)
    points = face.landmarks.get("5")
    for x, y in [] if points is None else points[:, :2].tolist():
        if math.isfinite(x) and math.isfinite(y):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _caption(canvas: "Image.Image", face: "Prediction", colour: str, taken: Sequence[Box]) -> Box:
    """Write label, confidence and yaw beside a face, where it hides least of what is ``taken``; returns where."""
    from PIL import ImageDraw, ImageFont

    pen, line = ImageDraw.Draw(canvas), _line(canvas)
    x0, y0, x1, y1 = face.box
    font = ImageFont.load_default(size=max(min((x1 - x0) / 5, 28), 10))
    text = f"{face.label} {face.confidence:.0%}"
    if math.isfinite(face.pose.yaw):
        text += f"\nyaw {face.pose.yaw:+.0f}°"
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
    wide, high = right - left + 2 * line, bottom - top + 2 * line
    places = [(x0, y1), (x1 - wide, y1), (x0, y0 - high), (x1 - wide, y0 - high), (x1, y0), (x0 - wide, y0)]
    frames: list[Box] = []
    for x, y in places:
        inside_x = min(max(x, 0), max(canvas.width - wide, 0))
        inside_y = min(max(y, 0), max(canvas.height - high, 0))
        frames.append((inside_x, inside_y, inside_x + wide, inside_y + high))
    frame = min(frames, key=lambda frame: sum(_overlap(frame, box) for box in taken))
    pen.rectangle(frame, fill=colour)
    pen.multiline_text((frame[0] + line - left, frame[1] + line - top), text, fill="white", font=font)
    return frame


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
