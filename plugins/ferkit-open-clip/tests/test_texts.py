"""Tokenizers and text towers that transformers reads."""

import json

import open_clip
import pytest
import torch

from ferkit import ComponentError, WeightsError

TEXTS = ["a happy face", "a photo of a face with an expression of sadness", "x"]


@pytest.fixture
def words(tmp_path):
    """A folder with a tokenizer of few words, and the configuration of a tiny RoBERTa."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {
        word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "a", "face", "happy", "of"])
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    folder = tmp_path / "words"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    transformers.RobertaConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    ).save_pretrained(folder)
    return folder


def test_a_folders_own_tokenizer_is_used(words, encoder, save, models):
    text = {
        **models["clip"]["text_cfg"],
        "context_length": 8,
        "vocab_size": 16,
        "hf_tokenizer_name": "owner/words",
        "pool_type": "last",
    }
    save(words, {**models["clip"], "text_cfg": text, "custom_text": True})
    model = open_clip.create_model(f"local-dir:{words}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{words}")(TEXTS)
    with torch.inference_mode():
        found = encoder({"local_dir": str(words), "text": True}).encode_text(TEXTS)
        assert torch.allclose(found, model.encode_text(tokens), atol=1e-5)
    assert tokens[0].tolist() == [4, 6, 5, 1, 1, 1, 1, 1]


def test_a_folder_without_its_tokenizer_is_refused(tmp_path, encoder, save, models):
    save(
        tmp_path,
        {
            **models["clip"],
            "text_cfg": {**models["clip"]["text_cfg"], "hf_tokenizer_name": "owner/words"},
            "custom_text": True,
        },
    )
    with pytest.raises(ComponentError, match="holds no tokenizer that can be read"):
        encoder({"local_dir": str(tmp_path), "text": True})
    assert encoder({"local_dir": str(tmp_path)}).dim == 24


def test_a_transformers_tower_is_built_from_what_the_hubs_cache_holds(
    words, no_hub, tmp_path, encoder, save, put_in_hub, models
):
    text = {"hf_model_name": str(words), "hf_tokenizer_name": str(words), "context_length": 8, "hf_proj_type": "mlp"}
    folder = save(tmp_path / "saved", {**models["clip"], "text_cfg": text})
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False).eval()
    for file in words.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["hf_model_name"] = "owner/words"
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    options = {"local_dir": str(folder), "text": True}
    with pytest.raises(WeightsError, match=r"of owner/words, which are not on this machine. Build the pipeline once"):
        encoder(options)
    put_in_hub("owner/words", words)
    built = encoder(options, training=True)
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.allclose(built.encode_text(TEXTS), model.encode_text(tokens), atol=1e-5)
    assert len(built.text_stages()) == 4
    assert len(encoder({"local_dir": str(folder)}).module) == 1
