"""What every kind of component is checked for: that it is found, described, configured and built."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel, ValidationError

from ferkit.components import WORDS, Component, Config
from ferkit.errors import FerkitError, RecipeError
from ferkit.hookspecs import hookimpl
from ferkit.interfaces import PROTOCOLS, Context
from ferkit.labels import SEVEN
from ferkit.recipe import load_recipe
from ferkit.registry import GROUP, Registered, Registry, default_registry
from ferkit.types import FeatureSpec
from ferkit.weights import WeightsStore

HEAVY = ("torch", "cv2", "onnxruntime", "timm", "transformers", "diffusers", "open_clip", "face_alignment")
TYPO = "surely-no-such-option"
COMPANION = "conformance-companion"

_LOOK = """
import importlib, sys
from ferkit.registry import Registry
Registry().register(importlib.import_module(sys.argv[1]), "under-test")
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


class ComponentSuite:
    """Checks for a component of any kind; subclass the suite of its kind instead.

    Attributes:
        component: Its name.
        config: Its options, as a recipe would give them beside ``use``; small, so that the checks are quick.
        distribution: The distribution that must own it; None: whichever does.
        entry_module: Import path of the module with its hooks; None: looked up in the distribution's entry points.
        labels: The labels it is built for.
        seed: The seed it is built with.
        training: Whether it is built as for training: for components that have no weights yet.
        expected_failures: Check to the reason why it fails for now. A check that passes after all fails the suite.
    """

    kind: ClassVar[str]
    component: ClassVar[str]
    config: ClassVar[Mapping[str, Any]] = {}
    distribution: ClassVar[str | None] = None
    entry_module: ClassVar[str | None] = None
    labels: ClassVar[tuple[str, ...]] = SEVEN
    seed: ClassVar[int] = 0
    training: ClassVar[bool] = False
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, reason in cls.expected_failures.items():
            check = getattr(cls, name, None)
            if not name.startswith("test_") or not callable(check):
                raise FerkitError(f"{cls.__name__}.expected_failures names {name!r}, which is none of its checks")
            setattr(cls, name, pytest.mark.xfail(reason=reason, strict=True)(_own_copy(check)))

    # What an author may override

    def registry(self) -> Registry:
        """Where the component is looked up: the installed plugins."""
        return default_registry()

    def options(self) -> dict[str, Any]:
        """The component's options; override it where they can't be a class attribute, such as a folder made for tests."""
        return dict(self.config)

    # What the checks are made of

    def registered(self) -> Registered:
        """The component with its owner."""
        name = f"{self.distribution}:{self.component}" if self.distribution else self.component
        return self.registry().get(self.kind, name)

    def validated(self, options: Mapping[str, Any]) -> BaseModel:
        """The configuration that a recipe with these options leads to.

        Raises:
            RecipeError: If they are wrong.
        """
        registered = self.registered()
        registry = Registry()
        registry.register(_Plugin([registered.component, *_COMPANIONS]), registered.distribution, registered.version)
        recipe: dict[str, Any] = {"ferkit": 1, "name": "conformance", "labels": list(self.labels), "seed": self.seed}
        recipe |= {"detector": {"use": COMPANION}, "head": {"use": COMPANION}}
        part = {"use": registered.qualified, **options}
        recipe |= {"encoders": {"any": part if self.kind == "encoder" else {"use": COMPANION}}}
        if self.kind != "encoder":
            recipe["data" if self.kind == "dataset" else self.kind] = part
        loaded = load_recipe(recipe, registry=registry)
        if loaded.data:
            return loaded.data.config
        return loaded.parts()["encoders.any" if self.kind == "encoder" else self.kind].config

    def context(self, device: str = "cpu", dtype: torch.dtype = torch.float32, training: bool | None = None) -> Context:
        """What the component is built in."""
        return Context(
            torch.device(device),
            dtype,
            self.seed,
            self.labels,
            WeightsStore(),
            inputs=self.inputs(),
            training=self.training if training is None else training,
        )

    def inputs(self) -> dict[str, FeatureSpec]:
        """For heads, the encoders before it."""
        return {}

    def build(self, context: Context | None = None, options: Mapping[str, Any] | None = None) -> Any:
        """A new instance, by default on the CPU."""
        module, _, name = self.registered().component.target.partition(":")
        config = self.validated(self.options() if options is None else options)
        return getattr(import_module(module), name)(config, context or self.context())

    # The checks

    def test_is_registered_under_its_name(self) -> None:
        """A recipe finds it by kind and name."""
        registered = self.registered()
        assert registered.component.summary, "Component.summary is empty; listings show it"

    def test_entry_module_is_light(self) -> None:
        """Its hooks are called without importing what is slow to import; the target's module may import it."""
        path = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-c", _LOOK, self.entry_module or self._entry_module(), *HEAVY]
        run = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"its hooks can't be called in a fresh interpreter:\n{run.stderr}"
        assert not run.stdout.split(), (
            f"{command[3]} imports {run.stdout.strip()}: move these imports to the module of Component.target"
        )

    def test_config_is_valid(self) -> None:
        """A recipe may give it the suite's options."""
        self.validated(self.options())

    def test_config_typo_is_refused(self) -> None:
        """An option that it does not have is an error that names it."""
        hint = "derive the configuration from ferkit.Config, which forbids unknown keys"
        try:
            self.validated({**self.options(), TYPO: 1})
        except (RecipeError, ValidationError) as error:
            assert TYPO in str(error), f"the error does not name {TYPO}: {error}"
        else:
            pytest.fail(f"the unknown option {TYPO} was accepted: {hint}")

    def test_config_survives_json(self) -> None:
        """Its configuration is the same after a way through JSON: runs and caches keep it so."""
        config = self.validated(self.options())
        again = type(config).model_validate(json.loads(json.dumps(config.model_dump(mode="json"))))
        assert again == config, f"{again} is not {config}"

    def test_meets_its_protocol(self) -> None:
        """It has the methods and attributes of its kind."""
        protocol = PROTOCOLS[self.kind]
        built = self.build()
        assert isinstance(built, protocol), f"{type(built).__name__} is no {protocol.__name__}: see ferkit.interfaces"

    def _entry_module(self) -> str:
        owner = self.registered().distribution
        points = [p for p in entry_points(group=GROUP) if p.dist and _normal(p.dist.name) == owner]
        assert points, f"{owner} has no entry point in the group {GROUP!r}, and the suite no entry_module"
        return points[0].module


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _own_copy(check: Callable[..., None]) -> Callable[..., None]:
    """A function that can carry a mark without marking the base class's check."""

    @functools.wraps(check)
    def copy(*args: Any, **options: Any) -> None:
        check(*args, **options)

    return copy


class _Plugin:
    def __init__(self, components: Sequence[Component]) -> None:
        self._components = components

    @hookimpl
    def ferkit_components(self) -> Sequence[Component]:
        return self._components


# They complete a recipe so that it can be validated, which imports no target.
_COMPANIONS = [
    Component("detector", COMPANION, Config, "ferkit.testing:none", "gives whatever later parts need", provides=WORDS),
    Component("encoder", COMPANION, Config, "ferkit.testing:none", "gives whatever later parts need", provides=WORDS),
    Component("head", COMPANION, Config, "ferkit.testing:none", "needs nothing"),
]
