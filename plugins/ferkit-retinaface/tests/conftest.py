from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ferkit import Context, Faces, ImageBatch
from ferkit.weights import WeightsStore
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.detector import RetinaFace

IMAGES = Path(__file__).parents[3] / "examples" / "images"


def photo(name):
    pixels = np.array(Image.open(IMAGES / name).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="session")
def solvay():
    return photo("solvay_1927.jpg")


@pytest.fixture(scope="session")
def astronaut():
    return photo("astronaut.jpg")


@pytest.fixture(scope="session")
def build():
    def detector(device="cpu", **options):
        context = Context(
            device=torch.device(device), dtype=torch.float32, seed=0, labels=("neutral",), weights=WeightsStore()
        )
        return RetinaFace(RetinaFaceConfig(**options), context)

    return detector


@pytest.fixture(scope="session")
def find(build):
    """Faces of the images given, by the detector at its defaults."""
    detector = build()

    def faces(*images) -> Faces:
        return detector(ImageBatch(images, ("array",) * len(images)))

    return faces
