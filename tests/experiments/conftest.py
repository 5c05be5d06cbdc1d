import json

import pytest
from tiny_paper import editors, tiny_paper
from typer.testing import CliRunner

from ferkit.cli import app


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Tiny checkpoints in place of the paper's, with the embedded detector, which finds real faces."""
    options = tiny_paper(tmp_path_factory.mktemp("tiny"))
    del options["name"]
    normalizer = {**options["normalizer"], "accept": None}
    return {**options, "detector": {"use": "retinaface"}, "pose": {"use": "landmark-pnp"}, "normalizer": normalizer}


@pytest.fixture
def small_editor(monkeypatch):
    editors().shrink(monkeypatch)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``ferkit reproduce …`` in an empty folder, with what is installed; ``options`` become ``--set``."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, options=None, code=0):
        given = [word for key, value in flat(options or {}) for word in ("--set", f"{key}={json.dumps(value)}")]
        result = CliRunner().invoke(app, ["reproduce", *map(str, arguments), *given])
        assert result.exit_code == code, f"exit code {result.exit_code}, not {code}: {result.output} {result.exception}"
        return result

    return command


def flat(options, before=""):
    for key, value in options.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
