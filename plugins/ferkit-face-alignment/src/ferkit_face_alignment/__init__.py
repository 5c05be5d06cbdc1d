"""Detectors and landmarks of the face-alignment package."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ferkit import OPERATIONAL, Component, Config, LocalPath, hookimpl
from ferkit_face_alignment.files import BACKENDS, FAN, check_digests, references

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class WeightsConfig(Config):
    """Where weights are, and what they must be."""

    weights_dir: Annotated[LocalPath | None, OPERATIONAL] = Field(
        default=None, description="folder with the weights' files; null: the cache of torch.hub, which downloads go to"
    )
    sha256: tuple[Digest, ...] = Field(
        default=(), description="digests of the files, in place of the known ones: for weights of your own"
    )

    @property
    def files(self) -> Sequence[str]:
        """Names of the files that are read."""
        raise NotImplementedError

    @property
    def weights(self) -> list[str]:
        """References to these files, all of them pinned."""
        return list(references(self.files, self.weights_dir, self.sha256))

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        check_digests(self.files, self.sha256)
        return self


class DetectorConfig(WeightsConfig):
    """Options of the detector ``face-alignment``."""

    backend: Literal["sfd", "blazeface", "blazeface-back"] = Field(
        default="sfd", description="sfd finds small faces too; blazeface is quick, for one near face, -back for farther"
    )
    min_score: float = Field(default=0.5, ge=0.05, le=1, description="score from which a box counts as a face")
    size: int = Field(
        default=640,
        ge=32,
        le=4096,
        description="of sfd: longer side in pixels to which photos are reduced; blazeface always sees 128, -back 256",
    )

    @property
    def files(self) -> Sequence[str]:
        """Names of the files that are read."""
        return BACKENDS[self.backend]


class PoseConfig(WeightsConfig):
    """Options of the pose estimator ``face-alignment``."""

    scale: float = Field(
        default=2.05,
        ge=1,
        le=4,
        description="side of the square the network sees, in units of the box's mean side; with retinaface 2.42",
    )
    flip: bool = Field(default=True, description="add the heat maps of the mirrored face, in twice the time")
    batch_size: Annotated[int, OPERATIONAL] = Field(default=8, ge=1, description="faces the network gets at once")

    @property
    def files(self) -> Sequence[str]:
        """Names of the files that are read."""
        return (FAN,)


def _weights(config: WeightsConfig) -> Iterable[str]:
    return config.weights


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The detector and the pose estimator ``face-alignment``."""
    return [
        Component(
            kind="detector",
            name="face-alignment",
            config=DetectorConfig,
            target="ferkit_face_alignment.detector:FaceAlignmentDetector",
            summary="detectors of the face-alignment package: S3FD, BlazeFace",
            weights_licence="BSD-3-Clause; BlazeFace's Apache-2.0",
            weights=_weights,
        ),
        Component(
            kind="pose",
            name="face-alignment",
            config=PoseConfig,
            target="ferkit_face_alignment.pose:FaceAlignmentPose",
            summary="68 landmarks of the face-alignment package (2D-FAN), and head pose from them",
            weights_licence="BSD-3-Clause",
            provides=frozenset({"landmarks:68", "pose"}),
            weights=_weights,
        ),
    ]
