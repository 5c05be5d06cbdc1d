"""What a recipe may ask for, and what is said of what does not exist."""

import json
import math
import shutil
from pathlib import Path

import diffusers
import pytest
import tiny
import torch
from crowds import crowd, worst
from diffusers import FlowMatchEulerDiscreteScheduler
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import ferkit
from ferkit import ComponentError, Context, RecipeError, WeightsError, WeightsStore
from ferkit.cache import digest
from ferkit.cli import app
from ferkit.components import operational_fields
from ferkit.labels import SEVEN
from ferkit.stages import build as build_part
from ferkit.turning import fingerprint
from ferkit.weights import sha256
from ferkit_diffusers.editors import EDITORS
from ferkit_diffusers.loading import place
from ferkit_diffusers.options import EditorConfig


def recipe(**normalizer):
    return {
        "ferkit": 1,
        "name": "turned",
        "labels": ["neutral", "happiness"],
        "detector": {"use": "retinaface"},
        "pose": {"use": "landmark-pnp"},
        "normalizer": {"use": "qwen-image-edit", **normalizer},
        "encoders": {"nano": {"use": "nano"}},
        "head": {"use": "average-probabilities"},
    }


@pytest.fixture(scope="session")
def lora(tmp_path_factory):
    """A LoRA of the tiny Qwen-Image-Edit that changes its result, as diffusers saves one."""
    torch.manual_seed(0)
    transformer = tiny.qwen_edit().transformer
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    state = {f"transformer.{name}": value * 20 for name, value in get_peft_model_state_dict(transformer).items()}
    path = tmp_path_factory.mktemp("lora") / "lightning.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"call": {"max_sequence_lenght": 9}},
            r"QwenImageEditPipeline has no 'max_sequence_lenght' \(did you mean max_seq",
        ),
        ({"call": {"prompt": "x"}}, "may not hold 'prompt': set the option `prompt`"),
        ({"call": {"image": "x"}}, "may not hold 'image': it is the face"),
        ({"call": {"generator": 1}}, "it follows from the recipe's seed and the face"),
        ({"call": {"true_cfg_scale": 1}}, "set the option `guidance`"),
        ({"call": {"height": 1}}, "set the option `resolution`"),
        ({"call": {"prompt_embeds": 1}}, "has no 'prompt_embeds'"),
        ({"load": {"vae_tilling": True}}, r"has no 'vae_tilling' \(did you mean vae_tiling"),
        ({"load": {"torch_dtype": "bfloat16"}}, "set `dtype`"),
        ({"load": {"dtype": "int8"}}, "dtype 'int8' is none of float32, bfloat16, float16"),
        ({"load": {"offload": "model"}}, "set the option `offload`"),
        ({"load": {"trust_remote_code": True}}, "code in repositories never runs"),
        ({"load": {"dtype": ["float32"]}}, r"`load`: dtype must be text, not \['float32'\]"),
        ({"load": {"vae_tiling": "false"}}, "`load`: vae_tiling must be true or false, not 'false'"),
        ({"load": {"low_cpu_mem_usage": 1}}, "low_cpu_mem_usage must be true or false, not 1"),
        ({"load": {"max_memory": "8GB"}}, "`load`: max_memory must be a mapping, not '8GB'"),
        ({"load": {"device_map": 0}}, "device_map must be text or a mapping, not 0"),
        ({"load": {"quantization": "nf4"}}, "quantization must be a mapping, not 'nf4'"),
        ({"call": {"max_sequence_length": "many"}}, "`call`: max_sequence_length must be a whole number, not 'many'"),
        ({"call": {"max_sequence_length": True}}, "max_sequence_length must be a whole number, not True"),
        ({"call": {"guidance_scale": "strong"}}, "`call`: guidance_scale must be a number, not 'strong'"),
        ({"scheduler": {"shift": "3"}}, "`scheduler`: shift must be a number, not '3'"),
        ({"scheduler": {"use_karras_sigmas": "no"}}, "`scheduler`: use_karras_sigmas must be true or false, not 'no'"),
        ({"load": {"attention": "no-such"}}, "attention 'no-such' can't be used"),
        ({"load": {"quantization": {"transfromer": {}}}}, r"has no 'transfromer' \(did you mean transformer"),
        ({"load": {"quantization": {"transformer": {"class": "Int2"}}}}, "must name a quantization of diffusers"),
        (
            {"load": {"quantization": {"transformer": {"class": "QuantoConfig", "weight": "int8"}}}},
            r"QuantoConfig has no 'weight' \(did you mean weights_dtype",
        ),
        ({"scheduler": {"shfit": 3.0}}, r"FlowMatchEulerDiscreteScheduler has no 'shfit' \(did you mean shift"),
        ({"scheduler": {"class": "AutoencoderKL"}}, "diffusers has no scheduler 'AutoencoderKL'"),
        ({"prompt": "Make the happy man look at me"}, "names the label 'happiness'"),
        ({"negative_prompt": "disgusted"}, "names the label 'disgust'"),
    ],
)
def test_what_does_not_exist_is_a_clear_error(build, options, message):
    with pytest.raises((ComponentError, WeightsError), match=message):
        build(**options)


def test_values_of_another_class_are_held_against_its_own_signatures(build):
    with pytest.raises(ComponentError, match="`call`: image_guidance_scale must be a number, not 'strong'"):
        build("instruct-pix2pix", call={"image_guidance_scale": "strong"})
    with pytest.raises(ComponentError, match="`load`: requires_safety_checker must be true or false, not 'no'"):
        build("instruct-pix2pix", load={"requires_safety_checker": "no"})
    assert build("instruct-pix2pix", call={"image_guidance_scale": 2})(*crowd(1))[0] is not None


@pytest.mark.parametrize(
    ("editor", "options", "remedy"),
    [
        (
            "qwen-image-edit",
            {"guidance": 1.0},
            "with true_cfg_scale 1, QwenImageEditPipeline .* Raise `guidance` above 1",
        ),
        ("qwen-image-edit-plus", {"profile": "fast-4-step"}, "Raise `guidance` above 1, or leave out"),
        ("qwen-image-2.1", {}, "Raise `guidance` above 1"),
        ("flux-kontext", {"guidance": 3.0}, "with true_cfg_scale 1, .* Raise `true_cfg_scale` in `call` above 1"),
        ("instruct-pix2pix", {"guidance": 1.0}, "with guidance_scale 1, .* Raise `guidance` above 1"),
        ("instruct-pix2pix", {"call": {"image_guidance_scale": 0.5}}, "Raise `image_guidance_scale` in `call` above 1"),
    ],
)
def test_a_negative_prompt_without_guidance_is_an_error(build, editor, options, remedy):
    with pytest.raises(ComponentError, match=f"`negative_prompt` has no effect: .*{remedy}"):
        build(editor, negative_prompt="blurred", **options)
    build(editor, negative_prompt=" ", **options)  # no words are lost


def test_words_in_the_call_may_not_name_labels_either(build):
    call = {"_auto_resize": False, "prompt_2": "a sad man"}
    with pytest.raises(ComponentError, match="names the label 'sadness'"):
        build("flux-kontext", call=call)


def test_another_pipelines_folder_is_refused_with_the_editor_that_fits(build):
    with pytest.raises(
        ComponentError, match=r"is a QwenImageEditPlusPipeline, not a Qwen.*`use: qwen-image-edit-plus`"
    ):
        build("qwen-image-edit", checkpoint="qwen-image-edit-plus")


def test_call_and_load_reach_the_pipeline(build):
    normalizer = build(load={"vae_tiling": True, "vae_slicing": True, "attention": "native", "dtype": "bfloat16"})
    assert normalizer.pipeline.vae.use_tiling and normalizer.pipeline.vae.use_slicing
    assert normalizer.pipeline.transformer.dtype == torch.bfloat16
    assert normalizer(*crowd(1))[0] is not None
    plain = build(steps=4)(*crowd(1))
    assert worst(plain, build(steps=4, call={"sigmas": [1.0, 0.3]})(*crowd(1))) > 0
    assert worst(plain, build(steps=4, scheduler={"shift_terminal": 0.5})(*crowd(1))) > 0
    assert build("qwen-image-2.1", load={"sample_sigmas": [1.0, 0.5]}).pipeline.config.sample_sigmas == [1.0, 0.5]


def test_a_lora_changes_the_result_by_its_scale(build, lora):
    plain = build()(*crowd(1))
    whole = build(loras=[{"file": lora}])
    assert worst(plain, whole(*crowd(1))) > 0
    assert worst(plain, build(loras=[{"file": lora, "scale": 0.0}])(*crowd(1))) == 0
    assert worst(whole(*crowd(1)), build(loras=[{"file": lora, "scale": 0.3}])(*crowd(1))) > 0
    assert (sha256(Path(lora)), 1.0) in whole.cache_key["weights"]


def test_a_lora_that_does_not_fit_is_refused(build, lora, tmp_path):
    state = load_file(lora)
    wrong = tmp_path / "wrong.safetensors"
    save_file({name: torch.zeros(3, 3) for name in state}, wrong)
    with pytest.raises(WeightsError, match="does not fit QwenImageEditPipeline"):
        build(loras=[{"file": str(wrong)}])
    save_file({f"unet.{name}": value for name, value in state.items()}, wrong)
    with pytest.raises(WeightsError, match=r"does not fit|changes nothing of QwenImageEditPipeline"):
        build(loras=[{"file": str(wrong)}])
    with pytest.raises(WeightsError, match=r"only \.safetensors"):
        build(loras=[{"file": "lora.bin"}])
    with pytest.raises(WeightsError, match="must be pinned"):
        build(loras=[{"file": "hf://a/b/lora.safetensors@main"}])


def test_a_distilled_lora_brings_its_steps_guidance_and_scheduler(build, lora):
    normalizer = build(loras=[{"file": lora, "distilled_steps": 8}], steps=None)
    settings, scheduler = normalizer._settings, normalizer.pipeline.scheduler.config
    assert (settings.steps, settings.guidance, settings.negative_prompt) == (8, 1.0, None)
    assert (scheduler.base_shift, scheduler.max_shift, scheduler.shift_terminal) == (math.log(3), math.log(3), None)
    given = build(loras=[{"file": lora, "distilled_steps": 8}], steps=6, guidance=2.0, scheduler={"shift": 2.0})
    assert (given._settings.steps, given._settings.guidance, given._settings.negative_prompt) == (6, 2.0, " ")
    assert given.pipeline.scheduler.config.shift == 2.0
    with pytest.raises(ComponentError, match="different numbers of steps"):
        build(loras=[{"file": lora, "distilled_steps": 8}, {"file": lora, "distilled_steps": 4}])


def test_profiles_are_defaults_that_explicit_options_win_over(build, lora):
    fast = build(profile="fast-4-step", steps=None)
    assert (fast._settings.steps, fast._settings.guidance) == (4, 1.0)
    assert isinstance(fast.pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    assert fast.pipeline.scheduler.config.max_image_seq_len == 8192
    assert build(profile="fast-4-step", steps=5)._settings.steps == 5
    quality = build("qwen-image-edit", steps=None)
    assert (quality._settings.steps, quality._settings.guidance) == (50, 4.0)
    low = build(profile="low-memory")
    assert low.pipeline.vae.use_tiling and low.pipeline.transformer.dtype == torch.bfloat16
    assert low._settings.offload == "group"
    low = build(profile="low-memory", offload="model", load={"dtype": "float32"})
    assert low.pipeline.vae.use_tiling and low.pipeline.transformer.dtype == torch.float32
    assert low._settings.offload == "model"


@pytest.mark.parametrize("editor", [name for name, spec in EDITORS.items() if not spec.lightning])
def test_the_fast_profile_is_for_editors_that_have_it(build, editor):
    with pytest.raises(ComponentError, match="fast-4-step is for Qwen-Image-Edit"):
        build(editor, profile="fast-4-step")


def test_group_offload_changes_no_pixel(build):
    plain, offloaded = build("instruct-pix2pix"), build("instruct-pix2pix")
    place(offloaded.pipeline, torch.device("cpu"), "group")
    assert worst(plain(*crowd(1)), offloaded(*crowd(1))) == 0
    assert operational_fields(EditorConfig) == ["offload", "batch_size"]


def key(editor, **options):
    """By what the results of an editor are kept."""
    part = ferkit.load_recipe(recipe(use=editor, **options)).normalizer
    context = Context(torch.device("cpu"), torch.float32, 0, SEVEN, WeightsStore())
    return digest(fingerprint(part, build_part(part, context), context))


def test_results_are_kept_by_what_decides_a_picture(checkpoint, lora, tmp_path):
    folder, place = tmp_path / "moved", str(checkpoint("qwen-image-edit"))
    shutil.copytree(place, folder)
    (tmp_path / "same.safetensors").write_bytes(Path(lora).read_bytes())
    first = key("qwen-image-edit", folder=place)
    unplaced = {"low_cpu_mem_usage": False, "offload_state_dict": False, "max_memory": {0: "8GB"}}
    for same in (
        {"folder": str(folder)},
        {"sha256": sha256(folder)},
        {"steps": 50, "guidance": 4.0, "negative_prompt": " ", "resolution": 1024, "profile": "quality"},
        {"load": {"dtype": "float32", "vae_tiling": False, "offload_folder": str(tmp_path), **unplaced}},
        {"call": {"max_sequence_length": 512}, "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}},
        {"offload": "group", "batch_size": 4},
    ):
        assert key("qwen-image-edit", **{"folder": place, **same}) == first, same
    for other in (
        {"prompt": "Look here."},
        {"margin": 0.4},
        {"steps": 49},
        {"guidance": 3.0},
        {"negative_prompt": "blurred"},
        {"resolution": 512},
        {"load": {"dtype": "bfloat16"}},
        {"load": {"vae_tiling": True}},
        {"call": {"max_sequence_length": 64}},
        {"scheduler": {"shift": 2.0}},
        {"loras": [{"file": lora}]},
    ):
        assert key("qwen-image-edit", **{"folder": place, **other}) != first, other
    laid = key("qwen-image-edit", folder=place, loras=[{"file": lora}])
    assert key("qwen-image-edit", folder=place, loras=[{"file": str(tmp_path / "same.safetensors")}]) == laid
    assert key("qwen-image-edit", folder=place, loras=[{"file": lora, "scale": 0.5}]) != laid
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1e-3 for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    assert key("qwen-image-edit", folder=str(folder)) != first


def test_an_inspected_pipelines_own_guidance_may_be_written_out(checkpoint):
    place = {"folder": str(checkpoint("instruct-pix2pix"))}
    assert key("diffusers-edit", **place) == key("diffusers-edit", **place, guidance=7.5, steps=100)


def test_another_folder_is_another_recipe(checkpoint, tmp_path):
    shutil.copytree(checkpoint("instruct-pix2pix"), tmp_path / "moved")
    places = (checkpoint("instruct-pix2pix"), tmp_path / "moved")
    digests = {ferkit.load_recipe(recipe(use="instruct-pix2pix", folder=str(place))).digest for place in places}
    assert len(digests) == 2


def test_the_version_tells_the_libraries(build):
    assert build("instruct-pix2pix").version.startswith(f"diffusers {diffusers.__version__}, transformers ")


def test_a_pinned_pipeline_is_checked(build, checkpoint):
    build("instruct-pix2pix", sha256=sha256(checkpoint("instruct-pix2pix")))
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        build("instruct-pix2pix", sha256="0" * 64)


def test_pickled_and_missing_weights_are_refused(build, checkpoint, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("instruct-pix2pix"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), folder / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(WeightsError, match=r"has no unet/diffusion_pytorch_model.safetensors: pickled formats"):
        build("instruct-pix2pix", folder=str(folder))
    weights.write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match="can't be loaded as StableDiffusionInstructPix2PixPipeline"):
        build("instruct-pix2pix", folder=str(folder))
    shutil.rmtree(folder / "unet")
    with pytest.raises(WeightsError, match="lacks unet, which its index names"):
        build("instruct-pix2pix", folder=str(folder))


def test_code_of_strangers_is_refused(build, checkpoint, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("instruct-pix2pix"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "pipeline.py").write_text("raise SystemExit('code of strangers ran')")
    for change, text in (
        ({"_class_name": ["pipeline", "Evil"]}, "which diffusers .* does not have"),
        ({"unet": ["pipeline", "Evil"]}, "unet is a Evil of pipeline, which is not in diffusers or transformers"),
    ):
        (folder / "model_index.json").write_text(json.dumps({**index, **change}))
        with pytest.raises(ComponentError, match=text):
            build("instruct-pix2pix", folder=str(folder))


def test_classes_that_were_renamed_are_found_as_diffusers_finds_them(build, checkpoint, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("instruct-pix2pix"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPFeatureExtractor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    normalizer = build("instruct-pix2pix", folder=str(folder))
    assert type(normalizer.pipeline.safety_checker).__name__ == "StableDiffusionSafetyChecker"
    assert normalizer(*crowd(1))[0] is not None


@pytest.mark.parametrize("editor", EDITORS)
def test_weights_that_are_not_here_are_named_with_the_next_step(build, tmp_path, monkeypatch, editor):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = EDITORS[editor].model
    with pytest.raises(
        WeightsError, match=rf"the model of {model} at main \(not pinned\).*`ferkit weights fetch RECIPE`"
    ):
        build(editor, folder=None)


def test_the_weights_commands_know_pipeline_and_loras(checkpoint, lora, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copytree(checkpoint("qwen-image-edit"), tmp_path / "models" / "qwen")
    shutil.copy(lora, tmp_path / "models" / "fast.safetensors")
    written = recipe(folder="models/qwen", loras=[{"file": "models/fast.safetensors"}])
    (tmp_path / "recipe.yaml").write_text(json.dumps(written))
    paths = CliRunner().invoke(app, ["weights", "path", str(tmp_path / "recipe.yaml")]).output.split()
    assert [str(tmp_path / "models" / "qwen"), str(tmp_path / "models" / "fast.safetensors")] == [
        path for path in paths if "models" in path
    ]


def test_a_recipe_is_checked_before_anything_is_built():
    for options, text in (
        ({"loras": [{"file": "hf://a/b/c.safetensors@main"}]}, r"normalizer.loras.*must be pinned"),
        ({"model": "a/b", "folder": "c"}, "and not both"),
        ({"use": "diffusers-edit"}, "name a repository on the hub with `model`, or a `folder`"),
        ({"stepps": 4}, r"unknown key \(did you mean steps\?\)"),
        ({"profile": "fast"}, "normalizer.profile"),
    ):
        with pytest.raises(RecipeError, match=text):
            ferkit.load_recipe(recipe(**options))


def test_a_hub_without_permission_is_not_asked(monkeypatch, build):
    def refuse(*_, **options):
        assert options.get("local_files_only"), "it would have been downloaded"
        raise OSError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(WeightsError, match="nothing is downloaded unless asked"):
        build(folder=None, store=WeightsStore(download=False))
