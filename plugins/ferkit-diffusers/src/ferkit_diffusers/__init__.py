"""Image editing pipelines of diffusers as ferkit normalizers."""

from collections.abc import Sequence
from functools import partial

from ferkit import Component, hookimpl
from ferkit_diffusers.editors import EDITORS, EditorSpec
from ferkit_diffusers.options import AnyEditorConfig, EditorConfig, weights

SUMMARIES = {
    "qwen-image-edit": ("QwenImageEdit", "Qwen-Image-Edit, the paper's editor"),
    "qwen-image-edit-plus": ("QwenImageEditPlus", "Qwen-Image-Edit 2509 and 2511"),
    "qwen-image-2.1": ("QwenImage21", "Qwen-Image 2.1, which generates and edits"),
    "flux-kontext": ("FluxKontext", "FLUX.1 Kontext"),
    "instruct-pix2pix": ("InstructPix2Pix", "InstructPix2Pix, small and of 2022"),
}


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """A normalizer for each editor, and ``diffusers-edit`` for any other."""
    named = [_component(name, EDITORS[name], *SUMMARIES[name]) for name in EDITORS]
    other = _component("diffusers-edit", None, "DiffusersEdit", "any diffusers pipeline that edits by instruction")
    return [*named, other]


def _component(name: str, spec: EditorSpec | None, target: str, summary: str) -> Component:
    return Component(
        kind="normalizer",
        name=name,
        config=EditorConfig if spec else AnyEditorConfig,
        target=f"ferkit_diffusers.normalizer:{target}",
        summary=summary,
        weights_licence=spec.licence if spec else "the model's own, see its card",
        commercial=spec.commercial if spec else True,
        uses=frozenset({"pose"}),
        weights=partial(weights, spec=spec),
    )
