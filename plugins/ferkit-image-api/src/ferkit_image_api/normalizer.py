"""Normalizer ``image-api``."""

import io
from collections.abc import Iterator
from functools import partial
from threading import Event

from PIL import Image
from torch import Tensor

from ferkit import Context, Faces, Frontal, ImageBatch
from ferkit.components import operational_fields
from ferkit.editing import Failures, check_prompt, face_crop, face_seed
from ferkit_image_api import ImageApiConfig
from ferkit_image_api.client import EditClient, TroubleError
from ferkit_image_api.threads import in_threads


class ImageApiNormalizer:
    """Turns faces with an editor behind a server that speaks ``POST /v1/images/edits``.

    Args:
        config: Server, prompt and patience.
        context: Its labels may not occur in the prompt; its seed and a face's content make that face's seed.

    Attributes:
        cache_key: Its options; the address is among them only where no model is named, which tells one from another.

    Raises:
        ComponentError: If the prompt names a label, faces would leave this machine unasked, or the key is missing.
    """

    def __init__(self, config: ImageApiConfig, context: Context) -> None:
        texts = [value for value in config.fields.values() if isinstance(value, str)]
        for text in (config.prompt, config.negative_prompt or "", *texts):
            check_prompt(text, context.labels)
        self._config, self._seed = config, context.seed
        self.crop_margin = config.margin
        address = {"url": config.url.rstrip("/")} if config.model is None else {}  # a named model may move
        options = config.model_dump(mode="json", exclude={"url", *operational_fields(type(config))})
        self.cache_key = {**options, **address}
        self._failures = Failures("the server")
        self._client = EditClient(config)

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """Each face as the server turned it, or None where the server does not edit that one.

        Raises:
            StageError: If the server can't be used.
        """
        turned = dict(self.sampled(batch, faces, 0))
        return [turned.get(face) for face in range(len(faces))]

    def sampled(self, batch: ImageBatch, faces: Faces, sample: int) -> Iterator[tuple[int, Frontal | None]]:
        """A draw of each face as it comes: the server is given another seed, where it is given one.

        None is a face that the server refuses. One that it failed on is left out.
        """
        turn = partial(self._turn, batch, faces, sample)
        for face, results in in_threads(turn, len(faces), self._config.concurrency):
            yield from ((face, result) for result in results)

    def _turn(self, batch: ImageBatch, faces: Faces, sample: int, face: int, stop: Event) -> list[Frontal | None]:
        """The result, or nothing."""
        crop = face_crop(batch, faces, face, self.crop_margin, self._config.size)
        try:
            image = self._client.edit(_png(crop), face_seed(self._seed, crop, sample), stop)
        except TroubleError as error:
            self._failures.add(str(error))
            return []
        self._failures.reset()
        return [None if image is None else Frontal(image)]


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG", compress_level=1)
    return file.getvalue()
