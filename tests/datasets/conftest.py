import pytest
from PIL import Image

from ferkit import FerkitError
from ferkit.datasets import open_dataset
from ferkit.testing import face_picture


@pytest.fixture
def picture():
    """Writes a small picture of a face, whatever its path; no two calls write the same."""
    face = Image.fromarray(face_picture().permute(1, 2, 0).numpy()).convert("L")
    written = []

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(path)
        face.crop((len(written), 0, face.width, face.height)).resize((48, 48)).save(path)
        return path

    return write


@pytest.fixture
def refused():
    """The message of the error that reading a data set ends with."""

    def read(name, **options):
        with pytest.raises(FerkitError) as caught:
            dataset = open_dataset(name, **options)
            for split in dataset.splits:
                list(dataset.samples(split))
        return str(caught.value)

    return read
