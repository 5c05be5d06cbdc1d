"""The detector ``retinaface``: boxes and five landmarks by RetinaFace MobileNet-0.25, on CPU or CUDA."""

from pydantic import Field

from ferkit import Component, Config, hookimpl


class RetinaFaceConfig(Config):
    """Options of the detector ``retinaface``."""

    size: int = Field(
        1280, ge=64, le=4096, description="longer side in pixels a photo is reduced to; panoramas up to 4 times"
    )
    # Of 500 faces of FER2013, 492 are found from 0.5 or 0.6, 491 from 0.7 and 485 from 0.9. The false ones of the
    # Solvay photo reach 0.18 at 1280 px and 0.59 at 1024; its 29 faces have 0.97 and 0.87 at least.
    min_score: float = Field(0.6, ge=0, le=1, description="score from which a box counts as a face")
    nms: float = Field(0.4, ge=0, le=1, description="intersection over union above which two boxes are one face")
    second_look: bool = Field(
        True,
        description="search a photo without a face once more, up to twice as large, if `size` allows a quarter more",
    )
    # On a CPU larger batches gain nothing and, of large photos, cost time and memory; on a GPU raise it.
    batch_size: int = Field(1, ge=1, description="photos of like size that the network gets at once")
    threads: int | None = Field(None, ge=1, description="threads of onnxruntime; null: as many as it chooses")


@hookimpl
def ferkit_components() -> list[Component]:
    """The detector."""
    return [
        Component(
            kind="detector",
            name="retinaface",
            config=RetinaFaceConfig,
            target="ferkit_retinaface.detector:RetinaFace",
            summary="RetinaFace MobileNet-0.25: boxes and five landmarks, weights embedded, quick on a CPU",
            weights_licence="MIT",
            provides=frozenset({"landmarks:5"}),
        )
    ]
