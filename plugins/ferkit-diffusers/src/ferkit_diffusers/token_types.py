"""A work-around: pipelines that do not tell Qwen2.5-VL which of its tokens are the picture's.

diffusers 0.42.1 calls the encoder of Qwen-Image-Edit without ``mm_token_type_ids``. transformers 5 needs them to place image
tokens in rows and columns; without them it counts all tokens in one line, with no error and another embedding:
https://github.com/huggingface/diffusers/issues/14194. Whether they arrive is observed, so that this ends with the fault.
"""

import inspect
from typing import Any

from PIL import Image
from torch import nn

from ferkit_diffusers.loading import FAULTS

NAME = "mm_token_type_ids"


class _Called(Exception):  # noqa: N818 - it carries what was seen, and nothing went wrong
    """The encoder was called."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.given = given


def tell_token_types(pipeline: Any) -> bool:
    """Where the encoder takes ``mm_token_type_ids`` and the pipeline does not pass them, have it work them out.

    Returns:
        Whether that was necessary.
    """
    encoder = getattr(pipeline, "text_encoder", None)
    if not isinstance(encoder, nn.Module) or NAME not in inspect.signature(encoder.forward).parameters:
        return False
    image = getattr(encoder.config, "image_token_id", None)
    if image is None or NAME in _passed(pipeline, encoder):
        return False
    encoder.register_forward_pre_hook(lambda _, args, given: (args, _completed(given, image)), with_kwargs=True)
    return True


def _passed(pipeline: Any, encoder: nn.Module) -> dict[str, Any]:
    """What the pipeline passes to its encoder for a picture, without the cost of encoding it."""

    def stop(_: nn.Module, __: Any, given: dict[str, Any]) -> None:
        raise _Called(given)

    handle = encoder.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        pipeline.encode_prompt(prompt=" ", image=[Image.new("RGB", (64, 64))])
    except _Called as called:
        return {name: value for name, value in called.given.items() if value is not None}
    except FAULTS:  # it encodes pictures by another way: nothing is known, and each call is looked at
        return {}
    finally:
        handle.remove()
    return {}


def _completed(given: dict[str, Any], image: int) -> dict[str, Any]:
    """A call's arguments with the ids: 1 for a token of the picture, 0 for text."""
    if given.get(NAME) is not None or given.get("image_grid_thw") is None or given.get("input_ids") is None:
        return given
    return {**given, NAME: (given["input_ids"] == image).int()}
