"""Recipes: everything validated, with all errors at once, before anything is built."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ferkit.complaints import explained, field_types, told, written_path
from ferkit.components import (
    FRAMEWORK_KEYS,
    JUDGE_KEYS,
    JUDGES,
    map_texts,
    operational_fields,
    path_fields,
    weight_fields,
    weight_references,
)
from ferkit.errors import ComponentError, FerkitError, Problem, RecipeError
from ferkit.layers import HISTORY, Keys, Layer, extend, from_mapping, is_path, merge, read_recipe_file
from ferkit.recipe_model import Framework, Normalization, Selection
from ferkit.registry import Registered, Registry, default_registry
from ferkit.weights import Reference

Model = TypeVar("Model", bound=BaseModel)
RecipeSource = str | PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A component chosen by a recipe, with its validated configuration.

    Attributes:
        learnt: Reference to tensors that training put in place of its own, or None.
    """

    registered: Registered
    config: BaseModel
    use: str
    learnt: str | None = None

    @property
    def name(self) -> str:
        """The component's short name."""
        return self.registered.component.name

    @property
    def provides(self) -> frozenset[str]:
        """The words it adds."""
        return self.registered.component.provided(self.config)

    @property
    def weights(self) -> list[Reference]:
        """All weights it leads to; those that its configuration names were checked for their format when it was read."""
        texts = [*self.registered.component.weights(self.config), *([self.learnt] if self.learnt else [])]
        return [Reference.parse(text, library=True) for text in texts]

    def as_dict(self) -> dict[str, Any]:
        """``use`` and every option, defaults included."""
        learnt = {"learnt": self.learnt} if self.learnt else {}
        return {"use": self.use, **self.config.model_dump(mode="json"), **learnt}


@dataclass(frozen=True)
class Recipe:
    """A validated recipe. Nothing is built yet, no weights are read.

    Attributes:
        judges: Encoders inside ``normalizer.accept``, by their names there.
        source: The name or path it was read by; empty if it was a mapping.
    """

    framework: Framework
    detector: Part
    pose: Part | None
    normalizer: Part | None
    normalization: Normalization
    judges: dict[str, Part]
    encoders: dict[str, Part]
    head: Part
    layer: Layer
    data: Part | None = None
    selection: Selection = field(default_factory=Selection)
    source: str = ""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.framework.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of every result's columns."""
        return self.framework.labels

    def parts(self) -> dict[str, Part]:
        """Every component by its path in the recipe, in the order an image passes them."""
        single = {"detector": self.detector, "pose": self.pose, "normalizer": self.normalizer}
        judges = {f"normalizer.accept.{name}": part for name, part in self.judges.items()}
        encoders = {f"encoders.{name}": part for name, part in self.encoders.items()}
        return {path: part for path, part in {**single, **judges, **encoders, "head": self.head}.items() if part}

    def resolved(self) -> dict[str, Any]:
        """The whole recipe as plain data with every default filled in; valid as a recipe itself."""
        data = self.framework.model_dump(mode="json", exclude_none=True)
        data["detector"] = self.detector.as_dict()
        if self.pose:
            data["pose"] = self.pose.as_dict()
        if self.normalizer:
            data["normalizer"] = {**self.normalizer.as_dict(), **self.normalization.model_dump(mode="json")}
            for name, part in self.judges.items():
                data["normalizer"]["accept"][name] |= part.as_dict()
        data["encoders"] = {name: part.as_dict() for name, part in self.encoders.items()}
        data["head"] = self.head.as_dict()
        if self.data:
            data["data"] = {**self.data.as_dict(), **self.selection.model_dump(mode="json", exclude_defaults=True)}
        return data

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a result: the resolved recipe, pinned weights by their digest alone.

        Options that change no result (:data:`ferkit.OPERATIONAL`, ``normalizer.cache``) are not among it.
        """
        data = self.resolved()
        for key in ("name", "description", "data", "training"):
            data.pop(key, None)
        data.get("normalizer", {}).pop("cache", None)
        for path, part in self.parts().items():
            options = data
            for key in path.split("."):
                options = options[key]
            options["use"] = f"{part.registered.component.kind} {part.registered.qualified}"
            for name in operational_fields(type(part.config)):
                del options[name]
            for name in [*weight_fields(type(part.config)), *(["learnt"] if part.learnt else [])]:
                options[name] = map_texts(options[name], lambda text: Reference.parse(text).sha256 or text)
        data["encoders"] = list(data["encoders"].items())  # their order decides the order of features
        text = json.dumps(data, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def load_recipe(
    source: RecipeSource = "default", overrides: Mapping[str, Any] | None = None, *, registry: Registry | None = None
) -> Recipe:
    """Read and validate a recipe.

    Args:
        source: A shipped recipe's name, a path to a YAML file or a run's folder, or the recipe as a mapping.
        overrides: Nested or dotted keys on top, such as ``{"normalizer.above_yaw": 45}``; None removes an entry.
        registry: Where components are looked up; the installed plugins by default.

    Raises:
        RecipeError: With every problem found, each with its path and line.
        ComponentError: If ``source`` names no shipped recipe.
    """
    registry = registry or default_registry()
    if overrides is not None and not isinstance(overrides, Mapping):
        raise RecipeError([Problem("", f"overrides must be a mapping, not {type(overrides).__name__}", "override")])
    if isinstance(source, Mapping):
        layer, read_by = extend(from_mapping(source, "recipe"), Path.cwd(), registry.recipe), ""
    else:
        text = str(source)
        is_run = any((Path(text) / name).is_file() for name in ("recipe.yaml", HISTORY))
        named = not text or (
            isinstance(source, str) and not is_path(text) and (text in registry.recipes() or not is_run)
        )
        path = registry.recipe(text) if named else Path(text)
        layer, read_by = read_recipe_file(path, registry.recipe), text
    if overrides:
        layer = merge(layer, from_mapping(overrides))
    return _Validation(layer, registry, read_by).recipe()


def load_data(data: str, overrides: Mapping[str, Any] | None = None, *, registry: Registry | None = None) -> Part:
    """A data set without a recipe, validated as ``data`` of one.

    Args:
        data: ``NAME:PATH``.
        overrides: As of :func:`load_recipe`, below ``data``: ``{"data.images": "original"}``.
        registry: Where it is looked up; the installed plugins by default.

    Raises:
        RecipeError: With every problem found.
        FerkitError: If ``data`` is not written so.
    """
    name, colon, path = data.partition(":")
    if not (name and colon and path):
        raise FerkitError(f"{data}: write NAME:PATH, such as fer2013:DATA/fer2013")
    layer = from_mapping({"data.use": name, "data.path": str(Path(path).absolute())})
    layer = merge(layer, from_mapping(overrides or {}))
    validation = _Validation(layer, registry or default_registry(), data)
    part = validation.part("dataset", "data")
    if part is None:
        raise RecipeError(validation.problems, data)
    return part


class _Validation:
    """Collects problems while the parts are looked up, configured and checked against each other."""

    def __init__(self, layer: Layer, registry: Registry, source: str) -> None:
        self.layer, self.registry, self.source = layer, registry, source
        self.problems: list[Problem] = []

    def recipe(self) -> Recipe:
        data = dict(self.layer.data)
        for key in ("encoders", "align", "prompts"):  # a null that removes nothing there is no problem
            if isinstance(inner := data.get(key), dict):
                data[key] = {name: value for name, value in inner.items() if value is not None}
        if data.get("ferkit", 1) != 1 or data.get("ferkit") is True:
            self._add(("ferkit",), f"format {data['ferkit']!r} is unknown: this ferkit reads format 1")
            raise RecipeError(self.problems, self.source or "recipe")
        training = data.get("training")
        if isinstance(training, dict) and is_path(str(training.get("teacher"))):
            teacher = self._resolve(("training", "teacher"), training["teacher"])
            data["training"] = {**training, "teacher": teacher}
        framework = self._model(Framework, data, ())
        detector = self._part("detector", ("detector",), data.get("detector"))
        pose = self._part("pose", ("pose",), data.get("pose"))
        normalizer = self._part("normalizer", ("normalizer",), data.get("normalizer"))
        judges, accept = self._judges(data.get("normalizer"))
        normalization = self._own(Normalization, "normalizer", accept)
        named = data.get("encoders")
        found = {
            name: self._part("encoder", ("encoders", name), options)
            for name, options in (named.items() if isinstance(named, dict) else ())
        }
        head = self._part("head", ("head",), data.get("head"))
        dataset = self._part("dataset", ("data",), data.get("data"))
        selection = self._own(Selection, "data", data.get("data"))
        if framework:
            for label in set(framework.prompts.words) - set(framework.labels):
                self._add(("prompts", "words", label), f"is none of the labels {', '.join(framework.labels)}")
            learn = framework.training.learn if framework.training else ()
            for name in set(learn) - set(found) if isinstance(learn, dict) else ():
                self._add(("training", "learn", name), f"is none of the encoders {', '.join(found)}")
        encoders = {name: part for name, part in found.items() if part}
        if self.problems or not (framework and detector and head and normalization and selection):
            raise RecipeError(self.problems, self.source or "recipe")
        components = (detector, pose, normalizer, normalization, judges, encoders, head)
        recipe = Recipe(framework, *components, self.layer, dataset, selection, self.source)
        self._wiring(recipe)
        if self.problems:
            raise RecipeError(self.problems, self.source or "recipe")
        return recipe

    def part(self, kind: str, key: str) -> Part | None:
        """The component under ``key``, of a layer that holds nothing else; None where there are problems."""
        for other in self.layer.data.keys() - {key}:
            self._add((other,), f"there is no recipe here, only {key}: leave it out")
        found = self._part(kind, (key,), self.layer.data.get(key))
        return None if self.problems else found

    def _add(self, keys: Keys, message: str) -> None:
        self.problems.append(Problem(".".join(keys), message, str(self.layer.origin(keys))))

    def _model(
        self, model: type[Model], data: Mapping[str, Any], keys: Keys, beside: Sequence[str] = ()
    ) -> Model | None:
        """``data`` as ``model``; what is wrong is added to the problems. A null that removes nothing is no problem.

        ``beside`` are further keys that may stand there.
        """
        known = {
            key: value
            for key, value in data.items()
            if value is not None or key not in model.model_fields or type(None) in field_types(model, key)
        }
        try:
            return model.model_validate(known)
        except ValidationError as error:
            for item in told(error):
                path = (*keys, *written_path(item["loc"], known))
                self._add(path, explained(item, model, beside))
            return None

    def _part(self, kind: str, keys: Keys, options: Any) -> Part | None:
        if not isinstance(options, dict):
            return None  # absent, or refused by the framework's model already
        name = options.get("use")
        if not isinstance(name, str):
            self._add(keys, f"must name its component: add `use: …` ({self._choices(kind)})")
            return None
        try:
            registered = self.registry.get(kind, name)
        except ComponentError as error:
            if isinstance(error.__cause__, BaseException):
                raise
            self._add((*keys, "use"), str(error))
            return None
        model = registered.component.config
        framework = ("use", *(JUDGE_KEYS if keys[:2] == ("normalizer", "accept") else FRAMEWORK_KEYS.get(keys[0], ())))
        own = {key: value for key, value in options.items() if key not in framework}
        for option in path_fields(model):
            if own.get(option) == "":
                self._add((*keys, option), "is empty: name a file or a folder")
                return None
            if option in own:
                own[option] = self._resolve((*keys, option), own[option])
        config = self._model(model, own, keys, framework[1:])
        if config is None:
            return None
        for text in weight_references(config):
            try:
                Reference.parse(text).require_pin()
            except FerkitError as error:
                option = next(name for name in weight_fields(model) if text in json.dumps(own.get(name)))
                self._add((*keys, option), str(error))
        return Part(registered, config, name, self._learnt((*keys, "learnt"), options.get("learnt")))

    def _resolve(self, keys: Keys, value: Any) -> Any:
        """The paths in ``value``, relative to the file that holds them."""
        return map_texts(value, partial(_absolute, folder=self.layer.origin(keys).folder))

    def _learnt(self, keys: Keys, text: Any) -> str | None:
        """The reference of an encoder's ``learnt`` tensors."""
        if text is None or keys[0] != "encoders":
            return None
        if not isinstance(text, str):
            self._add(keys, f"must be a reference to a safetensors file, not {text!r}")
            return None
        found: str = self._resolve(keys, text)
        try:
            Reference.parse(found).require_pin()
        except FerkitError as error:
            self._add(keys, str(error))
        return found

    def _own(self, model: type[Model], key: str, options: Any) -> Model | None:
        """The framework's keys beside a component's."""
        given = options if isinstance(options, dict) else {}
        return self._model(model, {name: given[name] for name in FRAMEWORK_KEYS[key] if name in given}, (key,))

    def _judges(self, normalizer: Any) -> tuple[dict[str, Part], Any]:
        """The encoders inside ``normalizer.accept``, and ``normalizer`` with the framework's keys alone left of them."""
        accept = normalizer.get("accept") if isinstance(normalizer, dict) else None
        if not isinstance(accept, dict):
            return {}, normalizer
        given = {name: accept[name] for name in JUDGES if isinstance(accept.get(name), dict)}
        parts = {name: self._part("encoder", ("normalizer", "accept", name), given[name]) for name in given}
        own = {name: {key: options[key] for key in JUDGE_KEYS if key in options} for name, options in given.items()}
        judges = {name: part for name, part in parts.items() if part}
        return judges, {**normalizer, "accept": {**accept, **own}}

    def _choices(self, kind: str) -> str:
        names = sorted({item.component.name for item in self.registry.components(kind)})
        return ", ".join(names) or f"no {kind} is installed"

    def _wiring(self, recipe: Recipe) -> None:
        """Every component's needs are met by those before it."""
        available: frozenset[str] = frozenset()
        encoded: frozenset[str] = frozenset()
        for path, part in recipe.parts().items():
            before = available | encoded if path == "head" else available
            if missing := part.registered.component.needs - before:
                given = f"what comes before it gives {', '.join(sorted(before)) or 'nothing but boxes'}"
                givers = self._estimators(missing)
                remedy = f"take `pose: {{use: {givers[0]}}}`" if givers else "choose others"
                self._add(
                    (*path.split("."), "use"),
                    f"{part.name!r} needs {', '.join(sorted(missing))}; {given}: {remedy}",
                )
            if path.startswith("encoders."):
                encoded |= part.provides
            elif part.registered.component.kind != "encoder":
                available |= part.provides
        if recipe.normalizer and not recipe.pose and "pose" not in recipe.detector.provides:
            fitting = self._estimators(recipe.normalizer.registered.component.needs - recipe.detector.provides)
            name = fitting[0] if fitting and "landmark-pnp" not in fitting else "landmark-pnp"
            self._without_pose(recipe.normalization, f"add, say, `pose: {{use: {name}}}`")
        if recipe.normalizer and not recipe.normalizer.registered.component.cheap:
            self._found_again(recipe.detector)

    def _found_again(self, detector: Part) -> None:
        if not detector.registered.component.looks:
            self._add(
                ("detector", "use"),
                f"{detector.name!r} looks at no picture, so it can't find a face again that an editor returned: choose one "
                "that looks, such as retinaface. A data set's crops are taken as they are all the same, and its annotated faces "
                "are matched with those that it finds",
            )

    def _estimators(self, wanted: frozenset[str]) -> list[str]:
        """Names of the pose estimators that give all that is wanted, whatever their options."""
        components = [item.component for item in self.registry.components("pose")]
        return [each.name for each in components if not callable(each.provides) and wanted <= each.provides]

    def _without_pose(self, normalization: Normalization, remedy: str) -> None:
        if normalization.no_pose == "keep":
            self._add(("normalizer",), f"faces are turned by their pose: {remedy}")
        if normalization.accept.judges_pose:
            self._add(("normalizer", "accept"), f"what was turned is judged by its pose: {remedy}")


def _absolute(text: str, folder: Path) -> str:
    return text if "://" in text or Path(text).is_absolute() else str((folder / text).absolute())
