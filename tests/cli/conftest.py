import shutil
from pathlib import Path

import fakes
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import ferkit.registry
from ferkit.cli import app

PHOTOS = Path(__file__).parents[2] / "examples" / "images"


@pytest.fixture
def cli(registry, monkeypatch, tmp_path):
    """Run a command in an empty folder, with the built-ins and the fakes as what is installed."""
    monkeypatch.setattr(ferkit.registry, "default_registry", lambda: registry)
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def run(*arguments, code=0, stdin=None):
        result = runner.invoke(app, [str(argument) for argument in arguments], input=stdin)
        assert result.exit_code == code, f"exit code {result.exit_code}, not {code}: {result.output} {result.exception}"
        return result

    return run


@pytest.fixture
def write_recipe(tmp_path):
    """Write a recipe of built-ins and fakes; returns its path."""

    def write(name="recipe.yaml", **changes):
        path = tmp_path / name
        path.write_text(yaml.safe_dump(fakes.recipe(**changes)))
        return path

    return write


@pytest.fixture
def photos(tmp_path):
    """A folder with a real photo and two plain pictures: three inputs, in this order."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(min(PHOTOS.glob("*.jpg")), folder / "a.jpg")
    Image.new("RGB", (20, 16), "lime").save(folder / "b.png")
    Image.new("RGB", (24, 16), "blue").save(folder / "c.png")
    return folder
