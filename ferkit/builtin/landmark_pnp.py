"""Head pose from 5 or 68 landmarks and a generic head, without a network."""

import torch

from ferkit.components import Config
from ferkit.head_pose import pose_from_landmarks
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch


class LandmarkPnP:
    """Fits a generic 3D head to 68 landmarks, or to 5 where those are unknown; faces without either keep their pose.

    ``pose_score`` is that of :func:`ferkit.head_pose.pose_from_landmarks`.
    """

    def __init__(self, config: Config, context: Context) -> None:
        del config, context

    def __call__(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` with ``pose`` in degrees and ``pose_score`` wherever their landmarks decide them."""
        del batch
        pose, score = faces.pose, faces.pose_score
        for scheme in ("5", "68"):  # the later wins
            if scheme not in faces.landmarks:
                continue
            angles, quality = pose_from_landmarks(faces.landmarks[scheme], scheme)
            known = torch.isfinite(quality).to(pose.device)
            pose = torch.where(known[:, None], angles.to(pose), pose)
            score = torch.where(known, quality.to(score), score)
        return faces.with_pose(pose, score)
