"""Which components and recipes are installed, who owns them, and why one can't be had."""

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from ferkit import hookspecs
from ferkit.components import KINDS, Component
from ferkit.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    ComponentError,
    FerkitError,
    NotInstalledError,
    UnknownComponentError,
    WrongKindError,
)

GROUP = "ferkit"
FIRST_PARTY: dict[tuple[str, str], str] = {
    ("detector", "retinaface"): "ferkit-retinaface",
    ("detector", "face-alignment"): "ferkit-face-alignment",
    ("pose", "face-alignment"): "ferkit-face-alignment",
    ("pose", "mesh"): "ferkit-mesh",
    ("normalizer", "mesh-frontal"): "ferkit-mesh",
    ("normalizer", "image-api"): "ferkit-image-api",
    ("normalizer", "qwen-image-edit"): "ferkit-diffusers",
    ("normalizer", "qwen-image-edit-plus"): "ferkit-diffusers",
    ("normalizer", "qwen-image-2.1"): "ferkit-diffusers",
    ("normalizer", "flux-kontext"): "ferkit-diffusers",
    ("normalizer", "instruct-pix2pix"): "ferkit-diffusers",
    ("normalizer", "diffusers-edit"): "ferkit-diffusers",
    ("encoder", "timm"): "ferkit-timm",
    ("encoder", "open-clip"): "ferkit-open-clip",
    ("encoder", "transformers"): "ferkit-transformers",
    ("encoder", "nano"): "ferkit-nano",
}
"""Components of ours that live in distributions of their own, for the install line of an error."""
FIRST_PARTY_RECIPES = {"default": "ferkit-nano"}


@dataclass(frozen=True)
class Registered:
    """A component with its owner."""

    component: Component
    distribution: str
    version: str

    @property
    def qualified(self) -> str:
        """``distribution:name``, which is never ambiguous."""
        return f"{self.distribution}:{self.component.name}"


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that failed to load, kept as data until something needs it."""

    distribution: str
    version: str
    entry_point: str
    cause: BaseException

    @property
    def summary(self) -> str:
        """The cause on one line."""
        return f"{type(self.cause).__name__}: {_text(self.cause)}".splitlines()[0]


@dataclass(frozen=True)
class Plugin:
    """A distribution that was loaded, and the entry points' modules it brought."""

    distribution: str
    version: str


class Registry:
    """Components and recipe folders by plugin. An ordinary object: tests and pipelines can have their own."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("ferkit")
        self._manager.add_hookspecs(hookspecs)
        self._components: list[Registered] = []
        self._folders: list[tuple[str, Path]] = []
        self._registered = 0
        self.plugins: list[Plugin] = []
        self.failures: list[PluginFailure] = []

    @classmethod
    def discover(cls) -> "Registry":
        """The built-ins and every plugin installed under the entry-point group ``ferkit``, loaded one by one.

        ``FERKIT_PLUGINS`` (names of distributions or entry points, comma-separated; empty: none) restricts which;
        ``FERKIT_STRICT=1`` raises what a plugin raised instead of keeping it in ``failures``.
        """
        import ferkit
        from ferkit import builtin

        registry = cls()
        registry.register(builtin, "ferkit", ferkit.__version__)
        strict = os.environ.get("FERKIT_STRICT", "") not in ("", "0")
        for point in _entry_points():
            registry._load(point, strict)
        return registry

    def register(self, module: ModuleType | object, distribution: str, version: str = "0") -> None:
        """Register a module (or any object) that has hook implementations.

        Raises:
            FerkitError: If a hook is misspelt or returns something else than it should; nothing is registered then.
        """
        self._registered += 1
        name = f"{distribution}#{self._registered}"
        self._manager.register(module, name)
        try:
            self._manager.check_pending()
            components = self._call("ferkit_components", name)
            folders = self._call("ferkit_recipes", name)
            for item in components:
                if not isinstance(item, Component):
                    raise FerkitError(
                        f"ferkit_components of {distribution} returned a {type(item).__name__}, not a Component"
                    )
            offered = [(item.kind, item.name) for item in components]
            offered += [
                (r.component.kind, r.component.name) for r in self._components if r.distribution == distribution
            ]
            if twice := sorted({name for name in offered if offered.count(name) > 1}):
                kind, component = twice[0]
                raise FerkitError(f"{distribution} offers the {kind} {component!r} twice: rename one")
        except BaseException:
            self._manager.unregister(name=name)
            raise
        self._components += [Registered(item, distribution, version) for item in components]
        self._components.sort(key=lambda r: (KINDS.index(r.component.kind), r.component.name, r.distribution))
        self._folders = sorted([*self._folders, *((distribution, Path(folder)) for folder in folders)])
        if Plugin(distribution, version) not in self.plugins:
            self.plugins.append(Plugin(distribution, version))

    def _call(self, hook: str, plugin: str) -> list[Any]:
        found: list[Any] = []
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == plugin:
                returned = implementation.function()
                if not isinstance(returned, Sequence) or isinstance(returned, str):
                    raise FerkitError(
                        f"{hook} of {plugin.rpartition('#')[0]} must return a list, not {type(returned).__name__}"
                    )
                found += returned
        return found

    def _load(self, point: EntryPoint, strict: bool) -> None:
        distribution, version = _owner(point)
        try:
            self.register(point.load(), distribution, version)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's plugin raises, SystemExit too, is a row, not our end
            if strict:
                raise BrokenPluginError(
                    f"plugin {point.name} of {distribution} {version} failed to load: {_text(error)}"
                ) from error
            self.failures.append(PluginFailure(distribution, version, point.name, error))

    def components(self, kind: str | None = None) -> list[Registered]:
        """Every component, or those of one kind, sorted by kind, name, distribution."""
        return [item for item in self._components if kind in (None, item.component.kind)]

    def get(self, kind: str, name: str) -> Registered:
        """The component of ``kind`` called ``name`` or ``distribution:name``.

        Raises:
            ComponentError: One of five, each saying what to do next.
        """
        owner, _, short = name.rpartition(":")
        found = [r for r in self.components(kind) if r.component.name == short and owner in ("", r.distribution)]
        if len(found) == 1:
            return found[0]
        if found:
            spellings = " or ".join(item.qualified for item in found)
            raise AmbiguousNameError(f"two plugins own the {kind} {name!r}: write {spellings}")
        raise self._not_found(kind, short, owner)

    def _not_found(self, kind: str, name: str, owner: str) -> ComponentError:
        others = [r for r in self._components if r.component.name == name and owner in ("", r.distribution)]
        if others:
            kinds = " and ".join(sorted({r.component.kind for r in others}))
            return WrongKindError(
                f"{name!r} is of kind {kinds}, not {kind}: put it under that key, or choose {self._choices(kind)}"
            )
        home = FIRST_PARTY.get((kind, name), "")
        for failure in self.failures:
            if failure.distribution in (owner, home) or (not (owner or home) and name in failure.distribution):
                error = BrokenPluginError(
                    f"the {kind} {name!r} belongs to {failure.distribution} {failure.version}, which is installed but "
                    f"failed to load: {failure.summary}"
                )
                error.__cause__ = failure.cause
                return error
        if elsewhere := [r.qualified for r in self.components(kind) if r.component.name == name]:
            return UnknownComponentError(f"{owner} has no {kind} {name!r}: write {' or '.join(elsewhere)}")
        if home and owner in ("", home):
            return NotInstalledError(f"the {kind} {name!r} is in {home}, {_why_not(home)}")
        hint = self._did_you_mean(kind, name)
        broken = "".join(f"; note that {f.distribution} failed to load: {f.summary}" for f in self.failures)
        return UnknownComponentError(f"there is no {kind} {name!r}{hint}: choose {self._choices(kind)}{broken}")

    def _choices(self, kind: str) -> str:
        return ", ".join(sorted({r.component.name for r in self.components(kind)})) or f"… no {kind} is installed"

    def _did_you_mean(self, kind: str, name: str) -> str:
        close = difflib.get_close_matches(name, [r.component.name for r in self.components(kind)], n=2)
        return f" (did you mean {' or '.join(close)}?)" if close else ""

    def recipes(self) -> dict[str, Path]:
        """Shipped recipes by name, sorted. Of two with one name the owner's short form is refused: see :meth:`recipe`."""
        found: dict[str, Path] = {}
        for distribution, path in self.recipe_files():
            name = path.stem if path.stem not in found else f"{distribution}:{path.stem}"
            found[name] = path
        return dict(sorted(found.items()))

    def recipe(self, name: str) -> Path:
        """The file of the shipped recipe called ``name`` or ``distribution:name``.

        Raises:
            ComponentError: If there is none, or there are two.
        """
        owner, _, short = name.rpartition(":")
        found = [(d, path) for d, path in self.recipe_files() if path.stem == short and owner in ("", d)]
        if len(found) == 1:
            return found[0][1]
        if found:
            raise AmbiguousNameError(
                f"two plugins ship a recipe {name!r}: write {' or '.join(f'{d}:{short}' for d, _ in found)}"
            )
        if elsewhere := [f"{d}:{short}" for d, path in self.recipe_files() if path.stem == short]:
            raise UnknownComponentError(f"{owner} ships no recipe {short!r}: write {' or '.join(elsewhere)}")
        if home := FIRST_PARTY_RECIPES.get(short):
            for failure in self.failures:
                if failure.distribution == home:
                    raise BrokenPluginError(
                        f"the recipe {name!r} is in {home}, which is installed but failed to load: {failure.summary}"
                    ) from failure.cause
            raise NotInstalledError(f"the recipe {name!r} is in {home}, {_why_not(home)}")
        names = sorted(self.recipes())
        close = difflib.get_close_matches(short, names, n=2)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise UnknownComponentError(
            f"there is no recipe {name!r}{hint}: choose {', '.join(names) or '… none is installed'}, or give a path that "
            "ends in .yaml"
        )

    def recipe_files(self) -> Iterable[tuple[str, Path]]:
        """Every shipped recipe's file, with the distribution that owns it."""
        for distribution, folder in self._folders:
            for path in sorted(folder.glob("*.yaml")):
                yield distribution, path


@cache
def default_registry() -> Registry:
    """The registry everything uses that is not given one; discovered on first use."""
    return Registry.discover()


def _owner(point: EntryPoint) -> tuple[str, str]:
    return (_normal(point.dist.name), point.dist.version) if point.dist else (point.name, "0")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a stranger's exception, whose __str__ may raise too
        return "(its message can't be shown)"


def _why_not(distribution: str) -> str:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"which is not installed: pip install {distribution}"
    allowed = os.environ.get("FERKIT_PLUGINS")
    cause = "not in this registry" if allowed is None else f"left out by FERKIT_PLUGINS={allowed}"
    return f"which is installed, but {cause}"


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _entry_points() -> list[EntryPoint]:
    """Those of the group, allowed by ``FERKIT_PLUGINS``, each once, sorted by distribution and name."""
    allowed = os.environ.get("FERKIT_PLUGINS")
    names = None if allowed is None else {_normal(name.strip()) for name in allowed.split(",") if name.strip()}
    unique = {(_owner(point)[0], point.name): point for point in entry_points(group=GROUP)}
    return [
        point
        for (distribution, name), point in sorted(unique.items())
        if names is None or distribution in names or _normal(name) in names
    ]
