"""The folder of a run: what of it is removed and when, who trains in it, and what a finished one is worth."""

import os
import stat

import pytest


@pytest.fixture
def umask():
    """A umask that leaves files readable by all: tools that make private ones show."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_files_of_a_run_and_of_the_cache_are_as_readable_as_others(umask, recipe, train, cache):
    run, _ = train(recipe(training={"epochs": 1}))
    files = [path for folder in (run, cache) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".yaml", ".json", ".jsonl", ".md"}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {path.name: 0o644 for path in files}
