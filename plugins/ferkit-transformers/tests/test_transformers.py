import hashlib
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoTokenizer, ViTImageProcessor
from typer.testing import CliRunner

import ferkit
from ferkit import ComponentError, Context, FerkitError, RecipeError, WeightsError, WeightsStore
from ferkit.cli import app
from ferkit.weights import sha256
from ferkit_transformers import TransformersConfig
from ferkit_transformers.encoder import TransformersEncoder
from ferkit_transformers.preprocessing import load_preprocessing

LABELS = ("neutral", "happiness", "sadness")
PHOTO = Path(__file__).parents[3] / "examples" / "images" / "astronaut.jpg"
TEXTS = ["a photo of a happy face", "a sad person in the rain"]
PREFIX = {"siglip": 0, "swin": 0, "resnet": 0, "dinov2-registers": 4}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def context(labels=LABELS, training=False, dtype=torch.float32):
    return Context(torch.device("cpu"), dtype, 0, labels, WeightsStore(), training=training)


def encoder(folder, *, labels=LABELS, training=False, dtype=torch.float32, **options):
    return TransformersEncoder(TransformersConfig(folder=str(folder), **options), context(labels, training, dtype))


def recipe(folder, labels=LABELS, **options):
    return {
        "ferkit": 1,
        "name": "t",
        "labels": list(labels),
        "detector": {"use": "whole-image"},
        "align": {"size": 96},
        "encoders": {"x": {"use": "transformers", "folder": str(folder), **options}},
        "head": {"use": "average-probabilities"},
    }


def copied(folder, to):
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


@pytest.fixture(scope="module")
def views():
    """Square pieces of a photograph, uint8 ``[2, 3, 96, 96]``."""
    with Image.open(PHOTO) as photo:
        face, whole = (
            photo.convert("RGB").crop((160, 30, 300, 170)).resize((96, 96)),
            photo.convert("RGB").resize((96, 96)),
        )
    pixels = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in (face, whole)]
    return torch.stack([each.reshape(96, 96, 3).permute(2, 0, 1) for each in pixels])


def by_hand(model, folder, views):
    """What transformers' own processor and model make of views."""
    inputs = AutoImageProcessor.from_pretrained(folder)(images=list(views), return_tensors="pt")
    with torch.inference_mode():
        return getattr(model, "get_image_features", model)(**inputs)


@pytest.mark.parametrize(
    "name", ["vit", "dinov2", "dinov2-registers", "clip", "clip-vision", "chinese-clip", "siglip", "swin", "resnet"]
)
def test_gives_what_processor_and_model_give_by_hand(checkpoints, views, name):
    model, folder = checkpoints[name]
    expected = by_hand(model, folder, views)
    with torch.inference_mode():
        output = encoder(folder)(views / 255)
    pooled = expected.image_embeds if "image_embeds" in expected else expected.pooler_output.flatten(1)
    hidden = expected.last_hidden_state
    tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden[:, PREFIX.get(name, 1) :]
    # theirs rounds to uint8 after resizing, ours does not
    assert torch.allclose(output.pooled, pooled, atol=0.02)
    assert torch.allclose(output.tokens, tokens, atol=0.1)
    assert (output.tokens - tokens).abs().mean() < 0.01
    assert output.logits is None


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip", "siglip"])
def test_pixels_are_those_of_the_processor(checkpoints, views, name):
    _, folder = checkpoints[name]
    processor, prepare = AutoImageProcessor.from_pretrained(folder), load_preprocessing(folder)
    ours = prepare(views / 255)
    exact = processor(images=list(views.float()), return_tensors="pt")["pixel_values"]
    black, white = ((value - prepare.mean) / prepare.std for value in (0, 1))
    assert torch.allclose(ours, exact.clamp(black, white), atol=1e-4)  # they let bicubic overshoot
    rounded = processor(images=list(views), return_tensors="pt")["pixel_values"]
    steps = (ours - rounded).abs() * prepare.std * 255  # of uint8, to which they round twice
    assert steps.mean() < 0.5
    assert steps.max() < 4.5


@pytest.mark.parametrize(
    "name", ["vit-classifier", "dinov2-classifier", "clip-classifier", "siglip-classifier", "resnet-classifier"]
)
def test_a_classifiers_logits_follow_the_recipes_labels_by_name(checkpoints, views, name):
    model, folder = checkpoints[name]  # its columns are Happy, sad, Neutral
    expected = by_hand(model, folder, views)
    with torch.inference_mode():
        output = encoder(folder, classifier=True)(views / 255)
        assert torch.allclose(output.logits, expected.logits[:, [2, 0, 1]], atol=0.02)
        seen = output.pooled[..., None, None] if name.startswith("resnet") else output.pooled
        assert torch.allclose(model.classifier(seen)[:, [2, 0, 1]], output.logits, atol=1e-5)
        some = encoder(folder, labels=("sad", "happy"), classifier=True)(views / 255)
    assert torch.equal(some.logits, output.logits[:, [2, 1]])


def test_a_classifier_serves_threads_at_once(checkpoints, views):
    shared = encoder(checkpoints["vit-classifier"][1], classifier=True)
    pixels = [torch.roll(views / 255, shift, -1) for shift in range(0, 96, 12)]
    together = threading.Barrier(len(pixels))

    def served(x):
        with torch.inference_mode():
            together.wait()
            return [shared(x) for _ in range(10)]

    with torch.inference_mode():
        alone = [shared(x) for x in pixels]
    with ThreadPoolExecutor(len(pixels)) as threads:
        for expected, outputs in zip(alone, threads.map(served, pixels), strict=True):
            for output in outputs:
                assert torch.allclose(output.tokens, expected.tokens, atol=1e-5)
                assert torch.allclose(output.pooled, expected.pooled, atol=1e-5)
                assert torch.allclose(output.logits, expected.logits, atol=1e-5)


def test_a_recipe_predicts_with_a_published_classifier(checkpoints):
    model, folder = checkpoints["vit-classifier"]
    fer = ferkit.pipeline(recipe(folder, classifier=True))
    predictions = fer(str(PHOTO))
    assert predictions.labels == LABELS
    with Image.open(PHOTO) as photo:
        inputs = AutoImageProcessor.from_pretrained(folder)(images=photo.convert("RGB"), return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits.softmax(-1)[:, [2, 0, 1]]
    # resized twice: to the recipe's views of 96 pixels, then to the model's 64
    assert torch.allclose(predictions.probabilities, expected, atol=0.02)
    assert predictions.provenance["weights"] == {f"{folder}/": sha256(folder)}


def test_a_classifier_that_lacks_labels_names_them_and_gives_no_logits(checkpoints):
    found = encoder(checkpoints["vit-classifier"][1], labels=("neutral", "fear"), classifier=True)
    assert found.missing_labels == ("fear",)
    for count in (0, 2):
        output = found(torch.rand(count, 3, 64, 64))
        assert output.logits is None and len(output.pooled) == count


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_texts_are_those_of_tokenizer_and_model(checkpoints, views, name):
    model, folder = checkpoints[name]
    reads = encoder(folder, text=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    padded = tokenizer(TEXTS, padding="max_length", max_length=16, return_tensors="pt")
    inputs = padded if name == "clip" else {"input_ids": padded["input_ids"]}
    with torch.inference_mode():
        assert torch.allclose(reads.encode_text(TEXTS), model.get_text_features(**inputs).pooler_output, atol=1e-5)
        pixels = AutoImageProcessor.from_pretrained(folder)(images=list(views), return_tensors="pt")["pixel_values"]
        logits = model(**inputs, pixel_values=pixels).logits_per_image
        image = torch.nn.functional.normalize(reads(views / 255).pooled, dim=-1)
        text = torch.nn.functional.normalize(reads.encode_text(TEXTS), dim=-1)
        assert reads.encode_text(["a " * 100]).shape == (1, reads.dim)
    # also where a model's logits have a bias, a softmax over texts is the same
    assert torch.allclose((reads.logit_scale * image @ text.T).softmax(-1), logits.softmax(-1), atol=0.01)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_text_tower_is_there_only_on_demand(checkpoints, name):
    _, folder = checkpoints[name]
    silent, reads = encoder(folder), encoder(folder, text=True)
    names = [each for each, _ in silent.module.named_parameters()]
    assert not [each for each in names if "text" in each or "logit" in each]
    assert not isinstance(silent, ferkit.TextEncoder)
    assert silent.text_stages() == []
    assert isinstance(reads, ferkit.TextEncoder)
    with torch.inference_mode():
        pixels = torch.rand(2, 3, 64, 64)
        assert torch.equal(silent(pixels).pooled, reads(pixels).pooled)
    fer = ferkit.pipeline(recipe(folder, text=True) | {"head": {"use": "linear"}} | _head(folder, reads.dim))
    assert fer(str(PHOTO)).probabilities.shape == (1, 3)


def _head(folder, dim):
    path = folder / "head.weights.safetensors"
    save_file(
        {"classifier.weight": torch.zeros(3, dim), "classifier.bias": torch.zeros(3)},
        path,
        {"labels": json.dumps(LABELS)},
    )
    return {"head": {"use": "linear", "weights": str(path)}}


def test_a_model_without_text_can_not_read(checkpoints):
    for name in ("vit", "clip-vision"):
        with pytest.raises(ComponentError, match="has no text tower: leave out `text`"):
            encoder(checkpoints[name][1], text=True)


def test_stages_begin_with_the_embeddings_and_end_with_what_pools(checkpoints):
    for name, first, last in (
        ("vit", "embeddings.", "pooler."),
        ("dinov2", "embeddings.", "layernorm."),
        ("clip", "vision_model.embeddings.", "visual_projection."),
        ("siglip", "embeddings.", "head."),
        ("vit-classifier", "vit.embeddings.", "classifier."),
    ):
        built = encoder(checkpoints[name][1], classifier="classifier" in name, training=True)
        names = {id(parameter): each for each, parameter in built.module.named_parameters()}
        stages = [[names[id(parameter)] for parameter in stage] for stage in built.stages()]
        assert len(stages) == 4  # two layers
        assert stages[0][0].startswith(first)
        assert stages[-1][-1].startswith(last)
        assert ["1." in each for each in stages[2]] == [True] * len(stages[2])


def test_no_feature_is_left_without_its_parameters(checkpoints):
    """Distributed training stops at parameters without a gradient, such as a mask token."""
    for name, (_, folder) in checkpoints.items():
        classifier = "classifier" in name
        built = encoder(folder, training=True, classifier=classifier)
        output = built(torch.rand(2, 3, 64, 64))
        (
            output.logits if classifier else torch.cat([output.pooled, output.tokens.mean(1)], 1)
        ).square().sum().backward()
        idle = [each for each, parameter in built.module.named_parameters() if parameter.grad is None]
        assert not idle, name


def test_gradients_reach_the_pixels(checkpoints):
    pixels = torch.rand(1, 3, 50, 50, requires_grad=True)
    encoder(checkpoints["clip"][1])(pixels).pooled.square().sum().backward()
    assert pixels.grad.abs().sum() > 0


def test_image_size_stretches_position_embeddings(checkpoints, views):
    for name in ("vit", "clip", "siglip", "dinov2", "swin", "resnet"):
        native, larger = encoder(checkpoints[name][1]), encoder(checkpoints[name][1], image_size=96)
        with torch.inference_mode():
            few, many = native(views / 255), larger(views / 255)
        assert many.pooled.shape == few.pooled.shape
        assert many.tokens.shape[1] * 4 == few.tokens.shape[1] * 9


def test_bfloat16_is_close(checkpoints, views):
    for name, more in (("vit-classifier", {"classifier": True}), ("clip", {"text": True})):
        full, half = (encoder(checkpoints[name][1], dtype=dtype, **more) for dtype in (torch.float32, torch.bfloat16))
        with torch.inference_mode():
            assert (
                torch.nn.functional.cosine_similarity(full(views / 255).pooled, half(views / 255).pooled).min() > 0.999
            )


def test_a_pooler_that_was_never_saved_gives_way_to_the_class_token(checkpoints, views):
    _, folder = checkpoints["vit-classifier"]
    with torch.inference_mode():
        pooled, seen = encoder(folder)(views / 255).pooled, encoder(folder, classifier=True)(views / 255).pooled
    assert torch.equal(pooled, seen)


def test_shards_are_one_model(save_checkpoint, tmp_path, views):
    torch.manual_seed(0)
    model = save_checkpoint("vit", tmp_path / "sharded", max_shard_size="40KB")
    model.save_pretrained(tmp_path / "whole")
    shutil.copy(tmp_path / "sharded" / "preprocessor_config.json", tmp_path / "whole")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    with torch.inference_mode():
        assert torch.equal(*(encoder(tmp_path / name)(views / 255).pooled for name in ("sharded", "whole")))


def test_parameters_that_are_missing_or_do_not_fit_are_named(checkpoints, tmp_path):
    folder = copied(checkpoints["dinov2"][1], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    lacking = {name: tensor for name, tensor in tensors.items() if name != "layernorm.weight"}
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"do not fit Dinov2Model: layernorm.weight is missing"):
        encoder(folder)
    save_file(tensors | {"layernorm.weight": torch.ones(5)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"layernorm.weight has \[5\], not \[32\]"):
        encoder(folder)


def test_another_models_weights_are_refused(checkpoints, tmp_path):
    folder = copied(checkpoints["vit"][1], tmp_path)
    shutil.copy(checkpoints["resnet"][1] / "model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"do not fit ViTModel: .* is missing, .* and \d+ more"):
        encoder(folder)
    (folder / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match="can't be loaded by AutoModel"):
        encoder(folder)


def test_a_model_without_classifier_is_no_classifier(checkpoints):
    with pytest.raises(WeightsError, match=r"classifier.bias is missing, .*; is it a classifier at all\?"):
        encoder(checkpoints["vit"][1], classifier=True)


def test_pickled_weights_are_refused(checkpoints, tmp_path):
    folder = copied(checkpoints["vit"][1], tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(checkpoints["vit"][0].state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"has no model.safetensors: pickled formats"):
        encoder(folder)


@pytest.mark.parametrize(
    ("file", "text", "options"),
    [
        ("config.json", "can't read config.json", {}),
        ("preprocessor_config.json", "has no image processor that can be read", {}),
        ("tokenizer.json", "has no tokenizer", {"text": True}),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_a_clear_error(checkpoints, tmp_path, file, text, options):
    folder = copied(checkpoints["clip"][1], tmp_path)
    (folder / file).write_text("{")
    with pytest.raises(FerkitError, match=r"config\.json|image processor|tokenizer"):
        encoder(folder, **options)
    (folder / file).unlink()
    with pytest.raises(FerkitError, match=text):
        encoder(folder, **options)


def test_code_of_strangers_and_adapters_are_refused(checkpoints, tmp_path):
    folder = copied(checkpoints["vit"][1], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "evil.py").write_text("raise SystemExit('code of strangers ran')")
    foreign = {"model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config | foreign))
    with pytest.raises(ComponentError, match=r"can't read config\.json"):
        encoder(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="has a PEFT adapter"):
        encoder(folder)


def test_a_processor_that_does_more_is_refused(checkpoints, tmp_path):
    folder = copied(checkpoints["resnet"][1], tmp_path)
    for settings in (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.5},
        {"image_processor_type": "ViTImageProcessor", "do_resize": False},
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        with pytest.raises(ComponentError, match="does more than resize to a fixed size, crop, rescale and normalize"):
            encoder(folder)


def test_a_processor_of_other_units_is_understood(tmp_path, views):
    for settings in (
        {"do_rescale": False, "image_mean": [100.0] * 3, "image_std": [50.0] * 3},
        {"do_normalize": False},
    ):
        ViTImageProcessor(size={"height": 96, "width": 96}, **settings).save_pretrained(tmp_path)
        theirs = AutoImageProcessor.from_pretrained(tmp_path)(images=list(views), return_tensors="pt")["pixel_values"]
        assert torch.allclose(load_preprocessing(tmp_path)(views / 255), theirs.float(), atol=1e-4)


def test_a_model_of_the_hub_is_named_with_its_next_step(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"the model of owner/name at v2 \(not pinned\) is not on this machine.*ferkit weights fetch"
    ):
        TransformersEncoder(TransformersConfig(model="owner/name", revision="v2"), context())


def test_a_cached_model_of_the_hub_is_used(checkpoints, tmp_path, monkeypatch, views):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit, repository = hashlib.sha1(b"x").hexdigest(), tmp_path / "models--owner--name"
    _, folder = checkpoints["vit"]
    copied(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    config = TransformersConfig(model="owner/name", sha256=sha256(folder))
    with torch.inference_mode():
        cached = TransformersEncoder(config, context())(views / 255)
        assert torch.equal(cached.pooled, encoder(folder)(views / 255).pooled)
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        TransformersEncoder(TransformersConfig(model="owner/name", sha256="0" * 64), context())


def test_the_weights_commands_know_the_folder(checkpoints, tmp_path):
    _, folder = checkpoints["vit-classifier"]
    copied(folder, tmp_path / "models" / "fer")
    written = recipe("models/fer", classifier=True)
    (tmp_path / "recipe.yaml").write_text(json.dumps(written))

    def run(*arguments):
        return CliRunner().invoke(app, ["weights", *arguments, str(tmp_path / "recipe.yaml")]).output

    assert "present" in run("list")
    assert run("path").strip() == str(tmp_path / "models" / "fer")
    assert run("fetch").strip() == str(tmp_path / "models" / "fer")
    assert f"not pinned: add #sha256={sha256(folder)}" in run("verify")


def test_a_recipe_says_which_model_and_how():
    for options, text in (
        ({}, "name a repository on the hub with `model`, or a `folder`, and not both"),
        ({"model": "a/b", "folder": "c"}, "and not both"),
        ({"folder": "c", "text": True, "classifier": True}, "exclude each other"),
        ({"model": "no-owner"}, "encoders.x.model"),
        ({"folder": "c", "foldr": "d"}, r"unknown key \(did you mean folder\?\)"),
    ):
        written = recipe("unused", classifier=True)
        written["encoders"] = {"x": {"use": "transformers", **options}}
        with pytest.raises(RecipeError, match=text):
            ferkit.load_recipe(written)
