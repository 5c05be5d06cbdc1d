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
from ferkit.testing import DetectorSuite, NormalizerSuite

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
EVERY = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)

OWN = ("my-plugin/", "my-turner/")
SNIPPETS = [(file, text) for file, text in EVERY if not file.startswith(OWN)]
WHOLE = {file: text for file, text in EVERY if file.startswith(OWN)}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The page's own plugins as files, ready to import; with a registry of built-ins and fakes."""
    for file, text in WHOLE.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in OWN:
        monkeypatch.syspath_prepend(tmp_path / name / "src")
    registry = Registry()
    registry.register(builtin, "ferkit")
    registry.register(fakes.plugin(*fakes.COMPONENTS), "ferkit-fakes")
    return registry


def checks(file, name, registry, monkeypatch):
    """The suite that a listing makes, its checks by name."""
    names = {}
    exec(WHOLE[file], names)
    monkeypatch.setattr(names[name], "registry", lambda self: registry)
    return names[name]


def test_the_whole_plugin_works_as_it_stands(written, monkeypatch):
    project = tomllib.loads(WHOLE["my-plugin/pyproject.toml"])["project"]
    assert project["entry-points"]["ferkit"] == {"my-plugin": "my_plugin"}
    written.register(import_module("my_plugin"), project["name"], project["version"])
    fer = ferkit.pipeline(fakes.recipe(detector={"use": "fixed"}), registry=written)
    assert fer(torch.zeros(3, 40, 80))[0].box == (20, 10, 60, 30)
    suite = checks("my-plugin/tests/test_fixed.py", "TestFixed", written, monkeypatch)
    assert issubclass(suite, DetectorSuite)
    for check in ("test_nothing_in_nothing_out", "test_batch_equals_singles", "test_config_typo_is_refused"):
        getattr(suite(), check)()


def test_the_whole_normalizer_works_as_it_stands(written, monkeypatch):
    written.register(import_module("my_turner"), "my-turner", "0.1.0")
    suite = checks("my-turner/tests/test_halves.py", "TestHalves", written, monkeypatch)
    assert issubclass(suite, NormalizerSuite)
    for check in (
        "test_nothing_in_nothing_out",
        "test_batch_equals_singles",
        "test_faces_without_landmarks",
        "test_turns_the_portrait",
        "test_config_typo_is_refused",
    ):
        getattr(suite(), check)()
    made = fakes.recipe(pose={"use": "fixed"}, normalizer={"use": "halves", "above_yaw": 30})
    picture = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    results = list(ferkit.pipeline(made, registry=written).normalize([picture, picture]))
    assert [result.faces[0].decision for result in results] == ["not_turned", "turned"]
    view = results[1].faces[0].view
    assert torch.allclose(view, view.flip(2), atol=1 / 255)
    assert float(view[0, 8, 0]) < float(view[0, 8, 8])  # of a face turned to the right the left half is kept


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
