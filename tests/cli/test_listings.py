"""Commands that only look: plugins, recipe, weights."""

import hashlib
import json
import os
import subprocess
import sys

import fakes
import huggingface_hub
import pytest
import yaml

import ferkit
from ferkit import Weights
from ferkit.cli.common import size
from ferkit.components import Config
from ferkit.registry import PluginFailure

HEAVY = {"torch", "cv2", "onnxruntime", "timm", "pandas", "pyarrow", "numpy"}


class WithWeights(Config):
    weights: Weights | None = None


@pytest.fixture
def weighted(registry):
    """An encoder with weights whose licence forbids commercial use."""
    part = fakes.component(
        "encoder",
        "weighted",
        WithWeights,
        "nowhere:Nothing",
        licence="MIT",
        weights_licence="CC-BY-NC-4.0",
        commercial=False,
    )
    registry.register(fakes.plugin(part), "ferkit-weighted", "2.0")


@pytest.fixture
def head(tmp_path):
    """A weights file and its digest."""
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"weights")
    return path, hashlib.sha256(b"weights").hexdigest()


def cells(text):
    return [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def table(text):
    """Rows of a printed table, cells stripped; headings and rule left out."""
    return [[cell.strip() for cell in row] for row in cells(text)[2:]]


def test_version(cli):
    assert cli("--version").stdout == f"ferkit {ferkit.__version__}\n"


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "ferkit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ferkit {ferkit.__version__}\n"


def test_plugins_lists_components_recipes_and_failures(cli, registry, tmp_path):
    (tmp_path / "mine.yaml").write_text("ferkit: 1\ndescription: of mine\n")
    registry.register(fakes.plugin(recipes=[tmp_path]), "ferkit-mine", "3.1")
    registry.failures.append(PluginFailure("ferkit-broken", "0.2", "broken", ImportError("no module named gpu")))
    rows = json.loads(cli("plugins", "--json").stdout)
    assert {frozenset(row) for row in rows} == {
        frozenset({"distribution", "version", "kind", "name", "summary", "licence", "weights_licence"})
    }
    by_name = {(row["kind"], row["name"]): row for row in rows}
    assert by_name["encoder", "colour"]["distribution"] == "ferkit-fakes"
    assert by_name["head", "linear"]["licence"] == "Apache-2.0"
    assert by_name["recipe", "mine"] == {
        "distribution": "ferkit-mine",
        "version": "3.1",
        "kind": "recipe",
        "name": "mine",
        "summary": "of mine",
        "licence": "",
        "weights_licence": "",
    }
    assert by_name["failed", "broken"]["summary"] == "ImportError: no module named gpu"
    printed = cli("plugins").stdout
    assert ["failed", "broken", "ferkit-broken", "0.2", "ImportError: no module named gpu"] in table(printed)
    assert len(table(printed)) == len(rows)


def test_check_prints_licences_and_whether_weights_are_present(cli, weighted, write_recipe, head):
    path, _ = head
    recipe = write_recipe(
        encoders={"w": {"use": "weighted", "weights": "head.safetensors"}},
        head={"use": "linear", "weights": "gone.safetensors"},
    )
    rows = {row[0]: row[1:] for row in table(cli("recipe", "check", recipe).stdout)}
    assert rows == {
        "detector": ["ferkit:whole-image", "0.1.0", "Apache-2.0", "-", "-"],
        "encoders.w": [
            "ferkit-weighted:weighted",
            "2.0",
            "MIT",
            "CC-BY-NC-4.0",
            f"present, {size(path.stat().st_size)}",
        ],
        "head": ["ferkit:linear", "0.1.0", "Apache-2.0", "not stated", "1 of 1 missing"],
    }


def test_check_for_commercial_use(cli, weighted, write_recipe):
    cli("recipe", "check", write_recipe(), "--use", "commercial")
    recipe = write_recipe(encoders={"w": {"use": "weighted"}}, head={"use": "linear"})
    cli("recipe", "check", recipe)
    result = cli("recipe", "check", recipe, "--use", "commercial", code=2)
    assert "not for commercial use; replace these components:" in result.stderr
    assert "encoders.w: ferkit-weighted:weighted (code MIT, weights CC-BY-NC-4.0)" in result.stderr


def test_check_prints_every_problem(cli, write_recipe):
    recipe = write_recipe(align={"size": 1}, head={"use": "nothing"})
    result = cli("recipe", "check", recipe, "--set", "encoders.colour.scales=2", code=2)
    assert "recipe.yaml has 3 problems:" in result.stderr
    for path in ("align.size (", "head.use (", "encoders.colour.scales (override)"):
        assert path in result.stderr


def test_show_is_a_recipe_again(cli, write_recipe, tmp_path):
    recipe = write_recipe(name="ä.yaml", pose={"use": "fixed"}, normalizer={"use": "red", "above_yaw": 20})
    shown = cli("recipe", "show", recipe, "--set", "align={size: 48}").stdout
    (tmp_path / "shown.yaml").write_text(shown, encoding="utf-8")
    assert cli("recipe", "show", "shown.yaml").stdout == shown
    data = yaml.safe_load(shown)
    assert (data["align"]["size"], data["normalizer"]["above_yaw"], data["low_confidence"]) == (48, 20, 0.5)


def test_show_origins(cli, tmp_path, write_recipe):
    write_recipe("base.yaml", head={"use": "linear", "dropout": 0.25})
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nname: top\nhead:\n  use: mlp\n")
    rows = {row[0]: row[1:] for row in table(cli("recipe", "show", "top.yaml", "--origins", "--set", "seed=7").stdout)}
    assert rows["name"] == ["top", "top.yaml:2"]
    assert rows["head.use"] == ["mlp", "top.yaml:4"]
    assert rows["head.dropout"] == ["0.0", "-"]  # what base.yaml says is of another component
    assert rows["seed"] == ["7", "override"]
    assert rows["detector.use"][1].startswith("base.yaml:")


def test_diff(cli, write_recipe):
    a = write_recipe("a.yaml")
    b = write_recipe("b.yaml", align={"size": 32}, pose={"use": "fixed"})
    assert cli("recipe", "diff", a, b).stdout.splitlines() == ["align.size: 16 → 32", "pose.use: absent → fixed"]
    assert cli("recipe", "diff", a, a).stdout == ""


def test_weights_list_path_and_verify(cli, weighted, write_recipe, head):
    path, digest = head
    recipe = write_recipe(
        encoders={"w": {"use": "weighted", "weights": f"head.safetensors#sha256={digest}"}}, head={"use": "linear"}
    )
    assert table(cli("weights", "list", recipe).stdout) == [
        [str(path), digest, "present", size(path.stat().st_size), "CC-BY-NC-4.0"]
    ]
    assert table(cli("weights", "verify", recipe).stdout) == [[str(path), "ok"]]
    assert cli("weights", "path", recipe).stdout == f"{path}\n"
    assert cli("weights", "fetch", recipe).stdout == f"{path}\n"
    path.write_bytes(b"other")
    assert table(cli("weights", "verify", recipe, code=1).stdout) == [[str(path), "altered"]]
    assert "is not the file that was pinned" in cli("weights", "fetch", recipe, code=2).stderr
    path.unlink()
    assert table(cli("weights", "verify", recipe, code=1).stdout) == [[str(path), "missing"]]
    result = cli("weights", "path", recipe, code=1)
    assert result.stdout == ""
    assert f"missing: {path}#sha256={digest} (ferkit weights fetch {recipe})" in result.stderr


def test_verify_tells_the_digest_to_pin(cli, write_recipe, head):
    path, digest = head
    recipe = write_recipe(head={"use": "linear", "weights": "head.safetensors"})
    assert table(cli("weights", "verify", recipe).stdout) == [[str(path), f"not pinned: add #sha256={digest}"]]


def test_a_recipe_without_weights(cli, write_recipe):
    for command in ("list", "verify", "fetch", "path"):
        result = cli("weights", command, write_recipe())
        assert (result.stdout, "loads no weights" in result.stderr) == ("", True)


def test_fetch_offline_and_failing(cli, write_recipe, monkeypatch):
    weights = "hf://owner/name/head.safetensors@main#sha256=" + "0" * 64
    recipe = write_recipe(head={"use": "linear", "weights": weights})

    def unreachable(*_, **__):
        raise OSError("the hub can't be reached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    message = f"error: {weights} can't be downloaded: OSError: the hub can't be reached"
    assert message in cli("weights", "fetch", recipe, code=2).stderr
    monkeypatch.setenv("FERKIT_OFFLINE", "1")
    assert "FERKIT_OFFLINE forbids downloads" in cli("weights", "fetch", recipe, code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["plugins"],
        ["plugins", "--json"],
        ["recipe", "check", "recipe.yaml"],
        ["recipe", "show", "recipe.yaml", "--origins"],
        ["recipe", "diff", "recipe.yaml", "recipe.yaml"],
        ["recipe", "schema"],
        ["weights", "list", "recipe.yaml"],
        ["weights", "path", "recipe.yaml"],
        ["weights", "verify", "recipe.yaml"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_by_what_only_looks(write_recipe, tmp_path, arguments, head):
    core = {"encoders": {"none": {"use": "none"}}, "head": {"use": "linear", "weights": "head.safetensors"}}
    write_recipe(**core)
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('MODULES', *sys.modules))\n"
        "from ferkit.cli import main\n"
        f"sys.argv = ['ferkit', *{arguments!r}]\n"
        "main()\n"
    )
    fakes.install(
        tmp_path / "installed",
        "light-plugin",
        "from ferkit import Component, Config, hookimpl\n"
        "@hookimpl\n"
        "def ferkit_components():\n"
        "    return [Component('encoder', 'none', Config, 'torch:nothing', 'for tests')]\n",
    )
    search = os.pathsep.join([str(tmp_path / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": search, "FERKIT_PLUGINS": "light-plugin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.rpartition("MODULES")[2].split())
    assert "ferkit.cli" in modules
    assert modules & HEAVY == set()
