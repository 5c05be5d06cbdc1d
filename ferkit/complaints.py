"""What pydantic finds wrong with a component's options, in a recipe's words."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ferkit.layers import Keys


def field_types(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    """The types that a field takes."""
    annotation = model.model_fields[field].annotation
    return get_args(annotation) or (annotation,)


def told(error: ValidationError) -> Iterator[Any]:
    """Pydantic's complaints, without those of a list being too short that only lacks what was complained of already."""
    for item in error.errors():
        if item["type"] != "too_short" or len(item["input"]) < item["ctx"]["min_length"]:
            yield item


def explained(item: Any, model: type[BaseModel], beside: Sequence[str]) -> str:
    """One of pydantic's complaints in a recipe's words; ``beside`` are the keys that may stand beside the model's."""
    kind, name = item["type"], str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        names = [*_field_names(model, item["loc"][:-1]), *(beside if len(item["loc"]) == 1 else ())]
        close = difflib.get_close_matches(name, names, n=1)
        known = f"; options: {', '.join(names)}" if names else ""
        return f"unknown key{f' (did you mean {close[0]}?)' if close else known}"
    if kind == "missing":
        return "is missing"
    if kind == "dict_type" and isinstance(item["input"], str) and item["loc"]:
        return f"must be a mapping: write {name}: {{use: {item['input']}}}"
    if kind == "too_short":
        return f"must have at least {item['ctx']['min_length']}, not {len(item['input'])}"
    if kind == "tuple_type":
        return f"must be a list, not {item['input']!r}"
    given = "" if isinstance(item["input"], dict | list) else f", not {item['input']!r}"
    return f"{item['msg'].removeprefix('Value error, ')}{given}"


def written_path(path: tuple[int | str, ...], data: Any) -> list[str]:
    """What of pydantic's ``path`` stands in ``data``, or should: it also names the branch of a union."""
    found = []
    for last, key in enumerate(path, 1 - len(path)):
        inside = key in data if isinstance(data, Mapping) else isinstance(data, list | tuple) and isinstance(key, int)
        if inside:
            data = data[key]
        if inside or last == 0:
            found.append(str(key))
    return found


def _field_names(model: type[BaseModel], path: Keys) -> list[str]:
    """The fields of the model at ``path`` inside ``model``; none where something else is there."""
    inner: Any = model
    for key in path:
        annotation = inner.model_fields[key].annotation if key in inner.model_fields else None
        models = (kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
        inner = next((kind for kind in models if issubclass(kind, BaseModel)), None)
        if inner is None:
            return []
    return list(inner.model_fields)
