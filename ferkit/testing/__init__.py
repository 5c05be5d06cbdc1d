"""The conformance kit for plugin authors: a test suite for each kind of component.

A plugin's test file is a subclass; pytest collects its checks::

    from ferkit.testing import EncoderSuite

    class TestMine(EncoderSuite):
        component = "mine"
        config = {"width": 8}

Needs pytest: ``pip install ferkit[testing]``.
"""

from ferkit.testing.base import ComponentSuite
from ferkit.testing.dataset import DatasetSuite
from ferkit.testing.detector import DetectorSuite
from ferkit.testing.faces import NormalizerSuite, PoseSuite
from ferkit.testing.features import EncoderSuite, HeadSuite
from ferkit.testing.pictures import FACE_BOX, FACE_LANDMARKS, empty_pictures, face_picture, grid, panorama

__all__ = [
    "ComponentSuite",
    "DatasetSuite",
    "DetectorSuite",
    "EncoderSuite",
    "FACE_BOX",
    "FACE_LANDMARKS",
    "HeadSuite",
    "NormalizerSuite",
    "PoseSuite",
    "empty_pictures",
    "face_picture",
    "grid",
    "panorama",
]
