"""The how-to for plugin authors shows the example plugin as it is."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import fakes
import pytest
import torch

import ferkit
from ferkit import Registry, builtin
from ferkit.testing import DetectorSuite

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
EVERY = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)

SNIPPETS = [(file, text) for file, text in EVERY if not file.startswith("my-plugin/")]
WHOLE = {file: text for file, text in EVERY if file.startswith("my-plugin/")}


def test_the_whole_plugin_works_as_it_stands(tmp_path, monkeypatch):
    for file, text in WHOLE.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = tomllib.loads(WHOLE["my-plugin/pyproject.toml"])["project"]
    assert project["entry-points"]["ferkit"] == {"my-plugin": "my_plugin"}
    monkeypatch.syspath_prepend(tmp_path / "my-plugin" / "src")
    registry = Registry()
    registry.register(builtin, "ferkit")
    registry.register(fakes.plugin(*fakes.COMPONENTS), "ferkit-fakes")
    registry.register(import_module("my_plugin"), project["name"], project["version"])
    fer = ferkit.pipeline(fakes.recipe(detector={"use": "fixed"}), registry=registry)
    assert fer(torch.zeros(3, 40, 80))[0].box == (20, 10, 60, 30)
    names = {}
    exec(WHOLE["my-plugin/tests/test_fixed.py"], names)
    suite = names["TestFixed"]
    assert issubclass(suite, DetectorSuite)
    monkeypatch.setattr(suite, "registry", lambda self: registry)
    for check in ("test_nothing_in_nothing_out", "test_batch_equals_singles", "test_config_typo_is_refused"):
        getattr(suite(), check)()


def test_page_has_snippets():
    assert len(SNIPPETS) >= 5


@pytest.mark.parametrize(("file", "text"), SNIPPETS, ids=[file for file, _ in SNIPPETS])
def test_snippet_is_in_the_example(file, text):
    assert text in (ROOT / "examples" / "plugin" / file).read_text()


def test_example_imports_public_names_only():
    sources = [*(ROOT / "examples" / "plugin").rglob("*.py")]
    imports = {
        line for path in sources for line in path.read_text().splitlines() if re.match(r"(from|import) ferkit\b", line)
    }
    modules = {line.split()[1] for line in imports}
    assert modules <= {"ferkit", "ferkit.testing"}
