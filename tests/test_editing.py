import pytest
import torch

from ferkit import ComponentError, Faces, ImageBatch
from ferkit.editing import FRONTAL_PROMPT, check_prompt, face_crop, face_seed
from ferkit.labels import EIGHT
from ferkit.testing import FACE_BOX, face_picture

PORTRAIT = ImageBatch((face_picture(),), ("portrait",))


def test_the_default_prompt_leaks_no_label():
    check_prompt(FRONTAL_PROMPT, EIGHT)


@pytest.mark.parametrize("text", ["an ANGRY man", "anger.", "neutral light, angry", "(angry)"])
def test_a_label_is_found_in_any_spelling_as_a_word(text):
    with pytest.raises(ComponentError, match=r"names the label 'anger'.*Word it without"):
        check_prompt(text, ("anger", "happiness"))
    check_prompt("strangers dangerously near", ("anger", "happiness"))


def test_a_crop_is_a_square_of_the_size_asked_for_and_a_picture_that_is_a_crop_gets_no_margin():
    faces = Faces.of([0, 0], [FACE_BOX, (0, 0, 160, 160)], is_crop=torch.tensor([False, True]))
    crop = face_crop(PORTRAIT, faces, 0, 0.5, 96)
    assert (crop.dtype, crop.shape) == (torch.uint8, (3, 96, 96))
    assert torch.equal(face_crop(PORTRAIT, faces, 1, 0.5, 160), PORTRAIT.images[0])


def test_a_seed_is_of_31_bits_and_depends_on_seed_and_content():
    crops = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in range(100)]
    seeds = [face_seed(seed, crop) for seed in (0, 2**63 - 1) for crop in crops]
    assert len(set(seeds)) == 200
    assert seeds == [face_seed(seed, crop.clone()) for seed in (0, 2**63 - 1) for crop in crops]
    assert all(0 <= seed < 2**31 for seed in seeds)
