"""The work-around for mm_token_type_ids."""

import pytest
import tiny
import torch
from PIL import Image

from ferkit_diffusers.token_types import NAME, tell_token_types

PICTURE = Image.linear_gradient("L").convert("RGB").resize((128, 128))


@pytest.fixture
def pipeline():
    torch.manual_seed(0)
    return tiny.qwen_edit()


def encoded(pipeline):
    """What the encoder is given for a picture, and what the pipeline makes of it."""
    seen = {}
    encoder = pipeline.text_encoder.model
    handle = encoder.register_forward_pre_hook(lambda _, args, given: seen.update(given), with_kwargs=True)
    with torch.no_grad():
        embedding, _ = pipeline.encode_prompt(prompt="turn", image=[PICTURE])
    handle.remove()
    return seen, embedding


def test_the_ids_reach_the_encoder_and_change_the_embedding(pipeline):
    before, without = encoded(pipeline)
    assert before[NAME] is None, (
        "diffusers passes the ids itself: the work-around, its tests and its part of versions can go"
    )
    assert tell_token_types(pipeline) is True
    after, told = encoded(pipeline)
    image = pipeline.text_encoder.config.image_token_id
    assert after[NAME].sum() == (after["input_ids"] == image).sum() > 0
    assert not torch.allclose(without, told, atol=1e-4)
    ids = pipeline.processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>turn"], images=[PICTURE], return_tensors="pt"
    )
    assert torch.equal(ids[NAME], (ids["input_ids"] == image).int()), "they are what the processor makes"


def test_nothing_is_added_where_the_pipeline_passes_them(pipeline):
    encoder, forward = pipeline.text_encoder, pipeline.text_encoder.forward
    processor = pipeline.processor
    ids = {}

    class Told(type(encoder)):
        """As after upstream's fix: the call brings what the processor made."""

        def __call__(self, **given):
            return super().__call__(**given, **{NAME: ids["made"]})

    encoder.__class__ = Told
    original = type(processor).__call__

    def call(self, *args, **options):
        made = original(self, *args, **options)
        ids["made"] = made[NAME]
        return made

    type(processor).__call__ = call
    try:
        assert tell_token_types(pipeline) is False
        assert not encoder._forward_pre_hooks
        assert encoder.forward == forward
        assert encoded(pipeline)[0][NAME] is ids["made"]
    finally:
        type(processor).__call__ = original


def test_ids_that_arrive_later_are_left_as_they_are(pipeline):
    tell_token_types(pipeline)
    seen = {}
    pipeline.text_encoder.model.register_forward_pre_hook(lambda _, args, given: seen.update(given), with_kwargs=True)
    inputs = pipeline.processor(
        text=["<|vision_start|><|image_pad|><|vision_end|>"], images=[PICTURE], return_tensors="pt"
    )
    with torch.no_grad():
        pipeline.text_encoder(**inputs)
    assert seen[NAME] is inputs[NAME]


def test_other_encoders_are_left_alone(build):
    assert tell_token_types(tiny.instruct_pix2pix()) is False
    assert tell_token_types(tiny.qwen_21()) is False, "it passes the ids itself"


def test_the_work_around_is_part_of_the_version(build):
    assert build("qwen-image-edit").version.endswith(", mm_token_type_ids told")
    assert build("qwen-image-edit-plus").version.endswith(", mm_token_type_ids told")
    assert NAME not in build("qwen-image-2.1").version
    assert NAME not in build("flux-kontext").version
