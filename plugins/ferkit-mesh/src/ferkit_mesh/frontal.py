"""Normalizer ``mesh-frontal``: a face seen from the front, drawn from its own picture by its own mesh.

Faces are turned as by Hassner et al. (CVPR 2015), who fill what is hidden from the mirrored half where that was seen; but with
the person's own shape, as HPEN (Zhu et al., CVPR 2015), not a generic one, so that mouth, brows and lids stay as they are. That
the surface goes on behind the face's outline is from 300W-LP (Zhu et al., CVPR 2016).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ferkit import ComponentError, Context, Faces, Frontal, ImageBatch
from ferkit.alignment import cut
from ferkit.geometry import to_five
from ferkit.interfaces import PosedFace
from ferkit_mesh import FrontalConfig
from ferkit_mesh.head import OVAL, POINTS, Head
from ferkit_mesh.loading import head_of
from ferkit_mesh.outline import inward
from ferkit_mesh.posing import posed
from ferkit_mesh.render import Bytes, Floats, compose, rasterize, smoothstep

CUT = 0.04  # share of its width by which a mesh goes on beyond the border where the face looks; uncut faces have at most 0.03
UNSURE_FROM, UNSURE = 40.0, 0.007  # degrees of yaw, and how much less sure a degree beyond them may be
FACE = 1.92  # side of a frontal face in units of the head, so that it is framed as by ferkit.geometry.FACE_TEMPLATE
MIDDLE = 0.23  # its centre lies this far below the eyes, in the same units
AROUND = 1.3  # side of the source that is looked at, in units of what is drawn
SEEN = (0.1, 0.4)  # cosine between surface and line of sight: not seen below, well seen above
BETTER = (0.0, 0.2)  # by how much the mirrored point must face the camera more: not used below, fully above
OUTLINE = (0.05, 0.15)  # doubted nearer the outline, in units of the head: a real face ends a little off its mesh
ASIDE = (0.5, 0.57)  # of the camera, see _Placed: from there on, and fully, both halves are drawn from the near one
PROFILE = (0.77, 0.86)  # likewise: half turned below, in profile above
MIDLINE = (0.0, 0.06)  # from the middle line, in units of the head: where the far half begins
# How far off the middle line is looked up, in units of the head, so far below the eyes. On the nose always; of a face half
# turned, whose mesh shows more beyond that line than the picture does, also on the forehead, on the lips, from where the nose
# ends, and by so much more on the chin, which is counted from the lower lip.
NOSE, OFF_NOSE = (-0.1, 0.1, 0.42, 0.56), (0, 0.04, 0.04, 0)
FOREHEAD, OFF_FOREHEAD = (-0.6, -0.4), (0.1, 0)
LIPS, OFF_LIPS = NOSE[2:], (0, 0.04)
CHIN, OFF_CHIN = (0.02, 0.13), (0, 0.06)
LOWER_LIP = 17  # its landmark
FLANK = 0.15  # what is so near to the middle line is looked up less far off, likewise
HIDDEN = 0.12  # behind another surface by more than this, in units of the head
SMOOTH = 0.02  # deviation by which places are smoothed over the frontal face, likewise
INSET = 0.035  # by which what is seen edge on is looked up further inside, so that no background shows, likewise


class Rendered(NamedTuple):
    """A face from the front.

    Attributes:
        picture: uint8 ``[S, S, 3]``.
        points: ``[468, 3]`` in its pixels.
        confidence: ``[S, S]``, 0..1: how well the source showed what is drawn; 0 outside the face.
    """

    picture: Bytes
    points: Floats
    confidence: Floats


class MeshFrontal:
    """Removes yaw, pitch and roll.

    Not turned are faces whose mesh is unknown, or less sure than their yaw explains, or whose profile the picture's border cuts.

    The score of a result is that of the landmarks times the mean confidence over the face, times the share of the landmarks
    that lie inside the picture.

    Raises:
        WeightsError: If the head model is missing or altered.
        ComponentError: When called, if the landmarks are of another mesh.
    """

    def __init__(self, config: FrontalConfig, context: Context) -> None:
        tensors, _ = context.weights.load(config.weights)
        self._head = head_of(tensors, config.weights)
        self._config = config

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """One frontal view a face, ``size * (1 + 2 * margin)`` px wide, or None where its mesh is unknown, unsure or cut.

        Of a crop, which is taken as it is, the view has no margin either.
        """
        framed = (self._config, self._config.model_copy(update={"margin": 0.0}))
        meshes = _meshes(faces)
        drawn = meshes.isfinite().all((1, 2)) & self._sure(faces) & ~_cut_off(batch, faces, meshes)
        return [
            self._turn(batch.images[index], mesh, score, framed[crop]) if wanted else None
            for wanted, index, mesh, score, crop in zip(
                drawn.tolist(),
                faces.image_index.tolist(),
                meshes,
                faces.pose_score.tolist(),
                faces.is_crop.tolist(),
                strict=True,
            )
        ]

    def posed(
        self, batch: ImageBatch, faces: Faces, pose: Tensor, size: int, seeds: Sequence[int] | None = None
    ) -> list[PosedFace | None]:
        """Each face in the pose asked for, as :class:`ferkit.interfaces.Poser` says, or None where its mesh is unknown."""
        each: Sequence[int | None] = [None] * len(faces) if seeds is None else seeds
        return [
            posed(batch.images[index], mesh[:POINTS].numpy(), wanted, self._head, size, crop, seed)
            if bool(torch.isfinite(mesh).all())
            else None
            for index, mesh, wanted, crop, seed in zip(
                faces.image_index.tolist(),
                _meshes(faces),
                pose,
                faces.is_crop.tolist(),
                each,
                strict=True,
            )
        ]

    def _sure(self, faces: Faces) -> Tensor:
        """Whose landmarks are as sure as those of a face of its yaw should be, or of unknown confidence, bool ``[N]``.

        The further a face is turned the less sure they are. Where they are less sure than that the face is hidden, or turned
        further than they say, and its view would show what is behind it.
        """
        further = (faces.pose[:, 0].abs() - UNSURE_FROM).clamp(min=0).nan_to_num(0)
        unsure = faces.pose_score < self._config.min_score - UNSURE * further
        return ~unsure

    def _turn(self, image: Tensor, mesh: Tensor, score: float, config: FrontalConfig) -> Frontal | None:
        unit = config.size / FACE  # pixels of the result per unit of the head
        points = mesh[:POINTS].numpy()
        _, _, scale = self._head.rotation(points)
        if not scale > 0:
            return None
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        side = max(float((high - low).max()), scale * FACE * (1 + 2 * config.margin)) * AROUND
        pixels = max(round(side * min(unit / scale, 1)), 16)  # a small face is enlarged once only, when it is drawn
        corner = torch.from_numpy((low + high) / 2 - side / 2).double()
        square = torch.cat([torch.eye(2, dtype=torch.float64) * side, corner[:, None]], 1)
        source = cut(image, square, pixels).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        moved = (points - np.append(corner.numpy(), 0)) * (pixels / side)
        rendered = frontalize(source, moved.astype(np.float32), self._head, config)
        five = to_five({"mesh": torch.from_numpy(rendered.points)[None]})
        assert five is not None
        inside = rendered.confidence[rendered.confidence > 0]
        quality = float(inside.mean()) if inside.size else 0.0
        known = 1.0 if np.isnan(score) else score
        within = float(((points[:, :2] >= 0) & (points[:, :2] <= image.shape[:0:-1])).all(1).mean())
        low, high = rendered.points[:, :2].min(0), rendered.points[:, :2].max(0)
        box = torch.from_numpy(np.concatenate([low, high]).clip(0, len(rendered.picture)))
        return Frontal(torch.from_numpy(rendered.picture).permute(2, 0, 1), five[0], known * quality * within, box)


def _cut_off(batch: ImageBatch, faces: Faces, meshes: Tensor) -> Tensor:
    """Whose profile lies beyond the picture's border, bool ``[N]``; a crop's border is its data set's choice, and cuts nothing.

    Of such a face there is no middle line to be seen, and its mesh is squeezed into what is left.
    """
    widths = torch.tensor([batch.images[index].shape[2] for index in faces.image_index.tolist()]).reshape(-1)
    left, right = meshes[..., 0].amin(1), meshes[..., 0].amax(1)
    beyond = torch.where(faces.pose[:, 0] > 0, right - widths, -left) / (right - left)
    cut_off: Tensor = (beyond > CUT) & faces.pose[:, 0].isfinite() & ~faces.is_crop
    return cut_off


def _meshes(faces: Faces) -> Tensor:
    """The landmarks ``[N, 468, 3]``, NaN where unknown.

    Raises:
        ComponentError: If they are of another mesh.
    """
    meshes = faces.landmarks.get("mesh")
    if meshes is None:
        return torch.full((len(faces), POINTS, 3), torch.nan)
    if meshes.shape[1] < POINTS or meshes.shape[2] != 3:
        raise ComponentError(
            f"mesh-frontal needs MediaPipe's {POINTS} landmarks in 3D, not {list(meshes.shape[1:])} numbers a face: use the "
            "pose estimator mesh"
        )
    return meshes


class _Placed(NamedTuple):
    """A head in its picture: ``shape [540, 3]`` in its own frame, ``seen [540, 3]`` in pixels."""

    shape: Floats
    seen: Floats
    rotation: Floats
    scale: float

    @property
    def aside(self) -> np.float32:
        """Sine of the angle between the line of sight and the head's middle plane: of its yaw, if it is not pitched.

        Its sign is that of x in the half that is further away; turning the picture in its plane does not change it.
        """
        value: np.float32 = self.rotation[2, 0]
        return value

    @property
    def half_turned(self) -> float:
        """1 of a face half turned or less, 0 in profile, where the middle line is the mesh's own outline, too."""
        return 1 - float(smoothstep(np.abs(self.aside), *PROFILE))


def frontalize(source: Bytes, points: Floats, head: Head, config: FrontalConfig) -> Rendered:
    """Draw a face from the front.

    Args:
        source: Picture of the face, uint8 ``[H, W, 3]``, about as large as the result.
        points: ``[468, 3]`` in its pixels.
        head: Whose mesh they are.
        config: Size, margin, and whether the hidden half is filled.
    """
    rotation, _, scale = head.rotation(points)
    middle = (points[33] + points[263]) / 2
    shape = head.with_rings((points - middle) @ rotation / scale)
    placed = _Placed(shape, shape @ (rotation.T * scale) + middle, rotation, scale)
    size, unit = round(config.size * (1 + 2 * config.margin)), config.size / FACE
    target = shape * unit + np.array([size / 2, size / 2 - MIDDLE * unit, 0], np.float32)
    places, sight, within = _sight(placed, head, source)
    opposite = head.opposite
    share = _borrowed(placed, sight, within, opposite) if config.mirror else np.zeros_like(sight)
    edge = np.ones_like(sight)
    edge[-len(OVAL) :] = 0
    known = smoothstep(np.where(share > 0.5, sight[opposite], sight), *SEEN)
    values = np.column_stack([places, places[opposite], share, edge, known]).astype(np.float32)
    drawn, depth = rasterize(target.astype(np.float32), head.triangles, values, size, size)
    drawn[..., 4:] = drawn[..., 4:].clip(0, 1)
    looked_up = _smoothed(drawn[..., :4], np.isfinite(depth), SMOOTH * unit)
    seam = np.asarray(cv2.GaussianBlur(drawn[..., 4], (0, 0), 0.04 * unit), np.float32)
    alpha = drawn[..., 5]
    behind = _background(source, placed, target, unit, size)
    picture = compose(source, looked_up[..., :2], looked_up[..., 2:], seam, alpha, behind)
    return Rendered(picture, target[:POINTS].astype(np.float32), drawn[..., 6] * alpha)


def _smoothed(values: Floats, known: NDArray[np.bool_], deviation: float) -> Floats:
    """A map ``[S, S, A]`` without the corners of the triangles it was drawn by, from what is known of it alone.

    Triangles are coarse where the surface is steep, beside the nose and the ears; along them a picture comes out jagged.
    """
    weight = known.astype(np.float32)
    total = cv2.GaussianBlur(values * weight[..., None], (0, 0), deviation)
    share = cv2.GaussianBlur(weight, (0, 0), deviation)
    return np.asarray(total / np.maximum(share, 1e-6)[..., None], np.float32)


def _sight(placed: _Placed, head: Head, source: Bytes) -> tuple[Floats, Floats, Floats]:
    """Of each of the 540 points where it is looked up; how squarely it was seen; and how far within the outline.

    Sight is -1..1, 0 edge on or behind something; the last is in units of the head.
    """
    normals = head.normals(placed.shape) @ placed.rotation.T
    facing = -normals[:, 2]
    half = (placed.seen / 2).astype(np.float32)  # half the resolution is enough
    nothing = np.zeros((len(half), 0), np.float32)
    _, depth = rasterize(half, head.triangles, nothing, max(source.shape[0] // 2, 1), max(source.shape[1] // 2, 1))
    columns = np.clip(half[:, 0].astype(int), 0, depth.shape[1] - 1)
    rows = np.clip(half[:, 1].astype(int), 0, depth.shape[0] - 1)
    covered = half[:, 2] - depth[rows, columns] > HIDDEN * placed.scale / 2
    inset = INSET * placed.scale * (1 - smoothstep(facing, 0, SEEN[1]))
    places = placed.seen[:, :2] - normals[:, :2] * inset[:, None]
    face = placed.seen[:POINTS, :2].astype(np.float32)
    looks = -placed.rotation[:2, 2]
    places[:POINTS] += inward(source, np.isfinite(depth), face, placed.scale, looks, placed.half_turned)
    places += _off_the_middle(placed)
    inside = cv2.distanceTransform(np.isfinite(depth).astype(np.uint8), cv2.DIST_L2, 3)
    within = inside[rows, columns] / (placed.scale / 2)
    sight = np.where(covered, np.minimum(facing, 0), facing)
    return places.astype(np.float32), sight.astype(np.float32), within.astype(np.float32)


def _borrowed(placed: _Placed, sight: Floats, within: Floats, opposite: NDArray[np.int64]) -> Floats:
    """How much of each of the 540 points is drawn from the one opposite, 0..1.

    Where both halves are seen a point is borrowed only if it was seen worse. Of a face turned further all of the far half
    is: patches of either would meet along its nose, and of a real face that half is seldom where its mesh is.
    """
    shown = smoothstep(sight, *SEEN) * smoothstep(within, *OUTLINE)
    worse = (1 - shown) * smoothstep(sight[opposite] - sight, *BETTER)
    far = smoothstep(np.sign(placed.aside) * placed.shape[:, 0], *MIDLINE)
    borrowed: Floats = (worse + smoothstep(np.abs(placed.aside), *ASIDE) * (far - worse)).astype(np.float32)
    return borrowed


def _off_the_middle(placed: _Placed) -> Floats:
    """How far the middle line and what is near it are looked up towards the near half, ``[540, 2]`` in pixels.

    The middle line of a turned face is its outline, and no half can replace it: what is behind a real face would be drawn on it.
    """
    beside, below = placed.shape[:, 0], placed.shape[:, 1]
    mouth_and_chin = np.interp(below, LIPS, OFF_LIPS) + np.interp(below - below[LOWER_LIP], CHIN, OFF_CHIN)
    half = placed.half_turned * (np.interp(below, FOREHEAD, OFF_FOREHEAD) + mouth_and_chin)
    off = (np.interp(below, NOSE, OFF_NOSE) + half) * np.exp(-np.square(beside / FLANK))
    down = placed.rotation[:2, 1]
    across = np.array([down[1], -down[0]]) / max(float(np.linalg.norm(down)), 1e-6)  # along the eyes, in the picture
    far = placed.scale * smoothstep(np.abs(placed.aside), *ASIDE)
    moved: Floats = (-np.sign(placed.aside) * far * off[:, None] * across).astype(np.float32)
    return moved


def _background(source: Bytes, placed: _Placed, target: Floats, unit: float, size: int) -> Bytes:
    """The source upright and of the result's scale, the middle of the head where that of the frontal head is."""
    right = placed.rotation[:, 0]
    angle = np.arctan2(right[1], right[0]) if right[0] > 0.3 else 0.0
    cos, sin = np.cos(angle) * placed.scale / unit, np.sin(angle) * placed.scale / unit
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.column_stack([linear, placed.seen[:, :2].mean(0) - linear @ target[:, :2].mean(0)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    behind = cv2.warpAffine(source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(behind, np.uint8)
