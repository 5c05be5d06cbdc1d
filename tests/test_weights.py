"""Weights that are a model's folder: digest, completeness, the hub's cache."""

import hashlib
import json
import subprocess
import urllib.request

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from ferkit import WeightsError, WeightsStore
from ferkit.weights import Reference, sha256

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill(folder, shards=False):
    """A model's folder with weights in one file or two."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "notes.md").write_text("not of the model")
    names = SHARDS if shards else ["model.safetensors"]
    for name in names:
        save_file({name: torch.zeros(2)}, folder / name)
    if shards:
        index = {"weight_map": {name: name for name in SHARDS}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub; whatever would reach for the network fails."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize("shards", [False, True])
def test_a_whole_folder_is_handed_out_and_recorded(tmp_path, shards):
    folder, store = fill(tmp_path / "model", shards), WeightsStore()
    assert store.path(f"{folder}/") == folder
    assert store.used == {f"{folder}/": sha256(folder)}
    assert store.path(f"{folder}/#sha256={sha256(folder)}") == folder


def test_the_digest_of_a_folder_is_that_of_sha256sums_lines(tmp_path):
    folder = fill(tmp_path / "model")
    lines = subprocess.run(
        ["sha256sum", "config.json", "model.safetensors"], cwd=folder, capture_output=True, check=True
    ).stdout
    assert sha256(folder) == hashlib.sha256(lines).hexdigest()


def test_the_digest_of_a_folder_covers_configuration_and_weights(tmp_path):
    folder = fill(tmp_path / "model")
    before = sha256(folder)
    (folder / "notes.md").write_text("other notes")
    assert sha256(folder) == before
    for name, text in (("config.json", "{ }"), ("tokenizer.json", "{}"), ("model.safetensors", "other")):
        (folder / name).write_text(text)
        with pytest.raises(WeightsError, match="is not the file that was pinned"):
            WeightsStore().path(f"{folder}/#sha256={before}")
        fill(folder)
        (folder / "tokenizer.json").unlink(missing_ok=True)


def test_a_folder_without_safetensors_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match=r"has no model.safetensors: pickled formats .* can run code"):
        WeightsStore().path(f"{folder}/")
    with pytest.raises(WeightsError, match="there is no folder"):
        WeightsStore().path(f"{tmp_path}/none/")


def test_a_lacking_shard_is_named(tmp_path):
    folder = fill(tmp_path / "model", shards=True)
    (folder / SHARDS[1]).unlink()
    with pytest.raises(WeightsError, match=f"lacks {SHARDS[1]}, which its index names"):
        WeightsStore().path(f"{folder}/")


@pytest.mark.parametrize("index", ["", "[]", '{"weight_map": 1}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_a_clear_error(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match="is no index of safetensors shards"):
        WeightsStore().path(f"{tmp_path}/")


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00001.bin", "../model-1-of-1.safetensors"])
def test_an_index_may_name_shards_of_its_folder_only(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match=r"which is none of model-\*-of-\*.safetensors"):
        WeightsStore().path(f"{tmp_path}/")


def test_a_folder_of_the_hub_comes_from_its_cache(hub):
    store, text = WeightsStore(), "hf://owner/name@main"
    with pytest.raises(WeightsError, match="must be pinned"):
        store.path(text)
    with pytest.raises(WeightsError, match=r"the model of owner/name at main \(not pinned\) is not on this machine"):
        store.path(text, pinned=False)
    fill(hub)
    assert store.path(text, pinned=False) == hub
    assert store.path(f"{text}#sha256={sha256(hub)}") == hub
    assert store.path(f"hf://owner/name@{COMMIT}", pinned=False) == hub
    (hub / "model.safetensors").unlink()
    assert store.locate(Reference.parse(text)) is None


def test_a_folder_is_fetched_where_downloads_are_allowed(hub, monkeypatch):
    asked = []

    def snapshot_download(repository, *, revision, allow_patterns, local_files_only=False):
        asked.append((repository, revision, local_files_only))
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        return str(fill(hub))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert WeightsStore(download=True).path("hf://owner/name@v1", pinned=False) == hub
    assert asked == [("owner/name", "v1", True), ("owner/name", "v1", False)]


def test_a_folder_is_no_file(tmp_path):
    folder = fill(tmp_path / "model")
    with pytest.raises(WeightsError, match="names a folder: name the safetensors file itself"):
        WeightsStore().load(f"{folder}/")
    with pytest.raises(WeightsError, match=r"only .safetensors and .onnx files are loaded"):
        WeightsStore().path(str(folder))


FILE = "net-0123abcd.pth"
ADDRESS = f"https://example.org/models/{FILE}?raw=true"


def pinned(text, content=b"a pickle"):
    return f"{text}#sha256={hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """The folder where torch.hub keeps what libraries download; the network serves a file beside it."""
    (tmp_path / "served").write_bytes(b"a pickle")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    served = (tmp_path / "served").as_uri()
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: urllib.request.urlopen(served))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_librarys_files_are_those_of_torch_hub_and_recorded(checkpoints):
    checkpoints.mkdir(parents=True)
    (checkpoints / FILE).write_bytes(b"a pickle")
    store = WeightsStore()
    assert store.library_files([pinned(ADDRESS)]) == [checkpoints / FILE]
    assert store.used == {pinned(ADDRESS): pinned("")[-64:]}
    (checkpoints / FILE).write_bytes(b"another")
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        store.library_files([pinned(ADDRESS)])


def test_a_librarys_files_that_are_missing_are_named_all_at_once(checkpoints, tmp_path, monkeypatch):
    wanted = [pinned(ADDRESS), pinned(f"{tmp_path}/anchors.npy", b"anchors")]
    with pytest.raises(WeightsError) as error:
        WeightsStore().library_files(wanted)
    for text in (
        f"{checkpoints / FILE}  (SHA-256 {wanted[0][-64:]})",
        f"{tmp_path}/anchors.npy  (SHA-256 {wanted[1][-64:]})",
    ):
        assert text in str(error.value)
    assert f"copy them there from {ADDRESS}, or run `ferkit weights fetch RECIPE`" in str(error.value)
    monkeypatch.setenv("FERKIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match="unset FERKIT_OFFLINE and run"):
        WeightsStore(download=True).library_files(wanted)


def test_a_librarys_files_are_fetched_where_downloads_are_allowed_and_never_kept_if_wrong(checkpoints):
    with pytest.raises(WeightsError, match="can't be downloaded: RuntimeError: invalid hash"):
        WeightsStore(download=True).library_files([pinned(ADDRESS, b"other")])
    assert list(checkpoints.iterdir()) == []
    assert WeightsStore(download=True).library_files([pinned(ADDRESS)]) == [checkpoints / FILE]


def test_a_librarys_files_must_be_pinned_and_are_no_weights_of_a_recipe(tmp_path):
    with pytest.raises(WeightsError, match="may be a pickle, which is read only if pinned"):
        WeightsStore().library_files([ADDRESS])
    with pytest.raises(WeightsError, match="not https://"):
        WeightsStore().path(pinned(ADDRESS))
    with pytest.raises(WeightsError, match=r"only .safetensors and .onnx files are loaded"):
        WeightsStore().path(pinned(f"{tmp_path}/{FILE}"))


def pipeline(folder):
    """A pipeline's folder: two models, one of them in shards, and a part without weights."""
    parts = {"vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"]}
    index = {"_class_name": "P", **parts, "scheduler": ["diffusers", "S"], "safety_checker": [None, None]}
    fill(folder / "text_encoder", shards=True)
    for part, config in (("vae", "config.json"), ("scheduler", "scheduler_config.json")):
        (folder / part).mkdir()
        (folder / part / config).write_text("{}")
    save_file({"w": torch.zeros(2**19)}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "results").mkdir()
    (folder / "results" / "scores.json").write_text("no part of it")
    return folder


def test_a_pipeline_is_handed_out_and_known_by_samples_of_its_files(tmp_path):
    folder, store = pipeline(tmp_path / "p"), WeightsStore()
    assert store.path(f"{folder}/") == folder
    known = store.used[f"{folder}/"]
    assert known.startswith("sampled-")
    (folder / "results" / "scores.json").write_text("others")
    save_file({"w": torch.zeros(2**19) + 1e-3}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    store.path(f"{folder}/")
    assert store.used[f"{folder}/"] != known
    digest = sha256(folder)
    store.path(f"{folder}/#sha256={digest}")
    assert store.used[f"{folder}/#sha256={digest}"] == digest
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        store.path(f"{folder}/#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("vae/diffusion_pytorch_model.safetensors", "has no vae/diffusion_pytorch_model.safetensors: pickled"),
        (f"text_encoder/{SHARDS[0]}", f"lacks text_encoder/{SHARDS[0]}, which its index names"),
        ("scheduler/scheduler_config.json", "lacks scheduler, which its index names"),
    ],
)
def test_what_a_pipeline_lacks_is_named(tmp_path, gone, message):
    folder = pipeline(tmp_path / "p")
    (folder / gone).unlink()
    if not list((folder / gone).parent.iterdir()):
        (folder / gone).parent.rmdir()
    with pytest.raises(WeightsError, match=message):
        WeightsStore().path(f"{folder}/")


@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model"])
def test_a_part_of_a_pipelines_own_class_may_name_its_weights_either_way(tmp_path, stem):
    folder = pipeline(tmp_path / "p")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"has no safety_checker/model.safetensors"):
        WeightsStore().path(f"{folder}/")
    save_file({"w": torch.zeros(1)}, folder / "safety_checker" / f"{stem}.safetensors")
    assert WeightsStore().path(f"{folder}/") == folder


@pytest.mark.parametrize("part", ["vae/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "null", "\xff"])
def test_a_parts_damaged_configuration_is_a_clear_error(tmp_path, part, content):
    folder = pipeline(tmp_path / "p")
    (folder / part).write_bytes(content.encode("latin-1"))
    with pytest.raises(WeightsError, match=rf"{part} (can't be read|is no configuration: it holds a (list|NoneType))"):
        WeightsStore().path(f"{folder}/")


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_pipelines_damaged_index_is_a_clear_error(tmp_path, content):
    (pipeline(tmp_path / "p") / "model_index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"model_index.json (can't be read|is no index of a pipeline)"):
        WeightsStore().path(f"{tmp_path / 'p'}/")


def test_what_is_fetched_of_a_pipeline_are_its_parts_in_plain_safetensors(hub, monkeypatch):
    names = [
        "model_index.json",
        "tokenizer/merges.txt",
        "processor/chat_template.jinja",
        "vae/diffusion_pytorch_model.safetensors",
        "transformer/diffusion_pytorch_model-00001-of-00009.safetensors",
        "text_encoder/model-00001-of-00004.safetensors",
    ]
    others = ["flux1-kontext-dev.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors", "unet/model.bin", "a.py"]
    asked = []

    def snapshot_download(repository, *, allow_patterns, local_files_only=False, **_):
        if local_files_only:
            raise OSError("not here")
        asked.extend(huggingface_hub.utils.filter_repo_objects([*names, *others], allow_patterns=allow_patterns))
        return str(pipeline(hub))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert WeightsStore(download=True).path("hf://owner/name@main", pinned=False) == hub
    assert asked == names
