"""The conformance suites of what is given faces: pose estimators and normalizers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.testing.found import check_landmarks, of_image
from ferkit.testing.pictures import FACE_BOX, FACE_LANDMARKS, empty_pictures, face_picture, grid
from ferkit.testing.running import Arguments, RunningSuite
from ferkit.testing.trees import difference
from ferkit.types import Faces, Frontal, ImageBatch


class FacesSuite(RunningSuite):
    """Checks for what is given pictures with faces; an item is a picture and its faces."""

    def faces(self) -> Sequence[tuple[Tensor, Faces]]:
        """Pictures with their faces (``image_index`` 0), all of the same landmark schemes, NaN where unknown.

        Among them are a picture with no face, one with many, a face half outside its picture, and one whose landmarks are
        unknown.
        """
        box, points = torch.tensor([FACE_BOX]), torch.tensor([FACE_LANDMARKS])
        shifts = torch.tensor([[x * 160.0, y * 160.0] for y in range(2) for x in range(3)])
        many = Faces.of(
            [0] * 6, box + shifts.repeat(1, 2), landmarks={"5": points + shifts.unsqueeze(1)}, scores=torch.ones(6)
        )
        half = Faces.of([0], box - torch.tensor([60.0, 0, 60, 0]), landmarks={"5": points - torch.tensor([60.0, 0])})
        unknown = Faces.of([0], box, landmarks={"5": torch.full((1, 5, 2), torch.nan)})
        return [
            (face_picture(), portrait()),
            (grid(2, 3), many),
            (empty_pictures()[0], portrait().select(torch.zeros(0, dtype=torch.int64))),
            (face_picture()[:, :, 60:].contiguous(), half),
            (face_picture(), unknown),
        ]

    def items(self) -> Sequence[Any]:
        """Pictures with their faces."""
        return self.faces()

    def batch(self, items: Sequence[Any]) -> Arguments:
        """One batch of pictures, and all their faces."""
        parts = [
            replace(faces, image_index=torch.full_like(faces.image_index, index))
            for index, (_, faces) in enumerate(items)
        ]
        images = ImageBatch(tuple(image for image, _ in items), tuple(f"image {i}" for i in range(len(items))))
        return images, Faces.concat(parts)

    def test_faces_without_landmarks(self) -> None:
        """Unless it ``needs`` landmarks, it takes faces that have none."""
        component = self.registered().component
        if any(word.startswith("landmarks") for word in component.needs):
            pytest.skip("it needs landmarks")
        bare = [(image, Faces.of(faces.image_index, faces.boxes)) for image, faces in self.faces()]
        self.results(self.build(), bare)


def portrait() -> Faces:
    """The face of :func:`face_picture` with its five landmarks."""
    return Faces.of([0], [FACE_BOX], scores=[1.0], landmarks={"5": torch.tensor([FACE_LANDMARKS])})


class PoseSuite(FacesSuite):
    """Checks for a pose estimator."""

    kind: ClassVar[str] = "pose"
    tolerance: ClassVar[float] = 1e-2  # degrees, and pixels of landmarks

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """Pose and landmarks of each picture's faces."""
        images, faces = arguments
        assert isinstance(output, Faces), f"a pose estimator must return Faces, not {type(output).__name__}"
        assert len(output) == len(faces), f"given {len(faces)} faces, it returned {len(output)}"
        return [
            {**of_image(output, index), "pose_score": output.pose_score[output.image_index == index]}
            for index in range(len(images))
        ]

    def posed(self, image: Tensor, faces: Faces) -> Faces:
        """What a new instance makes of one picture's faces."""
        with torch.inference_mode():
            found: Faces = self.build()(*self.batch([(image, faces)]))
        return found

    def test_faces_stay_the_same(self) -> None:
        """Boxes, scores, and which picture a face is in are passed on as they are."""
        images, faces = self.batch(self.items())
        with torch.inference_mode():
            posed = self.build()(images, faces)
        for name in ("image_index", "boxes", "scores", "is_crop"):
            found = difference(getattr(posed, name), getattr(faces, name))
            assert not found, f"{name} must stay as given: {found}"

    def test_pose_is_in_degrees(self) -> None:
        """The portrait's pose is known, within 180 degrees, and upright: |roll| and |pitch| below 45."""
        pose = self.posed(*self.faces()[0]).pose[0]
        assert torch.isfinite(pose).all(), f"the portrait's pose is {pose.tolist()}"
        assert pose.abs().max() <= 180 and pose[1:].abs().max() < 45, f"the portrait's pose is {pose.tolist()}"

    def test_roll_is_clockwise(self) -> None:
        """A portrait turned 20 degrees clockwise has 10 to 30 degrees more roll: the unit is degrees, the sign ferkit's."""
        upright = self.posed(face_picture(), portrait()).pose[0]
        turned = self.posed(*_turned_clockwise(20)).pose[0]
        change = float(turned[2] - upright[2])
        assert 10 <= change <= 30, f"roll changed by {change:.1f} degrees"

    def test_gives_what_it_provides(self) -> None:
        """Landmarks that ``Component.provides`` promises are there for the portrait, and pose is promised."""
        provides = self.registered().component.provided(self.validated(self.options()))
        assert "pose" in provides, "Component.provides of a pose estimator holds the word pose"
        check_landmarks(self.posed(*self.faces()[0]), provides)


def _turned_clockwise(degrees: float) -> tuple[Tensor, Faces]:
    """The portrait turned about its centre."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    theta = torch.cat([turn.T, torch.zeros(2, 1)], 1).unsqueeze(0)  # maps a place of the result to its source
    picture = face_picture().float().unsqueeze(0)
    pixels = F.grid_sample(
        picture,
        F.affine_grid(theta, list(picture.shape), align_corners=False),
        padding_mode="border",
        align_corners=False,
    )
    points = (torch.tensor(FACE_LANDMARKS) - 80) @ turn.T + 80
    x0, y0, x1, y1 = FACE_BOX
    centre = (torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]) - 80) @ turn.T + 80
    half = torch.tensor([(x1 - x0) / 2, (y1 - y0) / 2])
    box = torch.cat([centre - half, centre + half]).unsqueeze(0)
    return pixels[0].round().to(torch.uint8), Faces.of([0], box, landmarks={"5": points.unsqueeze(0)})


class NormalizerSuite(FacesSuite):
    """Checks for a normalizer."""

    kind: ClassVar[str] = "normalizer"
    tolerance: ClassVar[float] = 1.0  # grey levels, pixels of landmarks

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """The results of each picture's faces."""
        images, faces = arguments
        assert isinstance(output, Sequence), f"a normalizer must return a list, not {type(output).__name__}"
        assert len(output) == len(faces), f"given {len(faces)} faces, it returned {len(output)} results"
        strangers = [result for result in output if not (result is None or isinstance(result, Frontal))]
        assert not strangers, f"a result is a Frontal or None, not {type(strangers[0]).__name__}"
        owners = faces.image_index.tolist()
        return [[r for r, owner in zip(output, owners, strict=True) if owner == index] for index in range(len(images))]

    def test_turns_the_portrait(self) -> None:
        """The portrait, of all faces, is not None, and not empty."""
        result = self.results(self.build(), self.faces()[:1])[0][0]
        assert result is not None, "it could not turn the portrait"
        assert min(result.image.shape[1:]) >= 16, f"its picture is {list(result.image.shape)}"

    def test_landmarks_lie_in_its_picture(self) -> None:
        """Where it says landmarks and score, they are finite; landmarks are pixels of its own picture."""
        for result in self.results(self.build(), self.faces()[:1])[0]:
            if result is None:
                continue
            assert 0 <= result.score <= 1, f"score {result.score} is not within 0..1"
            if result.landmarks is not None:
                height, width = result.image.shape[1:]
                inside = (result.landmarks >= 0) & (result.landmarks <= torch.tensor([width, height]))
                assert inside.all(), f"landmarks {result.landmarks.tolist()} in a picture of {width} by {height}"
