"""A recipe's layers: files, what they extend, and overrides, merged with the origin of every value remembered."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ferkit.components import SURVIVING
from ferkit.errors import Problem, RecipeError

Keys = tuple[str, ...]
HISTORY = "history.jsonl"  # a run has it from its beginning, and its recipe at the end
MOST, DEEPEST = 10_000, 20  # aliases let a short YAML file stand for an endless one


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a file and its line, or ``text`` for what was given in code or on the command line."""

    file: Path | None = None
    line: int | None = None
    text: str = "override"

    @property
    def folder(self) -> Path:
        """What relative paths are relative to."""
        return self.file.parent if self.file else Path.cwd()

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return place if self.file else self.text


@dataclass
class Layer:
    """Nested plain data, the origin of every key by its path, and what it extends, as written."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, Origin] = field(default_factory=dict)
    parents: tuple[str, ...] = ()

    def origin(self, keys: Keys) -> Origin:
        """The origin of ``keys``, or of the nearest mapping around it."""
        while keys and keys not in self.origins:
            keys = keys[:-1]
        return self.origins.get(keys, Origin(text="recipe"))


class _Loader(yaml.SafeLoader):
    """Safe YAML that keeps line numbers and refuses a key written twice."""

    lines: dict[int, dict[str, int]]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: ARG002
        lines: dict[str, int] = {}
        own = [key_node for key_node, _ in node.value if key_node.tag != "tag:yaml.org,2002:merge"]
        for key_node in own:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} must be text", key_node.start_mark
                )
            if key in lines:
                text = f"the key {key!r} is written twice, first on line {lines[key]}"
                raise yaml.constructor.ConstructorError(None, None, text, key_node.start_mark)
            lines[key] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=True)
        self.lines[id(mapping)] = lines
        return mapping


def _construct(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct)


def read_file(path: Path) -> Layer:
    """One YAML file as a layer.

    Raises:
        RecipeError: If it can't be read, is no safe YAML, or no mapping; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem("", f"can't be read: {error}", str(path))], str(path)) from error
    data, lines = _parse(text, path)
    if not isinstance(data, dict):
        raise RecipeError([Problem("", "must be a mapping that starts with `ferkit: 1`", str(path))], str(path))
    layer = Layer(data, {(): Origin(path)})

    def remember(mapping: dict[str, Any], keys: Keys) -> None:
        if len(keys) > DEEPEST or len(layer.origins) > MOST:
            message = f"holds more than {MOST} keys, or keys nested deeper than {DEEPEST}: is it a recipe?"
            raise RecipeError([Problem("", message, str(path))], str(path))
        for key, value in mapping.items():
            line = lines[id(mapping)].get(key)  # none for what a YAML merge key brought
            layer.origins[*keys, key] = Origin(path, line) if line else layer.origin(keys)
            if isinstance(value, dict):
                remember(value, (*keys, key))

    remember(data, ())
    return layer


def _parse(text: str, path: Path) -> tuple[Any, dict[int, dict[str, int]]]:
    """YAML as plain data, and the lines of its mappings' keys by the mapping's id."""
    loader = None
    try:
        loader = _Loader(text)
        loader.lines = {}
        return loader.get_single_data(), loader.lines
    except (ValueError, RecursionError) as error:
        raise RecipeError(
            [Problem("", f"is no recipe: {type(error).__name__}: {error}", str(path))], str(path)
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        message = f"{getattr(error, 'problem', None) or error}".strip().splitlines()[0]
        if "tag" in message:
            message += "; a recipe is plain YAML and names registered components only"
        raise RecipeError([Problem("", message, where)], str(path)) from error
    finally:
        if loader:
            loader.dispose()


def from_mapping(mapping: Mapping[str, Any], text: str = "override") -> Layer:
    """A nested mapping, dotted keys allowed, as a layer; ``text`` is the origin that problems name."""
    layer = Layer()

    def put(target: dict[str, Any], keys: Keys, key: str, value: Any) -> None:
        first, dot, rest = str(key).partition(".")
        if not first or (dot and not rest):
            raise RecipeError([Problem(".".join((*keys, str(key))), "write keys as `normalizer.above_yaw`", text)])
        path = (*keys, first)
        layer.origins[path] = Origin(text=text)
        if rest or isinstance(value, Mapping):
            inner = target.setdefault(first, {})
            if not isinstance(inner, dict):
                inner = target[first] = {}
            for name, item in {rest: value}.items() if rest else value.items():
                put(inner, path, name, item)
        else:
            target[first] = os.fspath(value) if isinstance(value, os.PathLike) else value

    for key, value in mapping.items():
        put(layer.data, (), key, value)
    return layer


def merge(base: Layer, over: Layer) -> Layer:
    """``over`` on top of ``base``, deep; None removes; a changed ``use`` drops the old component's own options."""
    result = Layer({}, {**over.origins, **base.origins}, base.parents)

    def inner(low: dict[str, Any], high: dict[str, Any], keys: Keys) -> dict[str, Any]:
        if "use" in low and high.get("use", low["use"]) != low["use"]:
            kept = SURVIVING.get(keys[0], ()) if keys else ()
            low = {key: value for key, value in low.items() if key in kept}
        merged = dict(low)
        for key, value in high.items():
            path = (*keys, key)
            result.origins[path] = over.origin(path)
            if value is None and key in merged:
                del merged[key]
            elif isinstance(value, dict):
                before = merged.get(key)
                merged[key] = inner(before if isinstance(before, dict) else {}, value, path)
            else:
                merged[key] = value
        return merged

    result.data = inner(base.data, over.data, ())
    return result


def read_recipe_file(path: Path, find: Callable[[str], Path], seen: tuple[Path, ...] = ()) -> Layer:
    """A recipe file on top of everything it extends.

    Args:
        path: The file, or a run's folder, which holds a ``recipe.yaml``.
        find: From a shipped recipe's name to its file.
        seen: The files that led here, to catch a circle.

    Raises:
        RecipeError: If a file can't be read, a run is not finished, or recipes extend each other in a circle.
    """
    if path.is_dir():
        run, path = path, path / "recipe.yaml"
        if (run / HISTORY).exists() and not path.exists():
            message = "this run's training is not finished: give the `ferkit train` command that began it again"
            raise RecipeError([Problem("", message, str(run))], str(run))
    real = path.resolve()
    if real in seen:
        circle = " → ".join(file.name for file in (*seen, real))
        raise RecipeError(
            [Problem("extends", f"recipes extend each other in a circle: {circle}", str(path))], str(path)
        )
    return extend(read_file(path), path.parent, find, (*seen, real))


def extend(layer: Layer, folder: Path, find: Callable[[str], Path], seen: tuple[Path, ...] = ()) -> Layer:
    """``layer`` on top of what its ``extends`` names: shipped recipes, or paths relative to ``folder``; later ones win."""
    parents = layer.data.pop("extends", None)
    merged = Layer()
    several = [] if parents is None else parents if isinstance(parents, list) else [parents]
    for parent in several:
        if not isinstance(parent, str):
            where = str(layer.origin(("extends",)))
            raise RecipeError([Problem("extends", f"must name recipes or their paths, not {parent!r}", where)])
        file = folder / parent if is_path(parent) else find(parent)
        merged = merge(merged, read_recipe_file(file, find, seen))
    merged.parents = tuple(several)
    return merge(merged, layer)


def is_path(text: str) -> bool:
    """Whether ``text`` is meant as a path rather than the name of a shipped recipe."""
    return text.endswith((".yaml", ".yml")) or "/" in text or os.sep in text
