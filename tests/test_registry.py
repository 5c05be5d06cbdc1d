import sys
from types import SimpleNamespace

import pytest
from fakes import component, install, plugin
from pydantic import BaseModel, create_model

from ferkit import ComponentError, Config, FerkitError, Registry, hookimpl
from ferkit.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    NotInstalledError,
    UnknownComponentError,
    WrongKindError,
)
from ferkit.registry import FIRST_PARTY, FIRST_PARTY_RECIPES

GOOD = """
from ferkit import Component, Config, hookimpl

@hookimpl
def ferkit_components():
    return [Component("encoder", "{name}", Config, "nowhere:Nothing", "a test")]
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path where plugins can be installed."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("FERKIT_STRICT", raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(registry, kind):
    return [item.component.name for item in registry.components(kind)]


def test_discover_finds_builtins_and_an_installed_plugin(site):
    install(site, "acme-faces", GOOD.format(name="acme"))
    registry = Registry.discover()
    assert "acme" in names(registry, "encoder")
    assert {"whole-image", "given"} <= set(names(registry, "detector"))
    assert registry.get("encoder", "acme").distribution == "acme-faces"
    assert registry.get("encoder", "acme").version == "1.0"


def test_a_plugin_that_fails_to_import_is_a_row_and_the_others_work(site):
    install(site, "acme-broken", "import no_such_module_at_all")
    install(site, "acme-faces", GOOD.format(name="acme"))
    registry = Registry.discover()
    assert "acme" in names(registry, "encoder")
    [failure] = [f for f in registry.failures if f.distribution == "acme-broken"]
    assert failure.version == "1.0"
    assert "no_such_module_at_all" in failure.summary


def test_strict_raises_at_once(site, monkeypatch):
    install(site, "acme-broken", "raise RuntimeError('no licence key')")
    monkeypatch.setenv("FERKIT_STRICT", "1")
    with pytest.raises(BrokenPluginError, match=r"acme-broken 1.0 failed to load: no licence key"):
        Registry.discover()


@pytest.mark.parametrize("allowed", ["acme-one", "acme_one", "plugin-of-one", " acme-one , other"])
def test_allow_list_by_distribution_or_entry_point(site, monkeypatch, allowed):
    install(site, "acme-one", GOOD.format(name="one"), entry="plugin-of-one")
    install(site, "acme-two", GOOD.format(name="two"))
    monkeypatch.setenv("FERKIT_PLUGINS", allowed)
    assert names(Registry.discover(), "encoder") == ["one"]


def test_empty_allow_list_leaves_the_builtins(site, monkeypatch):
    install(site, "acme-one", GOOD.format(name="one"))
    monkeypatch.setenv("FERKIT_PLUGINS", "")
    registry = Registry.discover()
    assert names(registry, "encoder") == []
    assert "whole-image" in names(registry, "detector")


def test_a_misspelt_hook_is_a_failure(site):
    code = "from ferkit import hookimpl\n@hookimpl\ndef ferkit_componets():\n    return []"
    install(site, "acme-typo", code)
    [failure] = [f for f in Registry.discover().failures if f.distribution == "acme-typo"]
    assert "ferkit_componets" in failure.summary


@pytest.mark.parametrize(
    ("returned", "text"), [(None, "must return a list, not NoneType"), (["x"], "returned a str, not a Component")]
)
def test_hooks_that_return_something_else_are_refused(returned, text):
    @hookimpl
    def ferkit_components():
        return returned

    registry = Registry()
    with pytest.raises(FerkitError, match=text):
        registry.register(SimpleNamespace(ferkit_components=ferkit_components), "acme")
    assert registry.components() == []


def test_listing_does_not_depend_on_the_order_of_registration():
    plugins = [
        ("b", plugin(component("encoder", "x"))),
        ("a", plugin(component("encoder", "y"), component("head", "x"))),
    ]
    listings = []
    for order in (plugins, plugins[::-1]):
        registry = Registry()
        for name, module in order:
            registry.register(module, name)
        listings.append([(r.component.kind, r.qualified) for r in registry.components()])
    assert listings[0] == listings[1] == [("encoder", "b:x"), ("encoder", "a:y"), ("head", "a:x")]


def test_two_owners_of_a_name_are_an_error_only_when_the_short_name_is_used(registry):
    registry.register(plugin(component("encoder", "colour")), "acme")
    with pytest.raises(AmbiguousNameError, match="write acme:colour or ferkit-fakes:colour"):
        registry.get("encoder", "colour")
    assert registry.get("encoder", "acme:colour").distribution == "acme"


def test_misspelt_name_gets_the_closest(registry):
    with pytest.raises(UnknownComponentError, match=r"no encoder 'color' \(did you mean colour\?\): choose colour"):
        registry.get("encoder", "color")


def test_name_of_another_kind_says_which(registry):
    with pytest.raises(WrongKindError, match="'colour' is of kind encoder, not head: put it under"):
        registry.get("head", "colour")


def test_first_party_but_not_installed_gets_the_install_line(registry, monkeypatch):
    monkeypatch.setitem(FIRST_PARTY, ("detector", "ours"), "ferkit-ours")
    monkeypatch.setitem(FIRST_PARTY_RECIPES, "our", "ferkit-ours")
    with pytest.raises(NotInstalledError, match="is in ferkit-ours, which is not installed: pip install ferkit-ours"):
        registry.get("detector", "ours")
    with pytest.raises(NotInstalledError, match="recipe 'our' is in ferkit-ours, which is not installed: pip install"):
        registry.recipe("our")


def test_what_an_allow_list_leaves_out_is_not_called_missing(site, monkeypatch):
    install(site, "acme-ours", GOOD.format(name="ours"))
    monkeypatch.setitem(FIRST_PARTY, ("encoder", "ours"), "acme-ours")
    monkeypatch.setenv("FERKIT_PLUGINS", "other")
    with pytest.raises(NotInstalledError, match="which is installed, but left out by FERKIT_PLUGINS=other"):
        Registry.discover().get("encoder", "ours")


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "class E(BaseException):\n    pass\nraise E"])
def test_a_plugin_can_not_end_the_program(site, code):
    install(site, "acme-exit", code)
    assert "acme-exit" in [failure.distribution for failure in Registry.discover().failures]


def test_a_failure_whose_message_raises_is_still_a_row(site):
    install(site, "acme-odd", "class E(Exception):\n    def __str__(self):\n        raise ValueError\nraise E")
    [failure] = [failure for failure in Registry.discover().failures if failure.distribution == "acme-odd"]
    assert failure.summary == "E: (its message can't be shown)"


def test_a_distribution_can_have_many_entry_points(registry):
    for name in "abcd":
        registry.register(plugin(component("encoder", f"multi-{name}")), "acme")
    owned = [r.component.name for r in registry.components("encoder") if r.distribution == "acme"]
    assert owned == [f"multi-{name}" for name in "abcd"]


def test_the_right_name_under_the_wrong_owner_says_the_owner(registry):
    with pytest.raises(UnknownComponentError, match="acme has no encoder 'colour': write ferkit-fakes:colour"):
        registry.get("encoder", "acme:colour")


def test_installed_but_broken_gets_the_cause(site, monkeypatch):
    monkeypatch.setitem(FIRST_PARTY, ("detector", "ours"), "ferkit-ours")
    install(site, "ferkit-ours", "import no_such_module_at_all", version="9.9")
    registry = Registry.discover()
    with pytest.raises(
        BrokenPluginError, match=r"ferkit-ours 9.9, which is installed but failed to load: ModuleNo"
    ) as caught:
        registry.get("detector", "ours")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_unknown_recipe_lists_those_there_are(registry, tmp_path):
    (tmp_path / "mine.yaml").write_text("ferkit: 1")
    registry.register(plugin(recipes=[tmp_path]), "acme")
    assert registry.recipe("mine") == tmp_path / "mine.yaml"
    with pytest.raises(ComponentError, match=r"no recipe 'mien' \(did you mean mine\?\)"):
        registry.recipe("mien")


def test_one_distribution_can_not_own_a_name_twice(registry):
    with pytest.raises(FerkitError, match="ferkit-fakes offers the encoder 'colour' twice: rename one"):
        registry.register(plugin(component("encoder", "colour")), "ferkit-fakes")
    assert registry.get("encoder", "colour").version == "1.0"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "encodr"}, "kind 'encodr' is none of detector"),
        ({"name": "Big Name"}, "may hold lower-case letters"),
        ({"target": "module.Class"}, "must read 'package.module:Class'"),
        ({"needs": frozenset({"landmark:5"})}, "landmark:5 is none of the words"),
        ({"provides": ["logit"]}, "logit is none of the words"),
        ({"config": BaseModel}, "derive its config from ferkit.Config"),
        ({"config": create_model("C", __base__=Config, use=(int, 0))}, "its option 'use' is the framework's"),
    ],
)
def test_a_wrong_description_is_refused(change, text):
    with pytest.raises(FerkitError, match=text):
        component(**({"kind": "encoder", "name": "x"} | change))
