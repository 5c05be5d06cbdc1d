"""What a face becomes: batches, seeds, crops, results that can be no face."""

import inspect
import json
import logging

import diffusers
import numpy as np
import pytest
import tiny
import torch
from crowds import crowd, worst
from PIL import Image

from ferkit import ComponentError, CropEditor, Faces, ImageBatch, Sampler, StageError, Versioned
from ferkit.editing import FRONTAL_PROMPT, face_crop, face_seed
from ferkit.registry import default_registry
from ferkit.testing import face_picture
from ferkit_diffusers.editors import EDITORS, inspected


def after_decoding(normalizer, monkeypatch, behaviour):
    """Have the pipeline's last step, the decoding of latents, do ``behaviour(result)``."""
    decode = normalizer.pipeline.vae.decode
    monkeypatch.setattr(normalizer.pipeline.vae, "decode", lambda *a, **k: behaviour(decode(*a, **k)))


def test_every_named_editor_is_registered_and_has_a_tiny_checkpoint():
    names = [
        r.component.name for r in default_registry().components("normalizer") if r.distribution == "ferkit-diffusers"
    ]
    assert sorted(names) == sorted([*EDITORS, "diffusers-edit"])
    assert set(tiny.EDITORS) == set(EDITORS)


@pytest.mark.parametrize("editor", [name for name, spec in EDITORS.items() if spec.batches])
def test_a_batch_is_edited_in_one_call_and_gives_what_single_calls_give(build, monkeypatch, editor):
    together, single = build(editor, batch_size=2), build(editor)
    calls = []
    after_decoding(together, monkeypatch, lambda result: calls.append(len(result[0])) or result)
    assert worst(together(*crowd(3)), single(*crowd(3))) <= 1
    assert calls == [2, 1]


@pytest.mark.parametrize("editor", EDITORS)
def test_seed_and_sample_decide_the_pixels(build, editor):
    batch, faces = crowd(1)
    normalizer = build(editor)
    assert isinstance(normalizer, Sampler) and isinstance(normalizer, Versioned)
    assert isinstance(normalizer, CropEditor)
    first = normalizer(batch, faces)
    assert worst(first, [frontal for _, frontal in normalizer.sampled(batch, faces, 0)]) == 0
    assert worst(first, [frontal for _, frontal in normalizer.sampled(batch, faces, 1)]) > 0
    assert worst(first, build(editor, seed=1)(batch, faces)) > 0
    assert worst(first, build(editor)(batch, faces)) == 0


@pytest.mark.parametrize("editor", EDITORS)
def test_prompt_steps_guidance_and_picture_have_an_effect(build, editor):
    batch, faces = crowd(1)
    strength = 8.0 if EDITORS[editor].guidance == "guidance_scale" else 3.0
    call = {"call": {"_auto_resize": False, "true_cfg_scale": 2.0}} if editor == "flux-kontext" else {}
    given = {"negative_prompt": "blurred", "guidance": strength, **call}
    first = build(editor, **given)(batch, faces)
    changes = {"prompt": {"prompt": "Look at me."}, "steps": {"steps": 3}, "guidance": {"guidance": strength * 2}}
    for name, change in changes.items():
        other = build(editor, **{**given, **change})(batch, faces)
        assert worst(first, other) > 0, name
    brighter = ImageBatch((batch.images[0] // 2,), ("crowd",))
    assert worst(first, build(editor, **given)(brighter, faces)) > 0, "picture"


@pytest.mark.parametrize("editor", EDITORS)
def test_a_bare_call_of_diffusers_gives_the_same(build, editor, checkpoint):
    """The adapter adds nothing of its own to what a user of diffusers would call by hand."""
    batch, faces = crowd(1)
    normalizer = build(editor)
    spec, size = EDITORS[editor], normalizer._settings.resolution
    crop = face_crop(batch, faces, 0, 0.5, size)
    arguments = {"image": Image.fromarray(crop.permute(1, 2, 0).numpy()), "prompt": FRONTAL_PROMPT}
    arguments |= {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(face_seed(0, crop))}
    arguments |= {"output_type": "np", **{name: size**power for name, power in spec.size.items()}}
    if editor.startswith("qwen-image-edit"):
        arguments |= {"negative_prompt": " ", "true_cfg_scale": 4.0}
    bare = normalizer.pipeline(**arguments, **normalizer._config.call).images[0]
    if bare.shape[-1] == 4:
        bare = bare[..., :3] * bare[..., 3:] + 1 - bare[..., 3:]
    assert np.array_equal((bare * 255).round().astype(np.uint8), normalizer(batch, faces)[0].image.permute(1, 2, 0))


def test_what_signatures_tell_is_what_the_table_says():
    for name, spec in EDITORS.items():
        found = inspected(getattr(diffusers, spec.pipeline))
        assert (found.image, found.guidance, found.negative) == (spec.image, spec.guidance, spec.negative), name
        parameters = inspect.signature(getattr(diffusers, spec.pipeline).__call__).parameters
        assert spec.size.keys() <= parameters.keys(), name


@pytest.mark.parametrize("editor", ["qwen-image-edit-plus", "flux-kontext"])
def test_any_other_editor_is_called_by_its_signature(build, editor):
    other = build("diffusers-edit", checkpoint=editor, batch_size=2)
    assert worst(build(editor)(*crowd(1)), other(*crowd(1))) == 0
    assert len(other(*crowd(2))) == 2


def test_a_pipeline_that_takes_no_picture_is_refused(build, checkpoint, tmp_path):
    for path in checkpoint("qwen-image-edit").iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model_index.json").unlink()
    index = json.loads((checkpoint("qwen-image-edit") / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": "QwenImagePipeline"}))
    with pytest.raises(
        ComponentError, match=r"QwenImagePipeline does not edit by instruction: its call takes prompt, "
    ):
        build("diffusers-edit", checkpoint="qwen-image-edit", folder=str(tmp_path))


def test_a_grey_and_a_tiny_picture_are_edited(build):
    normalizer = build("instruct-pix2pix")
    for picture in (face_picture()[:1].repeat(3, 1, 1), torch.zeros(3, 20, 20, dtype=torch.uint8) + 9):
        box = [[0.0, 0.0, picture.shape[2], picture.shape[1]]]
        (turned,) = normalizer(ImageBatch((picture,), ("x",)), Faces.of([0], box, is_crop=True))
        assert turned.image.shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("fill", "reason"), [(float("nan"), "holds NaN"), (-1.0, "is black, as of a safety checker")], ids=["nan", "black"]
)
def test_a_result_that_can_be_no_face_is_none(build, monkeypatch, caplog, fill, reason):
    normalizer = build("instruct-pix2pix", batch_size=2)

    def spoil(result):
        result[0][0] = fill
        return result

    after_decoding(normalizer, monkeypatch, spoil)
    with caplog.at_level(logging.WARNING):
        first, second = normalizer(*crowd(2))
    assert first is None and second is not None
    assert reason in caplog.text


def test_a_face_that_is_squeezed_is_none(build, monkeypatch, caplog):
    normalizer = build("instruct-pix2pix")
    after_decoding(normalizer, monkeypatch, lambda result: (result[0][..., :32],))
    with caplog.at_level(logging.WARNING):
        assert normalizer(*crowd(1)) == [None]
    assert "32 x 64 pixels where a square was given" in caplog.text


def test_a_face_that_fails_takes_no_other_with_it(build, monkeypatch):
    normalizer, (batch, faces) = build("instruct-pix2pix", batch_size=3), crowd(3)
    alone = build("instruct-pix2pix")(batch, faces)
    dark = float(face_crop(batch, faces, 2, 0.5, 64).float().mean())
    encode = normalizer.pipeline.vae.encode

    def choosy(pixels):
        if ((pixels.mean((1, 2, 3)) + 1) * 127.5 < dark + 5).any():
            raise RuntimeError("too dark")
        return encode(pixels)

    monkeypatch.setattr(normalizer.pipeline.vae, "encode", choosy)
    first, second, third = normalizer(batch, faces)
    assert third is None
    assert worst([first, second], alone[:2]) <= 1


def test_an_editor_that_fails_face_after_face_ends_the_run(build, monkeypatch):
    normalizer = build("instruct-pix2pix")

    def broken(_):
        raise RuntimeError("no kernel for this")

    after_decoding(normalizer, monkeypatch, broken)
    assert normalizer(*crowd(4)) == [None] * 4
    with pytest.raises(
        StageError, match=r"failed on 5 faces in a row, the last time so: RuntimeError: no kernel for this"
    ):
        normalizer(*crowd(1))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_lack_of_memory_ends_the_run_and_says_what_to_do(build, monkeypatch, error):
    normalizer = build("instruct-pix2pix", batch_size=2)

    def full(_):
        raise error

    after_decoding(normalizer, monkeypatch, full)
    with pytest.raises(StageError, match=r"memory does not suffice .*`profile: low-memory`.*`batch_size`"):
        normalizer(*crowd(2))
