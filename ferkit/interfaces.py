"""What components must be able to do. Meeting a Protocol is enough; nothing of ours need be inherited.

Every component is constructed as ``Target(config, context)``. Each gets values of :mod:`ferkit.types`, changes none of
them, and gives the same for a batch as for its parts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ferkit.types import EncoderOutput, Faces, Features, FeatureSpec, Frontal, ImageBatch
from ferkit.weights import WeightsStore


@dataclass(frozen=True)
class Context:
    """What a component is built in.

    Attributes:
        device: Where it is to compute.
        dtype: What it is to compute in; what it returns is float32 all the same.
        seed: The recipe's seed.
        labels: The recipe's labels, in order.
        weights: Resolves and loads weights.
        inputs: For heads, what each encoder gives, by its name in the recipe.
        training: True where a component may start from random weights, because it is about to learn.
    """

    device: torch.device
    dtype: torch.dtype
    seed: int
    labels: tuple[str, ...]
    weights: WeightsStore
    inputs: dict[str, FeatureSpec] = field(default_factory=dict)
    training: bool = False


@runtime_checkable
class Detector(Protocol):
    """Finds faces. Order does not matter: the framework sorts."""

    def __call__(self, batch: ImageBatch) -> Faces: ...


@runtime_checkable
class PoseEstimator(Protocol):
    """Adds pose, and landmarks where it has them; the faces stay the same, in the same order."""

    def __call__(self, batch: ImageBatch, faces: Faces) -> Faces: ...


@runtime_checkable
class Normalizer(Protocol):
    """Turns faces frontal: one result a face. Gates, cache and fallback are the framework's.

    None is its last word on a face, and kept as that; what may go better the next time is an error.
    """

    def __call__(self, batch: ImageBatch, faces: Faces) -> Sequence[Frontal | None]: ...


@runtime_checkable
class Sampler(Protocol):
    """A normalizer whose work is dear: it hands over each face as soon as that is turned, and can try again.

    ``sampled`` yields the index of a face and what was made of it, in any order; sample 0 is what calling it gives, every
    other is another draw. What was yielded is kept, whatever happens next. None is the last word on a face; one that is
    not yielded failed for now, and is asked for again by the next run.
    """

    def sampled(self, batch: ImageBatch, faces: Faces, sample: int) -> Iterator[tuple[int, Frontal | None]]: ...


@dataclass(frozen=True, eq=False)
class PosedFace:
    """A face in a pose that was asked for: ``image`` uint8 RGB ``[3, S, S]``, and its box x0 y0 x1 y1 there."""

    image: Tensor
    box: tuple[float, float, float, float]


@runtime_checkable
class Poser(Protocol):
    """A normalizer that can show near-frontal faces in any pose, for ``ferkit data pose-augment``.

    ``posed`` gives one square picture of ``size`` pixels a face, or None where it cannot. ``pose`` ``[N, 3]`` is how the head is
    to stand, in degrees. A face that fills its picture (``Faces.is_crop``) is framed as it was there; around others is room.
    With ``seeds`` whatever an expression does not depend on varies, too: background, light, camera, place.
    """

    def posed(
        self, batch: ImageBatch, faces: Faces, pose: Tensor, size: int, seeds: Sequence[int] | None
    ) -> Sequence[PosedFace | None]: ...


@runtime_checkable
class CropEditor(Protocol):
    """A normalizer that sees nothing of a face but :func:`ferkit.editing.face_crop` with the margin it names.

    What it gave is then kept by that crop: a landmark or a yaw that another component sees otherwise changes nothing.
    """

    crop_margin: float


@runtime_checkable
class Versioned(Protocol):
    """A component whose results also depend on something its configuration does not say: libraries, files, work-arounds.

    ``version`` tells it in a few words or digests; what the component made under another version is not used again. Views of
    data sets are kept by the version of its distribution.
    """

    version: str


@runtime_checkable
class Keyed(Protocol):
    """A component that tells itself what of its options and weights decides its results; what is cached is kept by that.

    ``cache_key`` is plain data: options with their defaults filled in, weights by content, and nothing of where they lie or
    how they are loaded. Without it every option counts as the recipe gives it, but for those marked
    :data:`ferkit.OPERATIONAL`, and so does each weight's digest.
    """

    cache_key: Mapping[str, Any]


@runtime_checkable
class Encoder(Protocol):
    """Encodes views ``[M, 3, S, S]``, float32 RGB 0..1; it owns its resizing, mean and std.

    ``dim`` and ``token_dim`` (None: no tokens) are the widths of what it returns. A classifier that was not trained for all
    of the recipe's labels names the others in an attribute ``missing_labels``, and gives no logits: heads that read nothing
    but its features do without.
    """

    dim: int
    token_dim: int | None

    def __call__(self, pixels: Tensor) -> EncoderOutput: ...


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder that can embed text in the space of its pooled features."""

    logit_scale: float

    def encode_text(self, texts: list[str]) -> Tensor:
        """``texts`` to ``[P, D]``; length need not be one."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A component that can learn: its module, and its parameter groups from input to output."""

    module: nn.Module

    def stages(self) -> list[list[nn.Parameter]]: ...


@runtime_checkable
class Head(Protocol):
    """Scores classes: logits ``[N, C]`` for N faces from the features of their M views."""

    def __call__(self, features: Features, faces: Faces) -> Tensor: ...


@dataclass(frozen=True)
class Sample:
    """One annotated face of a data set.

    Attributes:
        id: Stable across machines; it pairs results.
        source: Path of the picture, or where its pixels came from.
        label: Class name.
        votes: Soft label, class name to share or count.
        box: x0 y0 x1 y1 in pixels, where the picture is a scene.
        landmarks: Scheme to ``[K, 2 or 3]`` points in pixels.
        pose: Yaw, pitch, roll in degrees.
        caption: Free text that goes with the picture.
        subject: Who it is; splits and bootstraps keep a subject together.
        group: The scene or source picture.
        image: Content of a picture file, where the data holds pixels and no files.
    """

    id: str
    source: str
    label: str | None
    votes: dict[str, float] | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: dict[str, Any] | None = None
    pose: tuple[float, float, float] | None = None
    caption: str | None = None
    subject: str | None = None
    group: str | None = None
    image: bytes | None = field(default=None, repr=False)

    @property
    def picture(self) -> str | bytes:
        """What to decode: ``image``, else ``source``."""
        return self.source if self.image is None else self.image


@runtime_checkable
class Dataset(Protocol):
    """Annotated faces; ``is_crop`` says that its pictures are cropped to the face already."""

    splits: Sequence[str]
    is_crop: bool

    def samples(self, split: str) -> Iterable[Sample]: ...


@dataclass(frozen=True)
class Remark:
    """Something in a data set's files that changes what it holds, so that nothing goes unsaid.

    Attributes:
        what: In words, for several places: ``"rows without a box, left out"``.
        where: Each place: a file with its line, or the id of a sample.
        conflict: Whether files contradict each other there, so that somebody should look.
    """

    what: str
    where: tuple[str, ...]
    conflict: bool = False

    def __str__(self) -> str:
        return f"{len(self.where)} {self.what}, first: {self.where[0]}"


class Documented(Protocol):
    """A data set that knows what was published of it; ``ferkit data check`` compares (optional, also in parts).

    ``terms`` say in a sentence who may use it for what. ``published`` counts by split and label, None for all of them;
    ``remarks`` tell what was left out or changed, ``unannotated`` the pictures that no annotation names.
    """

    terms: str

    @property
    def published(self) -> Mapping[tuple[str | None, str | None], int]: ...

    @property
    def remarks(self) -> Sequence[Remark]: ...

    @property
    def unannotated(self) -> Sequence[str]: ...


PROTOCOLS: dict[str, type] = {
    "detector": Detector,
    "pose": PoseEstimator,
    "normalizer": Normalizer,
    "encoder": Encoder,
    "head": Head,
    "dataset": Dataset,
}
