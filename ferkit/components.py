"""What a plugin says of its components, without importing their code."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from ferkit.errors import FerkitError

Kind = Literal["detector", "pose", "normalizer", "encoder", "head", "dataset"]
KINDS: tuple[str, ...] = get_args(Kind)
WORDS = frozenset({"landmarks:5", "landmarks:68", "landmarks:mesh", "pose", "tokens", "logits", "text"})

FRAMEWORK_KEYS = {
    "normalizer": ("above_yaw", "above_pitch", "no_pose", "keep", "accept", "samples", "cache"),
    "encoders": ("learnt",),
    "data": ("split", "validation", "drop_labels"),
}
"""By a recipe's key: options beside ``use`` that belong to the framework."""
JUDGES, JUDGE_KEYS = ("identity", "expression"), ("min_cosine",)
"""Encoders inside ``normalizer.accept``, and the framework's keys beside their ``use``."""
SURVIVING = {key: names for key, names in FRAMEWORK_KEYS.items() if key != "encoders"}
"""Those that stay when the component changes; what an encoder learnt goes with it."""
_KEYS = {"encoder": "encoders", "dataset": "data"}
RESERVED = {kind: frozenset({"use", *FRAMEWORK_KEYS.get(_KEYS.get(kind, kind), ())}) for kind in KINDS}
RESERVED["encoder"] |= set(JUDGE_KEYS)

WEIGHTS = "ferkit-weights"
Weights = Annotated[str, WEIGHTS]
"""Type of a config field that names weights: ``pkg://package/file``, ``hf://repo/file@revision`` or a path, each with
``#sha256=…``. Relative paths resolve against the recipe that holds them. A field of models that each hold one reference, and
no other text, is marked as a whole: ``Annotated[tuple[Lora, ...], WEIGHTS]``."""

_PATH = "ferkit-path"
LocalPath = Annotated[str, _PATH]
"""Type of a config field that names another file or folder; resolved like :data:`Weights`."""

OPERATIONAL = "ferkit-operational"
"""Mark of a config field that does not change what the component gives, such as a timeout:
``timeout: Annotated[float, OPERATIONAL] = 60``. What is cached stays valid when it changes."""


class Config(BaseModel):
    """Base of component configurations: unknown keys are errors, numbers are finite, values can't be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def _marked(model: type[BaseModel], *marks: str) -> list[str]:
    def marks_of(annotation: Any) -> set[Any]:
        inner = [marks_of(argument) for argument in get_args(annotation) if not isinstance(argument, str)]
        return set(getattr(annotation, "__metadata__", ())).union(*inner)

    names = []
    for name, info in model.model_fields.items():
        if (set(map(str, info.metadata)) | set(map(str, marks_of(info.annotation)))) & set(marks):
            names.append(name)
    return names


def path_fields(model: type[BaseModel]) -> list[str]:
    """Names of the fields that hold paths: :data:`Weights` and :data:`LocalPath`."""
    return _marked(model, WEIGHTS, _PATH)


def weight_fields(model: type[BaseModel]) -> list[str]:
    """Names of the fields that hold :data:`Weights`."""
    return _marked(model, WEIGHTS)


def operational_fields(model: type[BaseModel]) -> list[str]:
    """Names of the fields marked :data:`OPERATIONAL`."""
    return _marked(model, OPERATIONAL)


def weight_references(config: BaseModel) -> list[str]:
    """The weights a configuration names, also those inside its lists and mappings."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    map_texts(config.model_dump(include=set(weight_fields(type(config)))), note)
    return found


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with ``change`` applied to every text in it, through lists, tuples and mappings."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_texts(item, change) for item in value)
    return value


@dataclass(frozen=True)
class Component:
    """A component by description; its class is imported only when a pipeline is built.

    Args:
        kind: Which of a recipe's parts it can be.
        name: Its name in recipes: lower case, digits and hyphens.
        config: Pydantic model of its options; derive it from :class:`Config`.
        target: ``"package.module:Class"``, called as ``Class(config, context)``.
        summary: One line for listings.
        licence: SPDX identifier of the code.
        weights_licence: Licence of the weights it brings or loads by default, or ``""`` where it has none.
        commercial: False where code or weights forbid commercial use.
        needs: Words (:data:`WORDS`) without which it can't run.
        uses: Words it takes where earlier components provide them.
        provides: Words it adds for later ones; a function of the config where that decides.
        weights: The weights a config leads to, where they are not simply those of its :data:`Weights` fields.
        cheap: Of a normalizer: computed about as fast as read from a disk. What it gives is not cached, unless a recipe
            says ``cache: true``.
        looks: Of a detector: whether it looks at pictures. One that does not can't find a face again that was edited.
    """

    kind: Kind
    name: str
    config: type[BaseModel]
    target: str
    summary: str
    licence: str = "Apache-2.0"
    weights_licence: str = ""
    commercial: bool = True
    needs: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    provides: frozenset[str] | Callable[[Any], Iterable[str]] = frozenset()
    weights: Callable[[Any], Iterable[str]] = weight_references
    cheap: bool = False
    looks: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FerkitError(f"component {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not self.name or set(self.name) - set("abcdefghijklmnopqrstuvwxyz0123456789-."):
            raise FerkitError(
                f"component name {self.name!r} may hold lower-case letters, digits, hyphens and dots only"
            )
        if self.target.count(":") != 1:
            raise FerkitError(f"component {self.name!r}: target {self.target!r} must read 'package.module:Class'")
        if not issubclass(self.config, BaseModel) or self.config.model_config.get("extra") != "forbid":
            raise FerkitError(
                f"component {self.name!r}: derive its config from ferkit.Config, which refuses unknown keys"
            )
        if taken := RESERVED[self.kind] & set(self.config.model_fields):
            raise FerkitError(
                f"component {self.name!r}: its option {min(taken)!r} is the framework's: call it something else"
            )
        for words in ("needs", "uses", *(() if callable(self.provides) else ("provides",))):
            object.__setattr__(self, words, self._words(getattr(self, words)))

    def _words(self, words: Iterable[str]) -> frozenset[str]:
        if unknown := set(words) - WORDS:
            known = ", ".join(sorted(WORDS))
            raise FerkitError(f"component {self.name!r}: {', '.join(sorted(unknown))} is none of the words {known}")
        return frozenset(words)

    def provided(self, config: BaseModel) -> frozenset[str]:
        """The words this component provides under ``config``."""
        return self._words(self.provides(config)) if callable(self.provides) else self.provides
