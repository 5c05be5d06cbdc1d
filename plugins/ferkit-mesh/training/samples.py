"""What the network learns from: faces turned at random, as a detector or a data set would frame them, and worn."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ferkit.geometry import angles_to_rotation, rotation_to_angles
from ferkit_mesh.head import POINTS, Head
from ferkit_mesh.network import SIZE
from ferkit_mesh.turning import turn
from ferkit_mesh.varying import other_depth, varied_camera

CANVAS = 104  # px at which a face is rendered, before it is worn and reduced to SIZE
ROOM = 1.3  # side of the network's crop, in units of the box
FAR = 40.0  # degrees of yaw by WHENet: few real faces are turned further, so half of the draws are from these alone
TILT = 0.08  # standard deviation of how a face slopes backwards, beside what ``other_depth`` varies
MIRROR = np.diag([-1, 1, 1]).astype(np.float32)  # a rotation R, seen in a mirror, is MIRROR @ R @ MIRROR


class Sample(NamedTuple):
    """One crop.

    Attributes:
        crop: uint8 ``[SIZE, SIZE]``.
        points: ``[468, 3]`` in half sides of the crop from its centre; NaN for real faces turned away.
        rotation: ``[3, 3]``, head to camera.
        face: Whether there is one.
        five: ``[5, 2]``, the detector's landmarks in the same unit; NaN of every face but real ones turned away.
    """

    crop: np.ndarray
    points: np.ndarray
    rotation: np.ndarray
    face: bool
    five: np.ndarray = np.full((5, 2), np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class Turned:
    """Real faces turned away, of ``turned.py`` and ``whenet.py``.

    Attributes:
        crops: ``[N, 128, 128]``.
        boxes: ``[N, 4]`` in them.
        five: ``[N, 5, 2]``, likewise: the detector's landmarks.
        rotations: ``[N, 3, 3]``, head to camera, by WHENet.
        far: ``[F]``, the numbers of those beyond FAR.
    """

    crops: np.ndarray
    boxes: np.ndarray
    five: np.ndarray
    rotations: np.ndarray
    far: np.ndarray

    @classmethod
    def read(cls, path: Path, keep: Callable[[str], bool]) -> "Turned":
        """Those whose subject ``keep`` takes."""
        with np.load(path) as table:
            chosen = np.array([keep(subject) for subject in table["subject"].tolist()])
            crops, boxes, five, rotations = (table[name][chosen] for name in ("crop", "box", "five", "rotation"))
        far = np.flatnonzero(rotation_to_angles(torch.from_numpy(rotations))[:, 0].abs() > FAR)
        return cls(crops, boxes, five, rotations, far if len(far) else np.arange(len(crops)))


@dataclass(frozen=True, eq=False)
class Sources:
    """Near-frontal faces with the teacher's points: ``crops [N, 128, 128]``, ``points [N, 468, 3]`` in their pixels."""

    crops: np.ndarray
    points: np.ndarray
    extents: np.ndarray
    head: Head

    @classmethod
    def read(cls, paths: list[Path], head: Head, keep: Callable[[str], bool] | None = None) -> "Sources":
        """Join the teacher's files; ``keep(subject)`` decides who is taken."""
        parts = []
        for path in paths:
            with np.load(path) as table:
                subjects = table["subject"]
                chosen = np.array([keep is None or keep(s) for s in subjects.tolist()])
                parts.append([table[name][chosen] for name in ("crop", "points", "extent")])
        crops, points, extents = (np.concatenate(column) for column in zip(*parts, strict=True))
        points[..., :2] += 0.5  # the centre of the first pixel is 0.5, 0.5
        return cls(crops, points, extents, head)


def rotation_for(rng: np.random.Generator) -> np.ndarray:
    """A pose: yaw in ±90 degrees, half of it uniform, pitch and roll in ±45."""
    yaw = rng.uniform(-90, 90) if rng.random() < 0.75 else np.clip(rng.normal(0, 25), -90, 90)
    pitch = np.clip(rng.normal(0, 16), -45, 45)
    roll = np.clip(rng.normal(0, 16), -45, 45)
    return angles_to_rotation(torch.tensor([yaw, pitch, roll], dtype=torch.float32)).numpy()


def sample(sources: Sources, rng: np.random.Generator) -> Sample:
    """One random crop."""
    index = int(rng.integers(len(sources.crops)))
    crop, points = sources.crops[index], sources.points[index]
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
        points = (points * [-1, 1, 1] + [crop.shape[1], 0, 0])[sources.head.mirror].astype(np.float32)
    if rng.random() < 0.09:
        canvas = worn(nothing(sources, rng), rng)
        return Sample(canvas, np.zeros((POINTS, 3), np.float32), np.eye(3, dtype=np.float32), False)
    old, _, _ = sources.head.rotation(points)
    plain = rng.random() < 0.15
    if plain:
        roll = np.clip(rng.normal(0, 12), -40, 40)
        rotation = angles_to_rotation(torch.tensor([0.0, 0.0, roll])).numpy() @ old
    else:
        rotation = rotation_for(rng)
    middle = (points[33] + points[263]) / 2
    target = ((points - middle) @ old @ rotation.T).astype(np.float32)
    framed = rng.random() < 0.4
    low, high = target[:, :2].min(0), target[:, :2].max(0)
    if framed:
        side = np.ptp(points[:, 1]) * np.exp(rng.normal(0.1, 0.12))
        centre = target.mean(0)[:2] + rng.normal(0, 0.06, 2) * side
    else:
        side = max(high - low) * np.exp(rng.normal(0.05, 0.1))
        centre = (low + high) / 2 + rng.normal(0, 0.05, 2) * side + [0, -0.03 * side]
    scale = CANVAS / (side * ROOM)
    shift = (CANVAS / 2 - centre * scale).astype(np.float32)
    if plain:
        canvas = rotated(crop, middle, rotation @ old.T, scale, shift)
    else:
        shape = another_depth((points - middle) @ old, sources.head, rng)
        turned = turn(crop, points, sources.head, varied_camera(rotation, scale, shift, rng), CANVAS, shape)
        canvas = composed(turned.picture, turned.covered, backdrop(sources, crop, rng), rng)
    canvas = lit(canvas, rng)
    if rng.random() < 0.15:
        canvas = occluded(canvas, sources, rng)
    if framed:
        canvas = framed_by_itself(canvas)
    half = CANVAS / 2
    placed = target * scale + np.append(shift, 0) if plain else turned.points
    normal = ((placed - [half, half, 0]) / half).astype(np.float32)
    return Sample(worn(canvas, rng), normal, rotation.astype(np.float32), True)


def another_depth(own: np.ndarray, head: Head, rng: np.random.Generator) -> np.ndarray:
    """A face ``[468, 3]`` in its own frame as some other teacher might guess its depth."""
    shape = other_depth(own.astype(np.float32), head, rng)
    shape[:, 2] += np.float32(rng.normal(0, TILT)) * shape[:, 1]
    return shape


def real(turned: Turned, rng: np.random.Generator) -> Sample:
    """One real face turned away, framed and worn like the others."""
    index = int(rng.choice(turned.far) if rng.random() < 0.5 else rng.integers(len(turned.crops)))
    crop, box, five = turned.crops[index], turned.boxes[index].copy(), turned.five[index]
    rotation = turned.rotations[index]
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
        five = (five * [-1, 1] + [crop.shape[1], 0])[[1, 0, 2, 4, 3]]
        box[[0, 2]] = crop.shape[1] - box[[2, 0]]
        rotation = MIRROR @ rotation @ MIRROR
    centre, side = (box[:2] + box[2:]) / 2, max(box[2:] - box[:2]) * np.exp(rng.normal(0, 0.1))
    roll = angles_to_rotation(torch.tensor([0.0, 0.0, np.clip(rng.normal(0, 12), -40, 40)])).numpy()
    scale = CANVAS / (side * ROOM)
    placed = roll[:2, :2] @ centre * scale
    shift = CANVAS / 2 - placed + rng.normal(0, 0.04, 2) * CANVAS / ROOM
    canvas = rotated(crop, np.zeros(2), roll, scale, shift)
    if rng.random() < 0.4:
        canvas = framed_by_itself(canvas)
    points = five @ roll[:2, :2].T * scale + shift
    unknown = np.full((POINTS, 3), np.nan, np.float32)
    normal = ((points - CANVAS / 2) / (CANVAS / 2)).astype(np.float32)
    return Sample(worn(lit(canvas, rng), rng), unknown, (roll @ rotation).astype(np.float32), True, normal)


def framed_by_itself(canvas: np.ndarray) -> np.ndarray:
    """As the crops of a data set: the picture ends at the box, and its edge is repeated."""
    edge = round(CANVAS * (1 - 1 / ROOM) / 2)
    inner = canvas[edge:-edge, edge:-edge]
    return cv2.copyMakeBorder(inner, edge, edge, edge, edge, cv2.BORDER_REPLICATE)


def rotated(crop: np.ndarray, middle: np.ndarray, turn2: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """The photograph itself, turned in its plane."""
    linear = turn2[:2, :2] * scale
    offset = shift - linear @ middle[:2] + (linear @ [0.5, 0.5] - 0.5)
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(crop, matrix, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def patch(sources: Sources, rng: np.random.Generator) -> np.ndarray:
    """A piece of some photograph, mostly beside the face."""
    other = sources.crops[int(rng.integers(len(sources.crops)))]
    side = int(rng.integers(20, 70))
    x, y = (0 if rng.random() < 0.5 else 128 - side), int(rng.integers(0, 128 - side))
    piece = other[y : y + side, x : x + side]
    return cv2.resize(piece, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR)


def backdrop(sources: Sources, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is behind the head."""
    kind = rng.random()
    if kind < 0.4:
        return patch(sources, rng)
    if kind < 0.75:  # the photograph itself, as far as it goes, or out of focus
        canvas = cv2.resize(crop, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR)
        return canvas if rng.random() < 0.5 else cv2.blur(canvas, (25, 25))
    if kind < 0.9:
        return np.full((CANVAS, CANVAS), 0 if rng.random() < 0.3 else rng.integers(0, 256), np.uint8)
    noise = rng.integers(0, 256, (6, 6)).astype(np.uint8)
    return cv2.resize(noise, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)


def composed(picture: np.ndarray, covered: np.ndarray, behind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The head before its background, with an edge more or less sharp."""
    alpha = covered.astype(np.float32)
    if rng.random() < 0.5:
        alpha = cv2.blur(alpha, (5, 5)) * alpha
    return (picture * alpha + behind * (1 - alpha)).astype(np.uint8)


def lit(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light: a gradient across, contrast, brightness, gamma."""
    ramp = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    angle, depth = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.3))
    gain = 1 + depth * (np.cos(angle) * ramp[None] + np.sin(angle) * ramp[:, None])
    x = np.clip(canvas / 255 * gain, 0, 1) ** np.exp(rng.normal(0, 0.3))
    x = (x - 0.5) * np.exp(rng.normal(0, 0.2)) + 0.5 + rng.normal(0, 0.08)
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def occluded(canvas: np.ndarray, sources: Sources, rng: np.random.Generator) -> np.ndarray:
    """Something before the face."""
    canvas, mask = canvas.copy(), np.zeros((CANVAS, CANVAS), np.uint8)
    centre = tuple(int(v) for v in rng.integers(10, CANVAS - 10, 2))
    size = tuple(int(v) for v in rng.integers(5, 24, 2))
    cv2.ellipse(mask, centre, size, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    cover = patch(sources, rng) if rng.random() < 0.5 else np.full_like(canvas, rng.integers(0, 256))
    canvas[mask > 0] = cover[mask > 0]
    return canvas


def nothing(sources: Sources, rng: np.random.Generator) -> np.ndarray:
    """No face: a piece of a photograph, a part of a face alone, one upside down, a drawing, or noise."""
    kind = rng.random()
    if kind < 0.3:
        return patch(sources, rng)
    if kind < 0.65:
        other = sources.crops[int(rng.integers(len(sources.crops)))]
        if kind < 0.5:
            side, (x, y) = int(rng.integers(14, 30)), rng.integers(30, 70, 2)
            return cv2.resize(other[y : y + side, x : x + side], (CANVAS, CANVAS))
        matrix = cv2.getRotationMatrix2D((64, 64), float(rng.uniform(110, 250)), float(rng.uniform(1, 1.5)))
        upset = cv2.warpAffine(other, matrix, (128, 128), borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(upset, (CANVAS, CANVAS))
    if kind < 0.9:
        return drawn(rng)
    cells = int(rng.integers(2, CANVAS))
    return cv2.resize(rng.integers(0, 256, (cells, cells)).astype(np.uint8), (CANVAS, CANVAS))


def drawn(rng: np.random.Generator) -> np.ndarray:
    """Lines and ellipses; half of them make a face as children draw it."""
    paper = int(rng.integers(0, 256))
    ink = (paper + int(rng.integers(60, 196))) % 256
    canvas = np.full((CANVAS, CANVAS), paper, np.uint8)

    def around(x: float, y: float) -> tuple[int, int]:
        return int(CANVAS * x + rng.normal(0, 4)), int(CANVAS * y + rng.normal(0, 4))

    def ellipse(x: float, y: float, width: float, height: float, end: int = 360) -> None:
        size = (max(int(CANVAS * width * np.exp(rng.normal(0, 0.2))), 1), max(int(CANVAS * height), 1))
        thick = -1 if rng.random() < 0.4 and width < 0.2 else int(rng.integers(1, 4))
        cv2.ellipse(canvas, around(x, y), size, 0, 0, end, ink, thick)

    if rng.random() < 0.5:
        if rng.random() < 0.6:
            ellipse(0.5, 0.5, 0.35, 0.42)
        for x in (0.37, 0.63):
            ellipse(x, 0.42, 0.06, rng.uniform(0.01, 0.06))
        if rng.random() < 0.5:
            cv2.line(canvas, around(0.5, 0.5), around(0.5, 0.58), ink, 2)
        if rng.random() < 0.5:
            ellipse(0.5, 0.68, 0.15, rng.uniform(0.01, 0.1), 180)
        else:
            cv2.line(canvas, around(0.35, 0.7), around(0.65, 0.7), ink, int(rng.integers(1, 5)))
        return canvas
    for _ in range(int(rng.integers(1, 12))):
        one, other = around(*rng.random(2)), around(*rng.random(2))
        if rng.random() < 0.5:
            cv2.line(canvas, one, other, int(rng.integers(0, 256)), int(rng.integers(1, 6)))
        else:
            cv2.rectangle(canvas, one, other, int(rng.integers(0, 256)), -1 if rng.random() < 0.3 else 2)
    return canvas


def worn(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred, reduced, noisy, compressed; at last of the network's size."""
    if rng.random() < 0.6:  # faces of 25 px and more
        side = int(np.exp(rng.uniform(np.log(32), np.log(CANVAS))))
        canvas = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.3:
            quality = int(rng.integers(30, 90))
            canvas = cv2.imdecode(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)
        kinds = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
        canvas = cv2.resize(canvas, (SIZE, SIZE), interpolation=kinds[int(rng.integers(2))])
    else:
        canvas = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.15:
        canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.5)))
    if rng.random() < 0.3:
        noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(abs(rng.normal(0, 8)))
        canvas = np.clip(canvas + noise, 0, 255).astype(np.uint8)
    return canvas
