"""The values that pass between components: frozen, checked for shape, and at home with zero faces."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas
    from PIL import Image

FLAGS = (
    "no_pose",
    "low_confidence",
    "several_faces",
    "whole_image",
    "not_turned",
    "edit_failed",
    "edit_rejected:no_face",
    "edit_rejected:several_faces",
    "edit_rejected:yaw",
    "edit_rejected:pitch",
    "edit_rejected:identity",
    "edit_rejected:expression",
)
ALIGNED, FRONTAL = "aligned", "frontal"


class Pose(NamedTuple):
    """Rotation of the head in degrees; NaN where unknown.

    ``yaw`` > 0 when the face turns towards the image's right, ``pitch`` > 0 when it looks up, ``roll`` > 0 clockwise in
    the image.
    """

    yaw: float
    pitch: float
    roll: float


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _shape(name: str, tensor: Tensor | None, *shape: int | None) -> None:
    if tensor is None:
        return
    if tensor.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, tensor.shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{wanted}], not {list(tensor.shape)}")


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces over a batch of images, ordered by image, box area descending, x.

    Attributes:
        image_index: int64 ``[N]``, into the batch.
        boxes: float32 ``[N, 4]``, x0 y0 x1 y1 in pixels of the image.
        scores: float32 ``[N]``, 0..1, NaN where the detector gives none.
        landmarks: Scheme (``"5"``, ``"68"``, ``"mesh"``) to float32 ``[N, K, 2 or 3]`` in pixels; NaN where unknown.
        pose: float32 ``[N, 3]``, yaw, pitch, roll in degrees; NaN where unknown.
        pose_score: float32 ``[N]``, 0..1, NaN where unknown.
        is_crop: bool ``[N]``: the picture *is* the face, so alignment adds no margin.
    """

    image_index: Tensor
    boxes: Tensor
    scores: Tensor
    landmarks: dict[str, Tensor]
    pose: Tensor
    pose_score: Tensor
    is_crop: Tensor

    def __post_init__(self) -> None:
        n = len(self.image_index)
        _shape("image_index", self.image_index, n)
        _check(self.image_index.dtype == torch.int64, f"image_index must be int64, not {self.image_index.dtype}")
        _shape("boxes", self.boxes, n, 4)
        _shape("pose", self.pose, n, 3)
        for name in ("scores", "pose_score", "is_crop"):
            _shape(name, getattr(self, name), n)
        _check(self.is_crop.dtype == torch.bool, f"is_crop must be bool, not {self.is_crop.dtype}")
        for scheme, points in self.landmarks.items():
            _shape(f"landmarks[{scheme!r}]", points, n, None, None)
            _check(points.shape[2] in (2, 3), f"landmarks[{scheme!r}] must have 2 or 3 coordinates a point")
        for name in ("boxes", "scores", "pose", "pose_score"):
            _check((dtype := getattr(self, name).dtype) == torch.float32, f"{name} must be float32, not {dtype}")

    @classmethod
    def of(
        cls,
        image_index: Tensor | Sequence[int],
        boxes: Tensor | Sequence[Sequence[float]],
        *,
        scores: Tensor | Sequence[float] | None = None,
        landmarks: dict[str, Tensor] | None = None,
        pose: Tensor | None = None,
        pose_score: Tensor | None = None,
        is_crop: Tensor | bool = False,
    ) -> "Faces":
        """Faces from what is known; the rest is NaN. Any numeric dtype is converted."""
        index = torch.as_tensor(image_index, dtype=torch.int64).reshape(-1)
        n = len(index)
        unknown = torch.full((n,), torch.nan)
        return cls(
            image_index=index,
            boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(n, 4),
            scores=unknown if scores is None else torch.as_tensor(scores, dtype=torch.float32),
            landmarks={scheme: points.to(torch.float32) for scheme, points in (landmarks or {}).items()},
            pose=torch.full((n, 3), torch.nan) if pose is None else torch.as_tensor(pose, dtype=torch.float32),
            pose_score=unknown if pose_score is None else torch.as_tensor(pose_score, dtype=torch.float32),
            is_crop=is_crop if isinstance(is_crop, Tensor) else torch.full((n,), is_crop),
        )

    @classmethod
    def none(cls) -> "Faces":
        """Zero faces."""
        return cls.of([], torch.zeros(0, 4))

    def __len__(self) -> int:
        return len(self.image_index)

    def select(self, index: Tensor) -> "Faces":
        """The faces at ``index`` (int64 or bool ``[N]``), in that order."""
        return Faces(
            self.image_index[index],
            self.boxes[index],
            self.scores[index],
            {scheme: points[index] for scheme, points in self.landmarks.items()},
            self.pose[index],
            self.pose_score[index],
            self.is_crop[index],
        )

    def in_order(self) -> "Faces":
        """The same faces by image, box area descending, x."""
        area = (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])
        keys = zip(self.image_index.tolist(), (-area).tolist(), self.boxes[:, 0].tolist(), strict=True)
        order = [index for index, _ in sorted(enumerate(keys), key=lambda item: item[1])]
        return self.select(torch.tensor(order, dtype=torch.int64))

    def with_pose(self, pose: Tensor, score: Tensor) -> "Faces":
        """The same faces with ``pose`` ``[N, 3]`` in degrees and ``score`` ``[N]``."""
        return replace(self, pose=pose.to(torch.float32), pose_score=score.to(torch.float32))

    def with_landmarks(self, **landmarks: Tensor) -> "Faces":
        """The same faces with more landmark schemes, or others for those they had."""
        return replace(self, landmarks={**self.landmarks, **landmarks})

    @staticmethod
    def concat(parts: Iterable["Faces"]) -> "Faces":
        """All faces of ``parts``, one after the other; landmark schemes that a part lacks are NaN there."""
        parts = list(parts)
        if not parts:
            return Faces.none()
        shapes = {scheme: points.shape[1:] for part in parts for scheme, points in part.landmarks.items()}

        def points(part: Faces, scheme: str) -> Tensor:
            return part.landmarks.get(scheme, torch.full((len(part), *shapes[scheme]), torch.nan))

        return Faces(
            torch.cat([part.image_index for part in parts]),
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.scores for part in parts]),
            {scheme: torch.cat([points(part, scheme) for part in parts]) for scheme in shapes},
            torch.cat([part.pose for part in parts]),
            torch.cat([part.pose_score for part in parts]),
            torch.cat([part.is_crop for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Decoded pictures.

    Attributes:
        images: uint8 RGB ``[3, H, W]``, sizes may differ.
        sources: Where each came from: its path, or ``bytes``, ``array`` and the like.
        given: Per image what a data set already knows of its faces (``image_index`` 0), or None.
    """

    images: tuple[Tensor, ...]
    sources: tuple[str, ...]
    given: tuple[Faces, ...] | None = None

    def __post_init__(self) -> None:
        _check(len(self.sources) == len(self.images), "sources must be as many as images")
        _check(self.given is None or len(self.given) == len(self.images), "given must be as many as images")
        for image in self.images:
            _shape("image", image, 3, None, None)
            _check(image.dtype == torch.uint8, f"an image must be uint8, not {image.dtype}")

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Frontal:
    """A face turned frontal by a normalizer: uint8 RGB ``[3, h, w]``.

    Where known: 5 landmarks ``[5, 2]`` in it, and its box x0 y0 x1 y1 ``[4]``. The score chooses among several draws.
    """

    image: Tensor
    landmarks: Tensor | None = None
    score: float = 1.0
    box: Tensor | None = None

    def __post_init__(self) -> None:
        _shape("image", self.image, 3, None, None)
        _check(self.image.dtype == torch.uint8, f"a frontal image must be uint8, not {self.image.dtype}")
        _check(min(self.image.shape[1:]) > 0, "a frontal image has no pixels")
        _shape("landmarks", self.landmarks, 5, 2)
        _shape("box", self.box, 4)
        _check(
            isinstance(self.score, SupportsFloat), f"a frontal image must have a number as score, not {self.score!r}"
        )
        object.__setattr__(self, "score", float(self.score))


@dataclass(frozen=True, eq=False)
class FaceViews:
    """M views of N faces, ordered by face, aligned before frontal.

    Attributes:
        pixels: float32 ``[M, 3, S, S]``, RGB 0..1.
        face_index: int64 ``[M]``, into the faces.
        view: ``"aligned"`` or ``"frontal"`` for each.
        failed: bool ``[M]``: the aligned view stands in for a frontal one that failed or was rejected.
    """

    pixels: Tensor
    face_index: Tensor
    view: tuple[str, ...]
    failed: Tensor

    def __post_init__(self) -> None:
        m = len(self.face_index)
        _shape("pixels", self.pixels, m, 3, None, None)
        _shape("failed", self.failed, m)
        _check(len(self.view) == m, f"view must have {m} entries, not {len(self.view)}")

    def __len__(self) -> int:
        return len(self.face_index)


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """What an encoder says of M views.

    Attributes:
        pooled: float32 ``[M, D]``.
        tokens: float32 ``[M, T, E]``, or None. E need not be D.
        logits: float32 ``[M, C]`` in the order of the recipe's labels, or None: encoders that are classifiers.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    logits: Tensor | None = None

    def __post_init__(self) -> None:
        _shape("pooled", self.pooled, None, None)
        _shape("tokens", self.tokens, len(self.pooled), None, None)
        _shape("logits", self.logits, len(self.pooled), None)

    @staticmethod
    def concat(parts: Sequence["EncoderOutput"]) -> "EncoderOutput":
        """All rows of ``parts``, which must not be empty."""

        def join(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values)

        return EncoderOutput(torch.cat([part.pooled for part in parts]), join("tokens"), join("logits"))


@dataclass(frozen=True, eq=False)
class EncoderFeatures(EncoderOutput):
    """One encoder's output with its class texts.

    Attributes:
        text: float32 ``[C, D]``, unit length, or None.
        logit_scale: The temperature's inverse that goes with ``text``, or None.
    """

    text: Tensor | None = None
    logit_scale: float | None = None


@dataclass(frozen=True)
class FeatureSpec:
    """What a head may expect of one encoder: widths (``token_dim`` None: no tokens), and whether it classifies."""

    dim: int
    token_dim: int | None = None
    logits: bool = False
    text: bool = False


@dataclass(frozen=True, eq=False)
class Features:
    """Features of M views by every encoder, without pixels: what heads are trained on and what can be cached.

    Attributes:
        encoders: Encoder's name in the recipe to its features, in the recipe's order.
        face_index: int64 ``[M]``.
        view: ``"aligned"`` or ``"frontal"`` for each.
        failed: bool ``[M]``.
    """

    encoders: dict[str, EncoderFeatures]
    face_index: Tensor
    view: tuple[str, ...]
    failed: Tensor

    def __post_init__(self) -> None:
        for name, features in self.encoders.items():
            _check(
                len(features.pooled) == len(self.face_index),
                f"encoder {name!r} gave {len(features.pooled)} rows for {len(self.face_index)} views",
            )

    def __len__(self) -> int:
        return len(self.face_index)

    def mean_over_views(self, values: Tensor, n_faces: int) -> Tensor:
        """Average ``values`` ``[M, …]`` over the views of each face, ``[n_faces, …]``; a face without a view is NaN."""
        total = values.new_zeros((n_faces, *values.shape[1:])).index_add(0, self.face_index, values)
        count = values.new_zeros(n_faces).index_add(0, self.face_index, values.new_ones(len(values)))
        return total / torch.where(count > 0, count, torch.nan).reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class ImageInfo:
    """What became of one input: its size in pixels and number of faces, or the error that stopped it."""

    source: str
    height: int = 0
    width: int = 0
    n_faces: int = 0
    error: str | None = None
    error_kind: str | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """One face's result; ``box`` in pixels, ``probabilities`` by label, scores 0..1 or NaN. A NaN row has the label ``""``."""

    label: str
    confidence: float
    probabilities: dict[str, float]
    box: tuple[float, float, float, float]
    detection_score: float
    pose: Pose
    flags: tuple[str, ...]
    source: str
    image_index: int
    face: int
    landmarks: dict[str, Tensor] = field(default_factory=dict)
    pose_score: float = float("nan")


@dataclass(frozen=True, eq=False)
class Predictions:
    """All faces of what was given; indexing and iterating yields :class:`Prediction`.

    Attributes:
        labels: The C class names, in the column order of ``probabilities``.
        probabilities: float32 ``[N, C]``; rows sum to one, or are NaN (``on_no_face: nan``).
        faces: The N faces; ``faces.image_index`` points into ``images``.
        flags: Per face, from :data:`FLAGS`.
        images: One :class:`ImageInfo` an input.
        provenance: Recipe digest, distributions and versions, weight digests and licences, device, seed.
    """

    labels: tuple[str, ...]
    probabilities: Tensor
    faces: Faces
    flags: tuple[tuple[str, ...], ...]
    images: tuple[ImageInfo, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _shape("probabilities", self.probabilities, len(self.faces), len(self.labels))
        _check(len(self.flags) == len(self.faces), "flags must be as many as faces")

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> Prediction:
        if not -len(self) <= index < len(self):
            raise IndexError(f"no prediction {index}: {self!r}")
        index %= len(self)
        image = int(self.faces.image_index[index])
        row = self.probabilities[index]
        known = not bool(torch.isnan(row).any())
        best = int(row.argmax()) if known else -1
        return Prediction(
            label=self.labels[best] if known else "",
            confidence=float(row[best]) if known else float("nan"),
            probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
            box=tuple(self.faces.boxes[index].tolist()),
            detection_score=float(self.faces.scores[index]),
            pose=Pose(*self.faces.pose[index].tolist()),
            flags=self.flags[index],
            source=self.images[image].source,
            image_index=image,
            face=int((self.faces.image_index[:index] == image).sum()),
            landmarks={scheme: points[index] for scheme, points in self.faces.landmarks.items()},
            pose_score=float(self.faces.pose_score[index]),
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        text = f"{len(self)} faces in {len(self.images)} images"
        return f"Predictions({'; '.join([text, *(info.error for info in self.images if info.error)][:2])})"

    def to_dicts(self, landmarks: bool = False) -> list[dict[str, Any]]:
        """One dict a face with the columns of ``ferkit predict``; ``landmarks`` adds them as nested lists."""
        from ferkit.results import row

        return [row(prediction, landmarks) for prediction in self]

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a face, with the columns of ``ferkit predict``."""
        import pandas

        from ferkit.results import columns

        return pandas.DataFrame(self.to_dicts(), columns=columns(self.labels))

    def draw(self, image: int = 0, picture: Any = None) -> "Image.Image":
        """The ``image``-th input with its faces' boxes, labels and poses drawn on it.

        Args:
            image: Which of the inputs.
            picture: The input itself, where it was not a path: predictions hold no pictures, paths are read again.

        Raises:
            ImageError: If it can't be read.
        """
        from ferkit.results import draw

        return draw(self, image, picture)
