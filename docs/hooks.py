"""What mkdocs adds to the pages: the parts marked ``<!-- generated: … -->``, made from the code as it is installed."""

import inspect
import json
import re
from typing import Any

import typer.main
from pydantic import BaseModel
from typer.cli import get_docs_for_click

from ferkit.cli import app
from ferkit.recipe_model import Accept, Align, Framework, Judge, Normalization, Prompts, Selection
from ferkit.registry import Registered, default_registry
from ferkit.training.options import Augment, Learn, Lora, Objectives, Training

FIRST_PARTY = (
    "ferkit",
    "ferkit-face-alignment",
    "ferkit-diffusers",
    "ferkit-image-api",
    "ferkit-mesh",
    "ferkit-nano",
    "ferkit-open-clip",
    "ferkit-retinaface",
    "ferkit-timm",
    "ferkit-transformers",
)
MARK = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)
ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):(?=<code>)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the marks."""
    return MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles that docstrings carry for editors."""
    return ROLE.sub("", html)


def commands() -> str:
    """Every command with its arguments and options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=command.context_class(command, info_name="ferkit"), name="ferkit")
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", text)  # each has its own section
    return text.partition("\n")[2]  # without the title: the page has one


def components() -> str:
    """Every first-party component with its options, by kind."""
    parts, kind = [], ""
    for item in default_registry().components():
        if item.distribution in FIRST_PARTY:
            heading = "" if item.component.kind == kind else f"## {item.component.kind}\n\n"
            kind = item.component.kind
            parts.append(heading + _component(item))
    return "\n\n".join(parts)


def recipe_keys() -> str:
    """The framework's keys, but for those of ``training``."""
    learnt = ("encoders.NAME.", "learnt", ("text", "`null`", "safetensors with what training put in place of its own"))
    parts = {
        "": Framework,
        "align.": Align,
        "normalizer.": Normalization,
        "normalizer.accept.": Accept,
        "normalizer.accept.identity.": Judge,
        "normalizer.accept.expression.": Judge,
        "prompts.": Prompts,
        "data.": Selection,
    }
    return _table([*_rows(parts, without=("align", "accept", "prompts", "training")), learnt])


def training_keys() -> str:
    """The keys of ``training``."""
    parts = {
        "training.": Training,
        "training.objectives.": Objectives,
        "training.augment.": Augment,
        "training.learn.NAME.": Learn,
        "training.learn.NAME.lora.": Lora,
    }
    return _table(_rows(parts, without=("objectives", "augment", "lora")))


def _rows(parts: dict[str, type[BaseModel]], without: tuple[str, ...]) -> list[tuple[str, str, tuple[str, str, str]]]:
    """Prefix, name and cells of every option of ``parts``, but for those that have rows of their own."""
    return [
        (prefix, name, row)
        for prefix, model in parts.items()
        for name, row in _options(model).items()
        if name not in without
    ]


def _component(item: Registered) -> str:
    component = item.component
    provides = component.provides
    facts = [
        ("distribution", f"`{item.distribution}`"),
        ("needs", _words(component.needs)),
        ("uses", _words(component.uses)),
        ("provides", "as its options say" if callable(provides) else _words(provides)),
        ("weights' licence", component.weights_licence),
        ("commercial use", "" if component.commercial else "no"),
    ]
    lines = [f"### {component.name}", "", f"{component.summary[0].upper()}{component.summary[1:]}.", ""]
    lines += [f"* {name}: {value}" for name, value in facts if value]
    options = _options(component.config)
    table = _table([("", name, row) for name, row in options.items()]) if options else "It has no options."
    return "\n".join([*lines, "", table])


def _words(words: frozenset[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


def _options(model: type[BaseModel]) -> dict[str, tuple[str, str, str]]:
    """Per field what it takes, its default and its meaning."""
    schema = model.model_json_schema()
    return {
        name: (_takes(field), _default(field, name in schema.get("required", ())), _meaning(model, name, field))
        for name, field in schema["properties"].items()
    }


def _takes(field: dict[str, Any]) -> str:
    """The values of a field, in words."""
    if choices := field.get("anyOf"):
        return " or ".join(map(_takes, choices))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    name = {"array": "list", "object": "mapping", "string": "text"}.get(
        field.get("type", ""), field.get("type", "mapping")
    )
    if "items" in field and field["items"].get("type"):
        name += f" of {_takes(field['items'])}"
    limits = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[limit]:g}" for limit, sign in limits.items() if limit in field and field[limit] < 2**62]
    return f"{name}, {', '.join(bounds)}" if bounds else name


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = field.get("default", {})
    if value is None or isinstance(value, bool):
        text = json.dumps(value)
    else:
        text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return f"`{text}`" if text else "empty"


def _meaning(model: type[BaseModel], name: str, field: dict[str, Any]) -> str:
    """The field's description, or what a docstring says of it."""
    if "description" in field:
        return str(field["description"])
    for base in model.__mro__[:-1]:
        if found := re.search(rf"^\s*`*{name}`*: (.+)$", inspect.getdoc(base) or "", re.MULTILINE):
            return found[1]
    return ""


def _table(rows: list[tuple[str, str, tuple[str, str, str]]]) -> str:
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for prefix, name, cells in rows:
        escaped = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| `{prefix}{name}` | {escaped} |")
    return "\n".join(lines)


GENERATED = {
    "commands": commands,
    "components": components,
    "recipe keys": recipe_keys,
    "training keys": training_keys,
}
