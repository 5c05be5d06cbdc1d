"""Dense landmarks, head pose and a geometric frontalizer for faces turned away, with embedded weights."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ferkit import Component, Config, Weights, hookimpl

WEIGHTS = (
    "pkg://ferkit_mesh/weights/mesh.safetensors#sha256=12a3db82e20343f4813993784603d8cdb32c29f3534fb3c9dbc77f8e22630d5f"
)
RIGHTS = "research use: trained on FER2013 (Kaggle competition data)"

_Weights = Annotated[
    Weights, Field(description="safetensors with the network's tensors and, as head.*, the head they are made for")
]


class MeshConfig(Config):
    """Options of the pose estimator ``mesh``."""

    weights: _Weights = WEIGHTS
    min_score: float = Field(
        default=0.3, ge=0, le=1, description="confidence below which landmarks and pose count as unknown"
    )
    max_apart: float = Field(
        default=0.13,
        gt=0,
        description="mean distance from the detector's five landmarks, in sides of the face's box, beyond which they do, too",
    )


class FrontalConfig(Config):
    """Options of the normalizer ``mesh-frontal``."""

    weights: _Weights = WEIGHTS
    size: int = Field(default=112, ge=32, le=1024, description="side of the frontal face in pixels, without the margin")
    margin: float = Field(default=0.25, ge=0, le=1, description="around the face, in units of its side")
    mirror: bool = Field(
        default=True,
        description="take what was hidden or seen badly, and all of a half turned far away, from the other half",
    )
    min_score: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="confidence of the landmarks below which no view is drawn; beyond 40 degrees of yaw 0.007 less a degree",
    )


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The pose estimator ``mesh`` and the normalizer ``mesh-frontal``."""
    return [
        Component(
            kind="pose",
            name="mesh",
            config=MeshConfig,
            target="ferkit_mesh.pose:Mesh",
            summary="468 landmarks in 3D and head pose up to profile, by a small network, weights embedded",
            weights_licence=RIGHTS,
            commercial=False,
            uses=frozenset({"landmarks:5"}),
            provides=frozenset({"landmarks:mesh", "pose"}),
        ),
        Component(
            kind="normalizer",
            name="mesh-frontal",
            config=FrontalConfig,
            target="ferkit_mesh.frontal:MeshFrontal",
            summary="turns a face by its own 3D mesh, the hidden half filled from the other; milliseconds on a CPU",
            weights_licence=RIGHTS,
            commercial=False,
            needs=frozenset({"landmarks:mesh"}),
            cheap=True,
        ),
    ]
