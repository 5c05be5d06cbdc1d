"""The JSON schema of recipes, made from the components that are installed."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ferkit.recipe_model import Framework, Judge, Normalization, Selection
from ferkit.registry import Registered, Registry

Schema = dict[str, Any]
_REFERENCE = "#/$defs/{model}"


def recipe_schema(registry: Registry) -> Schema:
    """The schema (JSON Schema 2020-12) of a recipe file; a part's options follow from its ``use``.

    A recipe that extends another may leave out what that one brings, and removes with null.
    """
    schema = Framework.model_json_schema(ref_template=_REFERENCE)
    definitions: Schema = schema.pop("$defs", {})
    properties: Schema = schema["properties"]
    required: list[str] = schema.pop("required")
    for kind in ("detector", "pose", "normalizer", "encoder", "head", "dataset"):
        definitions[kind] = _part(kind, registry, definitions, _framework(kind, definitions))
    judge: Schema = Judge.model_json_schema()["properties"]
    definitions["Judge"] = _part("encoder", registry, definitions, judge)  # pydantic's has the framework's keys alone
    for kind in ("detector", "pose", "normalizer", "head"):
        properties[kind] = {"$ref": f"#/$defs/{kind}"}
    properties["data"] = {"$ref": "#/$defs/dataset"}
    encoder: Schema = {"additionalProperties": {"$ref": "#/$defs/encoder"}}
    properties["encoders"] = {"type": "object", "minProperties": 1, **encoder}
    names = {"type": "string"}
    properties["extends"] = {
        "description": "recipes this one is written on top of, by name or path; later ones win",
        "anyOf": [names, {"type": "array", "items": names}],
    }
    complete: Schema = {"required": ["use"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ferkit recipe",
        "description": "A facial expression recognition pipeline, by its components.",
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "required": required,
            "properties": {
                "detector": complete,
                "head": complete,
                "encoders": {"additionalProperties": complete},
            },
        },
        "$defs": dict(sorted(definitions.items())),
    }


def _part(kind: str, registry: Registry, definitions: Schema, framework: Schema) -> Schema:
    """Any component of ``kind`` with the ``framework``'s keys; or options without ``use``, on top of another; or null."""
    registered = registry.components(kind)
    names = [item.component.name for item in registered]
    each = []
    for item in registered:
        unique = names.count(item.component.name) == 1
        each.append(
            _component(
                item, [item.component.name, item.qualified] if unique else [item.qualified], definitions, framework
            )
        )
    partial = {"type": "object", "not": {"required": ["use"]}, "description": "options of what `extends` brings"}
    return {"anyOf": [*each, partial, {"type": "null"}]}


def _component(item: Registered, spellings: list[str], definitions: Schema, framework: Schema) -> Schema:
    own = _inlined(item.component.config, definitions, item.qualified)
    use = {"enum": spellings, "description": item.component.summary}
    return {
        **own,
        "title": item.qualified,
        "description": item.component.summary,
        "properties": {"use": use, **framework, **own.get("properties", {})},
        "required": ["use"],
    }


def _framework(kind: str, definitions: Schema) -> Schema:
    """The framework's keys beside a component's."""
    if kind == "encoder":
        return {"learnt": {"type": "string", "description": "safetensors with what training put in place of its own"}}
    models: dict[str, type[BaseModel]] = {"normalizer": Normalization, "dataset": Selection}
    model = models.get(kind)
    properties: Schema = _inlined(model, definitions, "")["properties"] if model else {}
    return properties


def _inlined(model: type[BaseModel], definitions: Schema, owner: str) -> Schema:
    """The schema of ``model``; models inside it become definitions that bear the owner's name."""
    prefix = f"{owner}." if owner else ""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    inner: Mapping[str, Any] = schema.pop("$defs", {})
    definitions.update({f"{prefix}{name}": value for name, value in inner.items()})
    return schema
