import pytest
import torch

from ferkit import Faces
from ferkit.testing import DetectorSuite, PoseSuite
from ferkit.testing.pictures import FACE_BOX, empty_pictures, face_picture
from ferkit_face_alignment.files import BACKENDS, FAN


class FromFiles:
    """The options that lead to the files that the tests made."""

    files = BACKENDS["sfd"]

    @pytest.fixture(autouse=True)
    def _made(self, folder, options_for):
        self.made = options_for(folder, self.files)

    def options(self):
        return {**self.config, **self.made}


class TestSfd(FromFiles, DetectorSuite):
    component = "face-alignment"
    distribution = "ferkit-face-alignment"
    config = {"size": 64}
    finds_faces = False


class TestBlazeFace(TestSfd):
    config = {"backend": "blazeface"}
    files = BACKENDS["blazeface"]


class TestPose(FromFiles, PoseSuite):
    component = "face-alignment"
    distribution = "ferkit-face-alignment"
    config = {"flip": False}
    files = (FAN,)
    expected_failures = {
        "test_pose_is_in_degrees": "its weights see colours, not faces: see test_pose.py",
        "test_roll_is_clockwise": "its weights see colours, not faces: see test_pose.py",
    }

    def faces(self):
        """Few: a face takes a second on one core."""
        pair = Faces.of([0, 0], [FACE_BOX, [150.0, 150.0, 152.0, 152.0]])
        return [
            (face_picture(), pair),
            (empty_pictures()[0], pair.select(torch.zeros(0, dtype=torch.int64))),
            (face_picture()[:, :, 60:].contiguous(), Faces.of([0], [[-20.0, 40, 60, 130]])),
        ]
