"""Tiny random checkpoints of diffusers' real editing pipelines, saved as users would: under 1 MB each.

Their autoencoders shrink by 32, so that even a working area of one megapixel, which Qwen-Image-Edit insists on, is cheap.
"""

import string
from functools import partial

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

QWEN_MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{{ c.text }}{% endfor %}<|im_end|>\n{% endfor %}"
FLOW = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192}
PIXELS = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 4096,
}


def bytes_as_letters():
    """The 256 symbols by which byte-level tokenizers write bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(256 - len(plain))]


def qwen_tokenizer():
    symbols = [*bytes_as_letters(), *QWEN_MARKS]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=QWEN_MARKS,
    )


def lively(autoencoder):
    """The autoencoder with smaller biases, which would drown what random weights make of a picture."""
    for module in autoencoder.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d) and module.bias is not None:
            module.bias.data *= 0.1
    for part in (autoencoder.encoder, autoencoder.decoder):
        part.conv_in.weight.data *= 5
    return autoencoder


def qwen_autoencoder():
    return AutoencoderKLQwenImage(
        base_dim=2,
        z_dim=4,
        dim_mult=[1] * 6,
        num_res_blocks=1,
        temperal_downsample=[False] * 5,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def vision_ids(tokenizer):
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end"}
    return {key: tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for key, mark in names.items()}


def qwen_edit(pipeline=QwenImageEditPipeline, **transformer):
    """Qwen-Image-Edit, or with another pipeline class its successors 2509 and 2511."""
    tokenizer = qwen_tokenizer()
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "out_hidden_size": TEXT["hidden_size"],
            "intermediate_size": 16,
            "num_heads": 2,
            "fullatt_block_indexes": [0],
        },
        **vision_ids(tokenizer),
    )
    return pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
        vae=lively(qwen_autoencoder()),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        processor=Qwen2VLProcessor(
            image_processor=Qwen2VLImageProcessor(**PIXELS),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(**PIXELS),
            chat_template=CHAT,
        ),
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TEXT["hidden_size"],
            axes_dims_rope=(4, 6, 6),
            **transformer,
        ),
    )


def qwen_edit_plus():
    return qwen_edit(QwenImageEditPlusPipeline, zero_cond_t=True)


def qwen_21():
    tokenizer = qwen_tokenizer()
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 16, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "out_hidden_size": TEXT["hidden_size"],
            "intermediate_size": 16,
            "num_heads": 2,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        **vision_ids(tokenizer),
    )
    autoencoder = AutoencoderKLQwenImage21(
        base_dim=2,
        decoder_base_dim=2,
        z_dim=4,
        dim_mult=[1] * 5,
        num_res_blocks=1,
        temperal_downsample=[False] * 4,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
        vae=lively(autoencoder),
        text_encoder=Qwen3VLForConditionalGeneration(config),
        processor=Qwen3VLProcessor(
            image_processor=Qwen2VLImageProcessor(patch_size=16, min_pixels=32 * 32, max_pixels=512 * 512),
            tokenizer=tokenizer,
            video_processor=Qwen3VLVideoProcessor(),
            chat_template=CHAT,
        ),
        transformer=QwenImage21Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=TEXT["hidden_size"],
            axes_dims_rope=(4, 6, 6),
        ),
    )


def clip_text():
    """CLIP's text encoder and tokenizer."""
    letters = bytes_as_letters()
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=[], model_max_length=77
    )
    config = CLIPTextConfig(
        vocab_size=len(symbols),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
        bos_token_id=len(symbols) - 2,
        eos_token_id=len(symbols) - 1,
        pad_token_id=len(symbols) - 1,
    )
    return CLIPTextModel(config), tokenizer


def autoencoder_kl(levels, **more):
    return AutoencoderKL(
        block_out_channels=[4] * levels,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        norm_num_groups=2,
        latent_channels=4,
        layers_per_block=1,
        **more,
    )


def flux_kontext():
    text_encoder, tokenizer = clip_text()
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.punctuation, *string.digits]
    tokenizer_2 = T5Tokenizer(vocab=[(piece, -float(index)) for index, piece in enumerate(pieces)], extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer_2), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2)
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**FLOW),
        vae=autoencoder_kl(5, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.36, shift_factor=0.12),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(config),
        tokenizer_2=tokenizer_2,
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 6, 6),
            guidance_embeds=True,
        ),
    )


def instruct_pix2pix():
    text_encoder, tokenizer = clip_text()
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 16, "patch_size": 8}
    return StableDiffusionInstructPix2PixPipeline(
        vae=autoencoder_kl(4),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=32,
            attention_head_dim=4,
        ),
        scheduler=EulerAncestralDiscreteScheduler(),
        safety_checker=StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8)),
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    )


EDITORS = {
    "qwen-image-edit": qwen_edit,
    "qwen-image-edit-plus": qwen_edit_plus,
    "qwen-image-2.1": qwen_21,
    "flux-kontext": flux_kontext,
    "instruct-pix2pix": instruct_pix2pix,
}
"""A function that builds the pipeline, by the editor's name."""


def shrink(monkeypatch, side=64):
    """Have Qwen-Image-Edit and -Plus work on ``side`` squared pixels instead of a million."""
    for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        monkeypatch.setattr(module, "calculate_dimensions", partial(_limited, module.calculate_dimensions, side**2))


def _limited(function, limit, area, ratio):
    return function(min(area, limit), ratio)


def save(name, folder):
    """Build the editor ``name`` from random numbers of seed 0, and save it in ``folder``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        EDITORS[name]().save_pretrained(folder)
    return folder
