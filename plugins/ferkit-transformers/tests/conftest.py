"""Tiny random checkpoints of transformers' real classes, saved as users would."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BitImageProcessor,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPForImageClassification,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipImageProcessor,
    SiglipModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
WORDS = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "a",
    "photo",
    "of",
    "face",
    "happy",
    "sad",
    "person",
    "in",
    "the",
    "rain",
    "x",
]
TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "vocab_size": len(WORDS),
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
NAMES = {0: "Happy", 1: "sad", 2: "Neutral"}
CLASSES = {"id2label": NAMES, "label2id": {name: index for index, name in NAMES.items()}}
DINO = {**VISION, "mlp_ratio": 2}
SMALL = {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 64, "patch_size": 4}
CONVOLUTIONS = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}


PAIR = {"vision_config": VISION, "text_config": TEXT, "projection_dim": 20}


def _clip():
    return CLIPConfig(**PAIR)


def _siglip(**more):
    # in SigLIP both towers end in one width
    return SiglipConfig(vision_config=VISION, text_config={**TEXT, "hidden_size": 32, "projection_size": 32}, **more)


MODELS = {
    "vit": lambda: ViTModel(ViTConfig(**VISION)),
    "vit-classifier": lambda: ViTForImageClassification(ViTConfig(**VISION, **CLASSES)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**DINO)),
    "dinov2-registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**DINO, num_register_tokens=3)),
    "dinov2-classifier": lambda: Dinov2ForImageClassification(Dinov2Config(**DINO, **CLASSES)),
    "clip": lambda: CLIPModel(_clip()),
    "clip-vision": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=20)),
    "clip-classifier": lambda: CLIPForImageClassification(CLIPConfig(**_clip().to_dict() | CLASSES)),
    "chinese-clip": lambda: ChineseCLIPModel(ChineseCLIPConfig(**PAIR)),
    "siglip": lambda: SiglipModel(_siglip()),
    "siglip-classifier": lambda: SiglipForImageClassification(_siglip(**CLASSES)),
    "swin": lambda: SwinModel(SwinConfig(**SMALL)),
    "resnet": lambda: ResNetModel(ResNetConfig(**CONVOLUTIONS)),
    "resnet-classifier": lambda: ResNetForImageClassification(ResNetConfig(**CONVOLUTIONS, **CLASSES)),
}
SIDE = {"height": 64, "width": 64}


def processor(name):
    """The image processor that the model's family is published with."""
    if name.startswith("clip"):
        return CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SIDE)
    if name.startswith("dinov2"):
        return BitImageProcessor(size={"shortest_edge": 72}, crop_size=SIDE, resample=3, image_std=[0.2, 0.3, 0.4])
    if name.startswith("siglip"):
        return SiglipImageProcessor(size=SIDE)
    return ViTImageProcessor(size=SIDE)


def tokenizer(siglip):
    """Words to numbers; CLIP's begin and end with marks, SigLIP's end with one and come without a mask."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.normalizer, words.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    template = "$A </s>" if siglip else "<s> $A </s>"
    words.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 2), ("</s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


def save(name, folder, **options):
    """Save model, image processor, and tokenizer where it reads; returns the model."""
    model = MODELS[name]().eval()
    model.save_pretrained(folder, **options)
    processor(name).save_pretrained(folder)
    if name in ("clip", "siglip"):
        tokenizer(name == "siglip").save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def save_checkpoint():
    """``save_checkpoint(name, folder)``: see :func:`save`."""
    return save


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Every model with the folder it was saved to, by name."""
    torch.manual_seed(0)
    found = {}
    for name in MODELS:
        folder = tmp_path_factory.mktemp(name)
        found[name] = (save(name, folder), folder)
    return found
