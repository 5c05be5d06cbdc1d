"""Open mappings of a recipe, held against the signatures that they end up in."""

import difflib
import inspect
import operator
from collections.abc import Collection, Iterable, Mapping
from typing import Any, get_args

from ferkit import ComponentError
from ferkit_diffusers.editors import EditorSpec
from ferkit_diffusers.options import EditorConfig

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


TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Mapping: "a mapping"}


def check_call(call: Mapping[str, Any], spec: EditorSpec, pipeline: type) -> None:
    """Refuse what a pipeline's call does not take, what is set elsewhere, and values of another type.

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
    check_values("call", call, simple_types(pipeline.__call__))


def named(function: Any) -> list[str]:
    """Names of a function's or a class's parameters but for ``self``, ``*args`` and ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]


def check_negative(config: EditorConfig, guidance: float | None, spec: EditorSpec, pipeline: type) -> None:
    """Refuse a negative prompt that the pipeline would leave out, as it does without classifier-free guidance.

    Raises:
        ComponentError: Naming the argument that switches guidance off.
    """
    if not (config.negative_prompt or "").strip():
        return
    given = dict(config.call)
    if spec.guidance and guidance is not None:
        given[spec.guidance] = guidance
    values = {name: p.default for name, p in inspect.signature(pipeline.__call__).parameters.items()} | given
    strength = "true_cfg_scale" if "true_cfg_scale" in values else "guidance_scale"
    for name, is_off in ((strength, operator.le), ("image_guidance_scale", operator.lt)):
        value = values.get(name)
        if isinstance(value, int | float) and is_off(value, 1):
            option = "`guidance`" if name == spec.guidance else f"`{name}` in `call`"
            raise ComponentError(
                f"`negative_prompt` has no effect: with {name} {value:g}, {pipeline.__name__} leaves out classifier-free "
                f"guidance. Raise {option} above 1, or leave out `negative_prompt`"
            )


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


def check_values(option: str, given: Mapping[str, Any], types: Mapping[str, Collection[type]]) -> None:
    """Refuse values of another type than their names have; names without types take anything.

    Raises:
        ComponentError: With the name, the type, and what was given.
    """
    for name, value in given.items():
        kinds = types.get(name)
        if kinds and value is not None and not any(_fits(value, kind) for kind in kinds):
            wanted = " or ".join(TYPE_NAMES[kind] for kind in kinds)
            raise ComponentError(f"`{option}`: {name} must be {wanted}, not {value!r}")


def simple_types(function: Any) -> dict[str, tuple[type, ...]]:
    """The types of a function's parameters, of those that are annotated with plain ones and no others."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, TypeError):  # annotations that hold only for type checkers
        return {}
    found = {}
    for name, parameter in parameters.items():
        kinds = set(get_args(parameter.annotation) or (parameter.annotation,)) - {type(None)}
        if kinds and kinds <= {bool, int, float, str}:
            found[name] = tuple(sorted(kinds, key=list(TYPE_NAMES).index))
    return found


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


def _is_tensor(name: str) -> bool:
    """Whether an argument takes what no recipe can hold."""
    return name.startswith("callback") or name.endswith(("_embeds", "_embeds_mask", "ip_adapter_image"))
