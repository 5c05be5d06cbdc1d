"""The conformance suite of detectors."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from ferkit.testing.found import check_landmarks, of_image
from ferkit.testing.pictures import FACE_BOX, empty_pictures, face_picture, grid, panorama
from ferkit.testing.running import Arguments, RunningSuite
from ferkit.types import Faces, ImageBatch


class DetectorSuite(RunningSuite):
    """Checks for a detector; its items are pictures.

    Attributes:
        finds_faces: Whether it looks for faces. False for those that don't, and for toy weights.
    """

    kind: ClassVar[str] = "detector"
    finds_faces: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-2  # pixels

    def images(self) -> Sequence[Tensor]:
        """Pictures uint8 ``[3, H, W]`` of different sizes, with no, one and many faces."""
        return [face_picture(), *empty_pictures(), grid(2, 3), panorama()]

    def items(self) -> Sequence[Any]:
        """The pictures."""
        return self.images()

    def batch(self, items: Sequence[Any]) -> Arguments:
        """One batch of pictures; override it for a detector that needs ``given``."""
        return (ImageBatch(tuple(items), tuple(f"image {index}" for index in range(len(items)))),)

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """The faces of each picture."""
        assert isinstance(output, Faces), f"a detector must return Faces, not {type(output).__name__}"
        count = len(arguments[0])
        outside = (output.image_index < 0) | (output.image_index >= count)
        assert not outside.any(), f"image_index {output.image_index[outside].tolist()} is outside the {count} pictures"
        faces = _left_to_right(output)
        return [of_image(faces, index) for index in range(count)]

    def detected(self, *pictures: Tensor) -> Faces:
        """What a new instance finds in ``pictures``."""
        with torch.inference_mode():
            faces: Faces = self.build()(*self.batch(pictures))
        return faces

    def test_boxes_are_corners_in_pixels(self) -> None:
        """Boxes are finite x0 y0 x1 y1 with an area, and touch their picture."""
        images = self.images()
        faces = self.detected(*images)
        for index, (x0, y0, x1, y1) in zip(faces.image_index.tolist(), faces.boxes.tolist(), strict=True):
            height, width = images[index].shape[1:]
            sound = all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1
            assert sound, f"image {index}: {(x0, y0, x1, y1)} must be x0 y0 x1 y1"
            touches = x0 < width and y0 < height and x1 > 0 and y1 > 0
            assert touches, f"image {index} of {width} by {height}: {(x0, y0, x1, y1)} is outside"

    def test_scores_are_shares(self) -> None:
        """Scores lie within 0..1, or are NaN."""
        scores = self.detected(*self.images()).scores
        wrong = scores[(scores < 0) | (scores > 1)].tolist()
        assert not wrong, f"scores {wrong} are not within 0..1: apply a sigmoid or softmax"

    def test_no_face_where_none_is(self) -> None:
        """Grey, noise and a single pixel have no face."""
        self._needs_eyes()
        faces = self.detected(*empty_pictures())
        assert len(faces) == 0, f"found faces {faces.boxes.tolist()} where there are none"

    def test_finds_one_face(self) -> None:
        """The portrait's face is found once, with an intersection over union of at least 0.4."""
        self._needs_eyes()
        faces = self.detected(face_picture())
        assert len(faces) == 1, f"found {len(faces)} faces in a portrait"
        overlap = _iou(faces.boxes[0], torch.tensor(FACE_BOX))
        assert overlap >= 0.4, f"box {faces.boxes[0].tolist()} overlaps the face {FACE_BOX} by {overlap:.2f} only"

    def test_finds_many_faces(self) -> None:
        """Of six portraits side by side it finds each, and the one at the end of a panorama."""
        self._needs_eyes()
        faces = self.detected(grid(2, 3), panorama())
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        places = zip(faces.image_index.tolist(), (centres // 160).long().tolist(), strict=True)
        cells = {(image, column, row) for image, (column, row) in places}
        expected = {(0, x, y) for x in range(3) for y in range(2)} | {(1, 9, 0)}
        assert expected <= cells, f"missed (image, column, row): {sorted(expected - cells)}"
        assert len(faces) == len(expected), f"found {len(faces)} faces where there are {len(expected)}"

    def test_gives_what_it_provides(self) -> None:
        """Landmarks and pose that ``Component.provides`` promises are there for the portrait."""
        self._needs_eyes()
        provides = self.registered().component.provided(self.validated(self.options()))
        faces = self.detected(face_picture())
        check_landmarks(faces, provides)
        if "pose" in provides:
            assert torch.isfinite(faces.pose).all(), "Component.provides promises pose, which is NaN"

    def _needs_eyes(self) -> None:
        if not self.finds_faces:
            pytest.skip("finds_faces is false")


def _iou(a: Tensor, b: Tensor) -> float:
    corner, end = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    common = float((end - corner).clamp(min=0).prod())
    return common / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - common)


def _left_to_right(faces: Faces) -> Faces:
    """Faces in an order that small differences between calls do not change: detectors may return any."""
    centre = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    return faces.select((centre @ torch.tensor([1.0, 0.37])).argsort())
