import json
from pathlib import Path

import fakes
import pytest

import ferkit
from ferkit import Registry, builtin
from ferkit.components import FRAMEWORK_KEYS
from ferkit.schema import recipe_schema
from ferkit.training.options import Augment, Learn, Lora, Objectives, Training

COMMITTED = Path(ferkit.__file__).parent / "recipes" / "schema.json"


def core():
    registry = Registry()
    registry.register(builtin, "ferkit", ferkit.__version__)
    return registry


def uses(schema, kind):
    return {tuple(part["properties"]["use"]["enum"]) for part in schema["$defs"][kind]["anyOf"] if "title" in part}


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def test_the_committed_schema_is_that_of_the_core():
    command = "FERKIT_PLUGINS= python -m ferkit recipe schema > ferkit/recipes/schema.json"
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == recipe_schema(core()), f"regenerate it: {command}"


def test_every_installed_component_is_a_choice_with_its_options(registry):
    schema = recipe_schema(registry)
    for kind in ("detector", "pose", "normalizer", "encoder", "head"):
        expected = {(r.component.name, f"{r.distribution}:{r.component.name}") for r in registry.components(kind)}
        assert uses(schema, kind) == expected
    (red,) = [part for part in schema["$defs"]["normalizer"]["anyOf"] if part.get("title") == "ferkit-fakes:red"]
    assert set(red["properties"]) == {"use", "fails_on", *FRAMEWORK_KEYS["normalizer"]}
    assert red["additionalProperties"] is False
    assert red["properties"]["above_yaw"]["description"].startswith("turn faces")


def test_the_schema_points_to_nothing_that_is_not_there(registry):
    schema = recipe_schema(registry)
    found = set(references(schema))
    assert "#/$defs/encoder" in found
    assert {reference.removeprefix("#/$defs/") for reference in found} <= set(schema["$defs"])


def test_a_name_that_two_plugins_own_is_a_choice_in_full_only(registry):
    (colour,) = [component for component in fakes.COMPONENTS if component.name == "colour"]
    registry.register(fakes.plugin(colour), "ferkit-other")
    found = uses(recipe_schema(registry), "encoder")
    assert {("ferkit-fakes:colour",), ("ferkit-other:colour",)} <= found
    assert not [names for names in found if "colour" in names]


def test_a_recipe_that_extends_another_may_be_partial():
    schema = recipe_schema(core())
    assert schema["if"] == {"not": {"required": ["extends"]}}
    assert set(schema["then"]["required"]) == {"ferkit", "name", "detector", "encoders", "head"}
    assert "required" not in schema
    assert "extends" in schema["properties"]


@pytest.mark.parametrize("model", [Training, Objectives, Augment, Learn, Lora])
def test_every_key_of_training_is_described(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []
