"""The documentation does what it says: a reader follows each page from top to bottom, in an empty folder."""

import re
import shlex
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

import ferkit
from ferkit import testing
from ferkit.cli import app
from ferkit.cli.normalize import COLUMNS as NORMALIZED
from ferkit.errors import ImageError
from ferkit.evaluation.edits import edit_columns
from ferkit.evaluation.rows import ADDED as EVALUATED
from ferkit.recipe import load_recipe
from ferkit.recipe_model import Accept, Align, Framework, Judge, Normalization, Prompts, Selection
from ferkit.registry import default_registry
from ferkit.results import columns
from ferkit.training.options import Augment, Lora, Objectives, Training
from ferkit.types import FLAGS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(\w+)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
REFERENCE = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it shows or None, and where it stands."""

    language: str
    title: str | None
    text: str
    where: str
    runs: bool


def blocks(page):
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        title = re.search(r'title="([^"]+)"', match[3])
        if title and "/" in title[1]:
            continue  # an excerpt of the example plugin: tests/test_write_a_plugin.py
        line = text.count("\n", 0, match.start(4))
        yield Block(match[2], title and title[1], match[4], f"{page.relative_to(ROOT)}:{line}", match[1] is None)


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Do what a block says, in a folder with the examples and some photos, as one who has come to it from above."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "examples" / "images" / "astronaut.jpg", tmp_path / "photos")
    shutil.copy(ROOT / "examples" / "images" / "astronaut.jpg", tmp_path / "portrait.jpg")
    (tmp_path / "scans").mkdir()
    shutil.copy(ROOT / "examples" / "images" / "astronaut.jpg", tmp_path / "scans" / "one.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "page"}

    def step(block):
        if block.language == "python":
            code = compile("\n" * int(block.where.rpartition(":")[2]) + block.text, block.where, "exec")
            if block.runs:
                exec(code, names)
        elif block.language == "yaml" and block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
            if block.title != "wrong.yaml":
                load_recipe(block.title)
        elif block.language == "yaml":
            load_recipe({"extends": "default", "name": "fragment", **(yaml.safe_load(block.text) or {})})
        elif block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                command(line, block, monkeypatch)

    return step


def command(line, block, monkeypatch):
    """Run a line's ``ferkit`` command; one behind a pipe, or in a block that does not run, is only looked up."""
    piped = line.rpartition("|")[2].strip()
    words = shlex.split(piped.partition(" > ")[0], comments=True)
    variables = [words.pop(0).split("=", 1) for word in list(words) if re.match(r"[A-Z_]+=", word)]
    if not words or words[0] != "ferkit":
        return
    looked_up(words[1:], block.where)
    if "|" in line or not block.runs:
        return
    expected = re.search(r"# exits (\d+)", line)
    with monkeypatch.context() as patch:
        for name, value in variables:
            patch.setenv(name, value)
        default_registry.cache_clear()
        done = CliRunner().invoke(app, words[1:])
    default_registry.cache_clear()
    assert done.exit_code == int(expected[1] if expected else 0), (
        f"{block.where}: {line} exits {done.exit_code}\n{done.output}{done.exception or ''}"
    )


def looked_up(words, where):
    """Check that a command and its options exist."""
    found = typer.main.get_command(app)
    while words and (inner := getattr(found, "commands", {}).get(words[0])):
        found, words = inner, words[1:]
    assert not getattr(found, "commands", None) or words[:1] in ([], ["--help"], ["--version"]), f"{where}: {words}"
    known = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    used = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert used <= known, f"{where}: no option {used - known}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_can_be_followed(page, follow):
    for block in blocks(page):
        try:
            follow(block)
        except Exception as error:
            error.add_note(f"in the {block.language} block at {block.where}")
            raise


def test_blocks_are_found():
    found = [block for page in PAGES for block in blocks(page)]
    for language in ("python", "yaml", "bash"):
        assert sum(block.language == language for block in found) > 10
    fences = sum(len(re.findall(r"^```\w", page.read_text(encoding="utf-8"), re.MULTILINE)) for page in PAGES)
    assert fences == sum(len(BLOCK.findall(page.read_text(encoding="utf-8"))) for page in PAGES)


def test_the_errors_that_the_tutorial_shows(follow, tmp_path):
    page = DOCS / "tutorial" / "recipe.md"
    (wrong,) = [block for block in blocks(page) if block.title == "wrong.yaml"]
    follow(wrong)
    done = CliRunner().invoke(app, ["recipe", "check", "wrong.yaml"])
    (shown,) = [block.text for block in blocks(page) if block.language == "text"]
    assert shown == done.stderr.replace(f"{tmp_path}/", "")


def test_the_error_of_a_misspelt_override(follow):
    (shown,) = [block.text for block in blocks(DOCS / "tutorial" / "first-steps.md") if block.language == "text"]
    done = CliRunner().invoke(app, ["predict", "photos/", "--set", "align.methd=box"])
    assert shown == done.stderr


LINKED = sorted({*ROOT.glob("*.md"), *PAGES, *ROOT.glob("examples/**/*.md"), *ROOT.glob("plugins/*/*.md")})


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    targets = LINK.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


def test_every_example_recipe_is_valid():
    recipes = sorted((ROOT / "examples" / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        load_recipe(path)


def test_every_line_that_an_example_offers_is_valid():
    """What stands behind a # is meant to be uncommented, alone."""
    path = ROOT / "examples" / "recipes" / "swap.yaml"
    offered = re.findall(r"^# ((?:detector|encoders|head|pose|normalizer): .*)$", path.read_text("utf-8"), re.MULTILINE)
    assert len(offered) >= 3
    for line in offered:
        load_recipe(path, yaml.safe_load(line))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_documents_every_public_name_and_both_hooks(site):
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    last = {name.rpartition(".")[2] for name in documented}
    missing = set(ferkit.__all__) - last - {"__version__"}
    assert not missing, f"add the modules of {missing} to docs/reference/python/"
    assert {"ferkit.hookspecs.ferkit_components", "ferkit.hookspecs.ferkit_recipes"} <= documented
    assert {f"ferkit.testing.{name}" for name in testing.__all__} <= documented


def test_the_site_has_pages_and_no_code_of_its_own(site):
    assert (site / "index.html").is_file()
    assert not list(site.rglob("*.py"))


def test_the_generated_reference_has_every_command_component_and_option(site):
    text = {path.parent.name: path.read_text(encoding="utf-8") for path in (site / "reference").glob("*/index.html")}
    assert "generated:" not in "".join(text.values())
    for path in commands(typer.main.get_command(app), "ferkit"):
        assert f"<code>{path}</code>" in text["cli"]
    items = [item for item in default_registry().components() if item.distribution != "ferkit-example-hog"]
    for item in items:
        assert re.search(rf"<h3 id=[^>]+>{re.escape(item.component.name)}<", text["components"])
        for option in item.component.config.model_fields:
            assert f"<code>{option}</code>" in text["components"]
    parts = {"align.": Align, "normalizer.": Normalization, "prompts.": Prompts, "data.": Selection}
    parts |= {"normalizer.accept.": Accept, "normalizer.accept.identity.": Judge}
    parts |= {"training.objectives.": Objectives, "training.augment.": Augment, "training.learn.NAME.lora.": Lora}
    for prefix, model in parts.items():
        for name in set(model.model_fields) - {"accept"}:  # its keys have rows of their own
            assert f"<code>{prefix}{name}</code>" in text["recipe"]
    for name in ("on_no_face", "encoders.NAME.learnt", "training.epochs", "training.learn", "training.learn.NAME.text"):
        assert f"<code>{name}</code>" in text["recipe"]


def commands(command, path):
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{path} {name}"
        yield from commands(inner, f"{path} {name}")


def test_the_page_of_recipes_shows_every_key():
    (block,) = [block for block in blocks(DOCS / "reference" / "recipe.md") if block.title == "every-key.yaml"]
    shown = yaml.safe_load(block.text)
    assert set(shown) == {"extends", *Framework.model_fields}
    assert set(shown["align"]) == set(Align.model_fields)
    assert set(shown["prompts"]) == set(Prompts.model_fields)
    assert set(shown["normalizer"]) >= set(Normalization.model_fields)
    assert set(shown["normalizer"]["accept"]) == set(Accept.model_fields)
    assert set(shown["data"]) >= set(Selection.model_fields)
    assert set(shown["training"]) == set(Training.model_fields)
    assert set(shown["training"]["objectives"]) == set(Objectives.model_fields)
    assert set(shown["training"]["augment"]) == set(Augment.model_fields)


def test_every_flag_column_and_kind_of_error_is_explained():
    flags = REFERENCE["flags-and-columns"]
    for name in (*FLAGS, *columns(["neutral"]), *NORMALIZED, *EVALUATED, *edit_columns(["NAME"])):
        assert f"`{name}`" in flags, f"docs/reference/flags-and-columns.md says nothing of {name}"
    kinds = re.search(r"One of ``([a-z_, ]+)``", ImageError.__doc__)[1].split(", ")
    names = [name for name in ferkit.__all__ if name.endswith("Error")]
    for name in (*kinds, *names):
        assert f"`{name}`" in REFERENCE["errors"] or f"`ferkit.{name}`" in REFERENCE["errors"], name


def test_every_variable_of_the_environment_is_explained():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ferkit").rglob("*.py"))
    page = (DOCS / "how-to" / "offline-and-weights.md").read_text(encoding="utf-8")
    read = set(re.findall(r"environ\.get\(\"(FERKIT_\w+)\"", sources))
    assert read
    assert read == set(re.findall(r"`(FERKIT_\w+)=", page))
