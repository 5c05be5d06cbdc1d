"""Open mappings of a recipe, held against the signatures that they end up in."""

import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ferkit import ComponentError
from ferkit_diffusers.editors import EditorSpec

CALL_ELSEWHERE = {
    "prompt": "set the option `prompt`",
    "negative_prompt": "set the option `negative_prompt`",
    "num_inference_steps": "set the option `steps`",
    "generator": "it follows from the recipe's seed and the face",
    "latents": "they follow from the recipe's seed and the face",
    "num_images_per_prompt": "one picture a face is asked for; `samples` asks for more",
    "output_type": "the result is a picture",
    "return_dict": "the result is a picture",
}
LOAD_ELSEWHERE = {
    "torch_dtype": "set `dtype`",
    "quantization_config": "set `quantization`",
    "offload": "set the option `offload`, which leaves cached results valid",
    "revision": "set the option `revision`",
    "variant": "weights are read under their plain names",
    "use_safetensors": "nothing but safetensors is read",
    "local_files_only": "files are found before; `ferkit weights fetch` fetches them",
    "cache_dir": "files are found before; `folder` names others",
    "token": "it would stand in results; `hf auth login` keeps it",
    "trust_remote_code": "code in repositories never runs",
    "custom_pipeline": "code in repositories never runs",
}


def check_call(call: Mapping[str, Any], spec: EditorSpec, pipeline: type) -> None:
    """Refuse what a pipeline's call does not take, and what is set elsewhere.

    Raises:
        ComponentError: If there is any.
    """
    elsewhere = {
        **CALL_ELSEWHERE,
        spec.image: "it is the face",
        **dict.fromkeys(spec.size, "set the option `resolution`"),
    }
    if spec.guidance:
        elsewhere[spec.guidance] = "set the option `guidance`"
    known = [name for name in named(pipeline.__call__) if not _is_tensor(name)]
    check_names("call", call, known, elsewhere, pipeline.__name__)


def named(function: Any) -> list[str]:
    """Names of a function's or a class's parameters but for ``self``, ``*args`` and ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]


def without_defaults(call: Mapping[str, Any], pipeline: type) -> dict[str, Any]:
    """``call`` without what the pipeline's call would take anyway."""
    parameters = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in call.items() if value != parameters[name].default}


def check_names(
    option: str, given: Iterable[str], known: Collection[str], elsewhere: Mapping[str, str], owner: str
) -> None:
    """Refuse names that are not known, or belong elsewhere.

    Raises:
        ComponentError: With names that are close, and all there are.
    """
    for name in given:
        if hint := elsewhere.get(name):
            raise ComponentError(f"`{option}` may not hold {name!r}: {hint}")
        if name not in known:
            choices = sorted(set(known) - set(elsewhere))
            close = difflib.get_close_matches(name, choices, n=2)
            hint = f" (did you mean {' or '.join(close)}?)" if close else ""
            raise ComponentError(f"`{option}`: {owner} has no {name!r}{hint}; it takes {', '.join(choices)}")


def _is_tensor(name: str) -> bool:
    """Whether an argument takes what no recipe can hold."""
    return name.startswith("callback") or name.endswith(("_embeds", "_embeds_mask", "ip_adapter_image"))
