"""Pipelines from a folder: whole, without a network, without code of strangers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj
from safetensors import SafetensorError

from ferkit import ComponentError, Context, WeightsError
from ferkit.weight_folders import is_pipeline, pipeline_index, pipeline_parts
from ferkit_diffusers.arguments import LOAD_ELSEWHERE, check_names, check_values, named, simple_types
from ferkit_diffusers.options import Lora, Offload

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
PASSED_ON = {
    "device_map": (str, Mapping),
    "max_memory": (Mapping,),
    "low_cpu_mem_usage": (bool,),
    "offload_folder": (str,),
    "offload_state_dict": (bool,),
}
"""Arguments of ``from_pretrained``, which takes any name, that are of use in a recipe; with their types."""
OURS = {"dtype": (str,), "quantization": (Mapping,), "attention": (str,), "vae_tiling": (bool,), "vae_slicing": (bool,)}
FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)
"""What diffusers raises on files and options that it can't make sense of."""


def pipeline_class(folder: Path) -> type:
    """The class of the pipeline that is saved in ``folder``.

    Raises:
        ComponentError: If it is none of diffusers, or has parts that are of neither diffusers nor transformers.
    """
    if not is_pipeline(folder):
        raise ComponentError(f"{folder} holds no pipeline of diffusers: there is no model_index.json")
    name = pipeline_index(folder)["_class_name"]
    found = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ComponentError(
            f"{folder} is of the class {name}, which diffusers {diffusers.__version__} does not have: code in repositories "
            "never runs. Upgrade diffusers, or choose another model"
        )
    for part, (library, kind) in pipeline_parts(folder).items():
        if not _has_class(library, kind):
            raise ComponentError(
                f"{folder}: {part} is a {kind} of {library}, which is not in diffusers or transformers"
            )
    return found


def _has_class(library: str, kind: str) -> bool:
    """Whether diffusers finds the class of a part, which it looks up under its newer name where it was renamed."""
    if library not in LIBRARIES and not hasattr(diffusers.pipelines, library):
        return False  # diffusers would import it
    try:
        with quietly():
            simple_get_class_obj(library, kind)
    except AttributeError:
        return False
    return True


def load_pipeline(folder: Path, kind: type, load: Mapping[str, Any], context: Context) -> Any:
    """The pipeline saved in ``folder``, in main memory unless a ``device_map`` says otherwise.

    Args:
        folder: Of a whole pipeline.
        kind: Its class.
        load: The recipe's mapping.
        context: Its dtype is used where ``load`` names none.

    Raises:
        ComponentError: If ``load`` holds what does not exist.
        WeightsError: If the files can't be loaded.
    """
    parts = pipeline_parts(folder)
    own = [name for name in named(kind.__init__) if name not in parts]  # type: ignore[misc]
    check_names("load", load, [*OURS, *PASSED_ON, *own], LOAD_ELSEWHERE, kind.__name__)
    check_values("load", load, {**simple_types(kind.__init__), **OURS, **PASSED_ON})  # type: ignore[misc]
    dtype = load.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise ComponentError(f"`load`: dtype {dtype!r} is none of {', '.join(DTYPES)}")
    given = {name: value for name, value in load.items() if name not in OURS}
    if quantization := load.get("quantization"):
        given["quantization_config"] = quantizer(quantization, parts)
    with quietly():
        try:
            pipeline = kind.from_pretrained(  # type: ignore[attr-defined]
                folder,
                dtype=DTYPES[dtype] if dtype else context.dtype,
                use_safetensors=True,
                local_files_only=True,
                **given,
            )
        except FAULTS as error:
            raise WeightsError(f"{folder} can't be loaded as {kind.__name__}: {line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    _adjust(pipeline, load)
    return pipeline


def decisive(load: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What of ``load`` changes a picture: not where the parts lie, nor what is off or said to be as it is anyway."""
    dtype = DTYPES[load["dtype"]] if load.get("dtype") else context.dtype
    given = {name: value for name, value in load.items() if name not in PASSED_ON and (value or name not in OURS)}
    return {**given, "dtype": str(dtype)}


def quantizer(quantization: Mapping[str, Any], parts: Mapping[str, tuple[str, str]]) -> Any:
    """A quantization for each part that the recipe names: ``{transformer: {class: BitsAndBytesConfig, …}}``.

    Raises:
        ComponentError: If a part, class or option does not exist, or its package is not installed.
    """
    check_names("load.quantization", quantization, list(parts), {}, "the pipeline")
    found = {}
    for part, options in quantization.items():
        option = f"load.quantization.{part}"
        name = options.get("class") if isinstance(options, Mapping) else None
        library = LIBRARIES[parts[part][0]]
        kind = getattr(library, name, None) if isinstance(name, str) else None
        if kind is None or not _is_quantization(kind):
            raise ComponentError(
                f"`{option}.class` must name a quantization of {library.__name__}, such as BitsAndBytesConfig, not {name!r}"
            )
        given = {key: value for key, value in options.items() if key != "class"}
        check_names(option, given, named(kind.__init__), {}, kind.__name__)
        try:
            found[part] = kind(**given)
        except (*FAULTS, AssertionError) as error:
            raise ComponentError(f"`{option}`: {kind.__name__} can't be set up: {line(error)}") from error
    return diffusers.PipelineQuantizationConfig(quant_mapping=found)


def _is_quantization(kind: Any) -> bool:
    return isinstance(kind, type) and any(base.__name__ == "QuantizationConfigMixin" for base in kind.__mro__)


def _adjust(pipeline: Any, load: Mapping[str, Any]) -> None:
    """Attention backend, and an autoencoder that works in tiles or slices."""
    if backend := load.get("attention"):
        denoiser = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
        try:
            denoiser.set_attention_backend(backend)  # type: ignore[union-attr]
        except FAULTS as error:
            raise ComponentError(f"`load`: attention {backend!r} can't be used: {line(error)}") from error
    for option, method in (("vae_tiling", "enable_tiling"), ("vae_slicing", "enable_slicing")):
        if load.get(option):
            if not hasattr(pipeline.vae, method):
                raise ComponentError(f"`load`: {type(pipeline.vae).__name__} can't do {option}: leave it out")
            getattr(pipeline.vae, method)()


def set_scheduler(pipeline: Any, changes: Mapping[str, Any]) -> None:
    """Give the pipeline a scheduler with ``changes`` of the saved one's configuration; ``class`` names another.

    Raises:
        ComponentError: If there is no such scheduler, or it has no such option.
    """
    if not changes:
        return
    options = {key: value for key, value in changes.items() if key != "class"}
    name = changes.get("class", type(pipeline.scheduler).__name__)
    kind = getattr(diffusers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise ComponentError(f"`scheduler`: diffusers has no scheduler {name!r}")
    check_names("scheduler", options, named(kind.__init__), {}, kind.__name__)  # type: ignore[misc]
    check_values("scheduler", options, simple_types(kind.__init__))  # type: ignore[misc]
    try:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)  # type: ignore[attr-defined]
    except FAULTS as error:
        raise ComponentError(f"`scheduler`: {kind.__name__} can't be set up: {line(error)}") from error


def scheduler_settings(pipeline: Any) -> dict[str, Any]:
    """Class and whole configuration of the scheduler, as plain data."""
    config = {name: value for name, value in pipeline.scheduler.config.items() if not name.startswith("_")}
    return {**config, "class": type(pipeline.scheduler).__name__}


def add_loras(pipeline: Any, loras: Sequence[tuple[Lora, Path]]) -> None:
    """Lay LoRAs over the weights, each with its scale.

    Raises:
        ComponentError: If the pipeline takes none.
        WeightsError: If a file does not fit, or changes nothing.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise ComponentError(f"{type(pipeline).__name__} takes no LoRAs: leave out `loras`")
    names = [f"lora_{index}" for index in range(len(loras))]
    for name, (lora, path) in zip(names, loras, strict=True):
        try:
            with quietly():
                pipeline.load_lora_weights(
                    str(path.parent), weight_name=path.name, adapter_name=name, use_safetensors=True
                )
        except FAULTS as error:
            raise WeightsError(f"the LoRA {lora.file} does not fit {type(pipeline).__name__}: {line(error)}") from error
        if not any(name in adapters for adapters in pipeline.get_list_adapters().values()):  # diffusers would go on
            raise WeightsError(
                f"the LoRA {lora.file} changes nothing of {type(pipeline).__name__}: is it another model's?"
            )
    pipeline.set_adapters(names, [lora.scale for lora, _ in loras])


def place(pipeline: Any, device: torch.device, offload: Offload) -> None:
    """Move the pipeline to ``device``, or have its parts move there when they are used."""
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "group":
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    else:
        pipeline.to(device)


@contextmanager
def quietly() -> Iterator[None]:
    """No bars and reports: what they tell is checked."""
    loggers = (diffusers.utils.logging, transformers.utils.logging)
    before = [(logging, logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in loggers]
    for logging in loggers:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, level, bars in before:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def line(error: BaseException) -> str:
    """An error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
