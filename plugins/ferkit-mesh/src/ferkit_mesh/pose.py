"""Pose estimator ``mesh``: dense landmarks and the rotation of the head, from the picture inside a face's box."""

from dataclasses import replace

import torch
from torch import Tensor

from ferkit import Context, Faces, ImageBatch
from ferkit.alignment import cut, face_squares
from ferkit.geometry import rotation_to_angles, to_five
from ferkit.recipe_model import Align
from ferkit_mesh import MeshConfig
from ferkit_mesh.loading import head_of, network_of
from ferkit_mesh.network import MEAN, SIZE, STD, MeshNet, points_of

LUMA = torch.tensor((0.299, 0.587, 0.114)).reshape(3, 1, 1)  # ITU-R BT.601
MARGIN = 0.15  # around the squared box, in units of its side
BATCH = 64
CUT = 0.15  # share of the landmarks outside the picture from which a face is cut; turned crops have at most 0.08, halves 0.3


class Mesh:
    """Finds MediaPipe's 468 landmarks in 3D, and how the head is turned, also of faces in profile.

    It looks at the box alone. ``pose_score`` is how sure it is, 0..1: about ``exp(-(e / 0.08)²)``, e being the mean distance of
    its landmarks from the true ones in units of the face's size; 0 where the detector saw eyes, nose and mouth elsewhere, as
    of faces upside down, and of faces cut by the picture's border. Depth of the landmarks is in pixels, 0 at the middle between
    the eyes, larger away from the camera.

    Raises:
        WeightsError: If the weights are missing, altered, or of another network.
    """

    def __init__(self, config: MeshConfig, context: Context) -> None:
        tensors, _ = context.weights.load(config.weights)
        self._head = head_of(tensors, config.weights)
        self._network: MeshNet = network_of(tensors, config.weights)
        self._network.to(context.device, context.dtype).to(memory_format=torch.channels_last)
        self._mean, self._basis = torch.from_numpy(self._head.mean), torch.from_numpy(self._head.basis)
        self._min_score, self._max_apart = config.min_score, config.max_apart
        self._device, self._dtype = context.device, context.dtype

    def __call__(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with ``landmarks["mesh"]`` ``[N, 468, 3]``, ``pose`` and ``pose_score``.

        Landmarks and pose below the configuration's ``min_score``, or further than ``max_apart`` from ``landmarks["5"]``, are
        unknown: NaN. The score is given all the same.
        """
        plain = replace(faces, is_crop=torch.zeros_like(faces.is_crop), pose=torch.full_like(faces.pose, torch.nan))
        squares = face_squares(plain, Align(method="box", margin=MARGIN, size=SIZE))
        crops = torch.zeros(len(faces), 1, SIZE, SIZE)
        for row, index, square in zip(crops, faces.image_index.tolist(), squares, strict=True):
            row[0] = (cut(batch.images[index], square, SIZE) * LUMA).sum(0)
        points, pose, score = self._ask(crops)
        plane = (points[..., :2].double() + 1) / 2 @ squares[..., :2].mT + squares[:, None, :, 2]
        depth = points[..., 2:].double() * torch.linalg.vector_norm(squares[:, :, 0], dim=1)[:, None, None] / 2
        placed = torch.cat([plane, depth], 2).float()
        score[_apart(placed, faces) > self._max_apart] = 0
        score[_outside(placed, batch, faces) > CUT] = 0
        known = score >= self._min_score
        placed[~known], pose[~known] = torch.nan, torch.nan
        return faces.with_landmarks(mesh=placed).with_pose(pose, score)

    def _ask(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points in half sides of the crop from its centre ``[N, 468, 3]``, angles ``[N, 3]``, confidence ``[N]``."""
        found = [(torch.zeros(0, *self._mean.shape), torch.zeros(0, 3), torch.zeros(0))]
        for part in torch.split(crops, BATCH) if len(crops) else ():
            inputs = ((part - MEAN) / STD).to(self._device, self._dtype, memory_format=torch.channels_last)
            raw = self._network(inputs)
            raw = type(raw)(*(values.float().cpu() for values in raw))
            points = points_of(raw, self._mean, self._basis)
            found.append((points, rotation_to_angles(raw.rotation), raw.confidence.sigmoid()))
        points, pose, score = (torch.cat(values) for values in zip(*found, strict=True))
        return points, pose, score


def _apart(mesh: Tensor, faces: Faces) -> Tensor:
    """Mean distance from the five landmarks that faces have already, in sides of their boxes, ``[N]``; NaN without."""
    known, five = faces.landmarks.get("5"), to_five({"mesh": mesh})
    if known is None or five is None:
        return torch.full((len(faces),), torch.nan)
    side = (faces.boxes[:, 2:] - faces.boxes[:, :2]).cpu().prod(1).sqrt()
    apart: Tensor = torch.linalg.vector_norm(five - known[..., :2].cpu(), dim=2).mean(1)
    return apart / side


def _outside(mesh: Tensor, batch: ImageBatch, faces: Faces) -> Tensor:
    """Share of the landmarks that lie outside the picture, ``[N]``."""
    shares = torch.zeros(len(faces))
    for face, index in enumerate(faces.image_index.tolist()):
        height, width = batch.images[index].shape[1:]
        plane = mesh[face, :, :2]
        inside = ((plane >= 0) & (plane <= torch.tensor([width, height]))).all(1)
        shares[face] = 1 - inside.float().mean()
    return shares
