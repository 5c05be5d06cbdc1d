"""What holds for the repository as a whole."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from public_api import describe

import ferkit
from ferkit.interfaces import PROTOCOLS
from ferkit.registry import default_registry

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(ROOT.glob("plugins/*/pyproject.toml"))
FIRST_PARTY = {"ferkit", *(path.parent.name for path in PACKAGES)}
LONGEST = 450
HEAVY = ("torch", "cv2", "onnxruntime", "timm", "transformers", "diffusers", "open_clip")
TRAINING = ("accelerate", "peft", "sklearn", "tensorboard", "torchvision")
LOOK = f"""
import sys
import ferkit
from ferkit.cli import app

def heavy(after):
    found = sorted(set({HEAVY!r}) & set(sys.modules))
    assert not found, f"{{after}} imports {{found}}"

heavy("import ferkit")
for command in ("--help", "plugins", "recipe check default", "recipe show default", "weights verify default"):
    app(command.split(), standalone_mode=False)
    heavy(f"ferkit {{command}}")

import ferkit.cli.predict, ferkit.pipelines
found = sorted(set({TRAINING!r}) & set(sys.modules))
assert not found, f"what predicts imports {{found}}"
"""


def project(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_the_public_names_are_those_that_were_agreed_on():
    agreed = (ROOT / "tests" / "public_api.txt").read_text(encoding="utf-8").splitlines()
    assert list(describe()) == agreed, (
        "the public interface changed. If that is meant, say so in CHANGELOG.md, and: "
        "python tests/public_api.py > tests/public_api.txt"
    )


def test_modules_can_be_read_in_one_sitting():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (ROOT / "ferkit", ROOT / "plugins")
        for path in folder.rglob("*.py")
    }
    assert lengths
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_what_only_looks_is_light_with_every_first_party_plugin(monkeypatch):
    monkeypatch.setenv("FERKIT_PLUGINS", ",".join(sorted(FIRST_PARTY)))
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


OURS = [item for item in default_registry().components() if item.distribution in FIRST_PARTY]


def test_every_first_party_distribution_brings_components():
    assert {item.distribution for item in OURS} == FIRST_PARTY


@pytest.mark.parametrize("item", OURS, ids=[f"{item.component.kind}-{item.component.name}" for item in OURS])
def test_a_first_party_target_can_be_imported_and_has_what_its_kind_needs(item):
    module, _, name = item.component.target.partition(":")
    target = getattr(import_module(module), name)
    protocol = PROTOCOLS[item.component.kind]
    methods = [name for name, value in vars(protocol).items() if callable(value) and name in ("__call__", "samples")]
    assert methods
    assert [method for method in methods if not callable(getattr(target, method, None))] == []


def test_first_party_distributions_share_one_version():
    assert PACKAGES
    versions = {path.parent.name: project(path)["version"] for path in PACKAGES}
    versions["ferkit"] = project(ROOT / "pyproject.toml")["version"]
    assert set(versions.values()) == {ferkit.__version__}, versions


def test_first_party_distributions_bear_their_folders_name():
    assert [project(path)["name"] for path in PACKAGES] == [path.parent.name for path in PACKAGES]


def test_no_file_names_a_folder_of_somebodys_machine():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    absolute = re.compile(r"(?<![\w.~/-])/(?:{})/".format("|".join(("work", "tmp", "home", "root"))))
    found = []
    for name in filter(None, tracked.stdout.split("\0")):
        try:
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError):  # a picture or weights; a file that was just removed
            continue
        found += [f"{name}:{number}" for number, line in enumerate(lines, 1) if absolute.search(line)]
    assert found == []
