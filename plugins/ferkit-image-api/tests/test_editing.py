"""What is sent, and what comes back."""

import base64
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import ferkit
from ferkit import ComponentError, Faces, ImageBatch
from ferkit.alignment import align_faces
from ferkit.editing import FRONTAL_PROMPT
from ferkit.labels import EIGHT
from ferkit.recipe_model import Align
from ferkit.testing import FACE_BOX, face_picture, grid


def portrait():
    return ImageBatch((face_picture(),), ("portrait",)), Faces.of([0], [FACE_BOX])


def crowd(rows, columns):
    """Portraits of falling brightness, side by side, and their faces."""
    picture = grid(rows, columns)
    boxes = []
    for index in range(rows * columns):
        y, x = (side * 160 for side in divmod(index, columns))
        cell = picture[:, y : y + 160, x : x + 160]
        cell.copy_((cell * (1 - index * 0.1)).to(torch.uint8))
        boxes.append([FACE_BOX[0] + x, FACE_BOX[1] + y, FACE_BOX[2] + x, FACE_BOX[3] + y])
    return ImageBatch((picture,), ("crowd",)), Faces.of([0] * len(boxes), boxes)


def pixels(content):
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)


def test_the_face_is_sent_as_a_square_with_a_margin_and_comes_back_as_edited(server, build):
    batch, faces = portrait()
    (turned,) = build(margin=0.3, size=96)(batch, faces)
    sent = server.requests[0]
    assert sent.path == "/v1/images/edits"
    crop = align_faces(batch.images, faces, Align(method="box", margin=0.3, size=96))[0].mul(255).round()
    assert torch.equal(pixels(sent.image), crop.to(torch.uint8))
    assert torch.equal(turned.image, pixels(sent.image).flip(2))
    assert turned.landmarks is None


def test_only_configured_fields_are_sent(server, build):
    build()(*portrait())
    assert server.requests[0].form == {"prompt": FRONTAL_PROMPT}
    assert "Authorization" not in server.requests[0].headers
    fields = {"num_inference_steps": 4, "true_cfg_scale": 1.5, "enhance_prompt": False, "response_format": "b64_json"}
    build(prompt="look here", model="an editor", negative_prompt=" ", fields=fields)(*portrait())
    assert server.requests[1].form == {
        "prompt": "look here",
        "model": "an editor",
        "negative_prompt": " ",
        "num_inference_steps": "4",
        "true_cfg_scale": "1.5",
        "enhance_prompt": "false",
        "response_format": "b64_json",
    }


@pytest.mark.parametrize("base", ["", "/v1", "/v1/", "/openai/v1"])
def test_the_route_is_appended_to_the_base(server, build, base):
    build(url=server.url.removesuffix("/v1") + base)(*portrait())
    assert server.requests[0].path == base.rstrip("/") + "/images/edits"


def test_a_seed_depends_on_the_face_and_the_recipe_and_not_on_the_batch(server, build):
    batch, faces = crowd(2, 2)
    build(seed=True, concurrency=4)(batch, faces)
    together = {request.image: request.form["seed"] for request in server.requests}
    server.requests.clear()
    for face in (3, 1):
        build(seed=True)(batch, faces.select(torch.tensor([face])))
    assert [together[request.image] for request in server.requests] == [r.form["seed"] for r in server.requests]
    assert len(set(together.values())) == 4
    assert all(0 <= int(seed) < 2**31 for seed in together.values())
    build(seed=True, run_seed=1)(batch, faces.select(torch.tensor([1])))
    assert server.requests[-1].image == server.requests[-2].image
    assert server.requests[-1].form["seed"] != server.requests[-2].form["seed"]


def test_faces_are_sent_together_and_keep_their_order(server, build):
    batch, faces = crowd(2, 3)
    arrived, slow = threading.Barrier(3), []

    def late_first(handler):
        arrived.wait(timeout=20)  # three requests at a time, or the barrier breaks
        slow.append(handler)
        time.sleep(0.03 / len(slow))
        handler.good()

    server.always = late_first
    turned = build(concurrency=3)(batch, faces)
    crops = align_faces(batch.images, faces, Align(method="box", margin=0.5, size=64)).mul(255).round().to(torch.uint8)
    assert [torch.equal(result.image, crop.flip(2)) for result, crop in zip(turned, crops, strict=True)] == [True] * 6


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("wrapping", ["b64_json", "lines", "data url in b64_json", "data url", "address", "path"])
def test_every_way_to_answer_with_a_picture(server, build, format_, wrapping):
    def answer(handler):
        file = io.BytesIO()
        Image.open(io.BytesIO(handler.image)).save(file, format_)
        server.on_get = lambda getter: getter.answer(200, file.getvalue(), f"image/{format_.lower()}")
        text = base64.b64encode(file.getvalue()).decode()
        handler.picture(
            **{
                "b64_json": {"b64_json": text},
                "lines": {"b64_json": "\n".join(text[i : i + 76] for i in range(0, len(text), 76))},
                "data url in b64_json": {"b64_json": f"data:image/x;base64,{text}"},
                "data url": {"b64_json": None, "url": f"data:image/x;base64,{text}"},
                "address": {"url": f"{server.url}/files/1?signature=abc"},
                "path": {"url": "/v1/files/1?signature=abc"},
            }[wrapping]
        )

    server.always = answer
    (turned,) = build()(*portrait())
    difference = (turned.image.float() - pixels(server.requests[0].image).float()).abs().mean()
    assert difference <= (0 if format_ == "PNG" else 8)
    if wrapping in ("address", "path"):
        assert [request.path for request in server.requests[1:]] == ["/v1/files/1?signature=abc"]


def test_no_face_no_request(server, build):
    assert build()(portrait()[0], Faces.none()) == []
    assert server.requests == []


@pytest.mark.parametrize("label", EIGHT)
def test_the_default_prompt_names_no_expression(build, label):
    build(labels=(label, "other"))


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "Turn the HAPPY face"},
        {"prompt": "Turn the face; happiness stays"},
        {"negative_prompt": "a sad look"},
        {"fields": {"style": "with joy"}},
    ],
)
def test_a_prompt_that_names_a_label_is_refused(build, options):
    with pytest.raises(ComponentError, match=r"names the label '(happiness|sadness)'.*Word it without"):
        build(**options)


def test_labels_of_many_words_and_other_scripts_are_found_too(build):
    for labels, prompt in (
        (("happily_surprised", "x1"), "a happily surprised face"),
        (("开心", "x1"), "让他开心地看镜头"),
    ):
        with pytest.raises(ComponentError, match="names the label"):
            build(labels=labels, prompt=prompt)
    build(labels=("sad", "mad"), prompt="keep the made-up sadhu as he is")


def test_a_server_that_moves_is_not_paid_again_where_the_model_is_named(another, server, tmp_path, monkeypatch):
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path))

    def ask(server, **options):
        recipe = {"normalizer": {"use": "image-api", "url": server.url, "size": 64, "above_yaw": 0, **options}}
        before = len(server.posts)
        ferkit.pipeline("default", recipe)(face_picture())
        return len(server.posts) - before

    assert [ask(server), ask(server), ask(another)] == [1, 0, 1]
    assert [ask(server, model="m"), ask(another, model="m"), ask(another, model="n")] == [1, 0, 1]
    assert ask(another, model="m", prompt="Look here.") == 1
    assert ask(another, url=another.url + "/") == 0


def test_in_a_pipeline_the_face_found_again_in_the_answer_is_what_is_scored(server, tmp_path):
    recipe = {"normalizer": {"use": "image-api", "url": server.url, "size": 256, "above_yaw": 0, "cache": False}}
    pipeline = ferkit.pipeline("default", recipe)
    assert pipeline(face_picture()).flags == ((),)
    server.always = lambda handler: handler.answer(400, {"error": {"code": "moderation_blocked", "message": "no"}})
    assert pipeline(face_picture()).flags == (("edit_failed",),)
    assert len(server.requests) == 2
