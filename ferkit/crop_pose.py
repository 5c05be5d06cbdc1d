"""The pose of faces whose pictures are cropped to them: for knowing the pose only, never for scoring."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.interfaces import Detector, PoseEstimator
from ferkit.types import Faces, ImageBatch

# Detectors were trained on faces with something around them. Of 1,000 crops of FER2013 (48 px) retinaface finds 97.9 % so,
# 94.8 % if they are not enlarged, 84.8 % with twice the border; and without any 97.9 %, too:
# benchmarks/crop_pose.py. A border that repeats the edge was worse than one in the mean colour.
BORDER = 0.25
"""Width of the border, in units of the picture's longer side."""
SIDE = 160
"""Least length of the longer side, in pixels; smaller pictures are enlarged to it first."""


def crop_pose(crops: Sequence[Tensor], detector: Detector, pose: PoseEstimator | None = None) -> tuple[Tensor, Tensor]:
    """Find the face again in each crop with a border around it, and tell its pose.

    Of several faces the one that overlaps the crop best is taken. A border in the crop's mean colour and a scale change no
    pose.

    Args:
        crops: N pictures, each filled by a face, uint8 RGB ``[3, H, W]``.
        detector: Finds faces; one that passes on what is given gets the crop's extent.
        pose: Estimates pose; None where the detector does.

    Returns:
        Yaw, pitch and roll in degrees, float32 ``[N, 3]``, and ``pose_score`` ``[N]``; NaN where no face was found, or its
        pose is unknown.
    """
    angles, score = torch.full((len(crops), 3), torch.nan), torch.full((len(crops),), torch.nan)
    rows, faces = _found_again(crops, detector, pose)
    angles[rows], score[rows] = faces.pose.cpu(), faces.pose_score.cpu()
    return angles, score


def with_crop_pose(batch: ImageBatch, faces: Faces, detector: Detector, pose: PoseEstimator | None = None) -> Faces:
    """``faces``, one a crop, with pose and landmarks where they have none yet: what a data set says of a pose stays."""
    no_pose, unknown = torch.isnan(faces.pose[:, 0]), torch.isnan(faces.pose[:, 0])
    for points in faces.landmarks.values():
        unknown = unknown | ~torch.isfinite(points).flatten(1).all(1)
    places = torch.nonzero(unknown).flatten()
    rows, found = _found_again([batch.images[index] for index in faces.image_index[places].tolist()], detector, pose)
    places = places[rows]
    angles, scores = faces.pose.clone(), faces.pose_score.clone()
    new = no_pose[places]
    angles[places[new]], scores[places[new]] = found.pose.cpu()[new], found.pose_score.cpu()[new]
    landmarks = {}
    for scheme, points in found.landmarks.items():
        known = faces.landmarks.get(scheme, torch.full((len(faces), *points.shape[1:]), torch.nan)).clone()
        known[places] = torch.where(torch.isfinite(known[places]), known[places], points.cpu())
        landmarks[scheme] = known
    return faces.with_pose(angles, scores).with_landmarks(**landmarks)


def _found_again(crops: Sequence[Tensor], detector: Detector, pose: PoseEstimator | None) -> tuple[Tensor, Faces]:
    """Which crops show a face when they have a border, and those faces with landmarks in pixels of their crops."""
    if not len(crops):
        return torch.zeros(0, dtype=torch.int64), Faces.none()
    framed = [_framed(crop) for crop in crops]
    extents = tuple(Faces.of([0], box) for _, box in framed)
    batch = ImageBatch(tuple(picture for picture, _ in framed), ("crop",) * len(crops), extents)
    found = detector(batch).in_order()
    best = _best(found, extents)
    faces = found.select(torch.tensor(list(best.values()), dtype=torch.int64))
    if pose and len(faces):
        faces = pose(batch, faces)
    rows = torch.tensor(list(best), dtype=torch.int64)
    corners = torch.stack([extents[row].boxes[0, :2] for row in best]) if best else torch.zeros(0, 2)
    scales = torch.tensor(
        [float(extents[row].boxes[0, 2] - extents[row].boxes[0, 0]) / crops[row].shape[2] for row in best]
    )
    landmarks = {}
    for scheme, points in faces.landmarks.items():
        moved = points.clone()
        moved[..., :2] -= corners[:, None]
        landmarks[scheme] = moved / scales[:, None, None]
    return rows, faces.with_landmarks(**landmarks)


def _framed(crop: Tensor) -> tuple[Tensor, Tensor]:
    """The crop with its border, and its extent in that as a box ``[1, 4]``."""
    pixels = crop[None].float()
    scale = SIDE / max(crop.shape[1:])
    if scale > 1:
        size = [max(1, round(length * scale)) for length in crop.shape[1:]]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    height, width = pixels.shape[2:]
    border = round(BORDER * max(height, width))
    mean = pixels.mean((2, 3), keepdim=True)
    framed = F.pad(pixels - mean, (border,) * 4) + mean
    box = torch.tensor([[border, border, border + width, border + height]], dtype=torch.float32)
    return framed.round().clamp(0, 255).to(torch.uint8)[0], box


def _best(found: Faces, extents: Sequence[Faces]) -> dict[int, int]:
    """By picture the face that overlaps its extent best."""
    from torchvision.ops import box_iou  # what predicts does without

    best: dict[int, int] = {}
    overlaps: dict[int, float] = {}
    for face, picture in enumerate(found.image_index.tolist()):
        overlap = float(box_iou(found.boxes[face : face + 1].cpu(), extents[picture].boxes))
        if overlap > overlaps.get(picture, 0.0):
            best[picture], overlaps[picture] = face, overlap
    return best
