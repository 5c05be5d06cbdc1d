"""``ferkit cache``: every room counted, cleared, checked; nothing else touched."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ferkit.cache import Cache


@pytest.fixture
def cache():
    """Two rooms with two entries each, and files that are none of them."""
    found = Cache()
    for index in range(2):
        found.save("views", f"{index:064x}", {"x": torch.arange(3)}, {})
        picture = torch.arange(192, dtype=torch.uint8).reshape(3, 8, 8)
        found.save_picture("turned", f"{index:064x}", picture if index else None, {"seconds": 0.5})
    (found.folder / "notes.txt").write_text("mine")
    (found.folder / "turned" / "00" / "notes.png").write_text("mine")
    return found


def files(cache):
    return sorted(path.name for path in cache.folder.rglob("*") if path.is_file() and path.name[0] == "0")


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_info_counts_every_room(cli, cache):
    found = json.loads(cli("cache", "info", "--json").stdout)
    assert found["folder"] == str(cache.folder)
    assert [(room["name"], room["entries"]) for room in found["rooms"]] == [("turned", 2), ("views", 2)]
    assert all(room["bytes"] > 0 and room["oldest"] <= room["newest"] for room in found["rooms"])
    assert "views" in cli("cache", "info").stdout


def test_an_empty_cache_is_no_error(cli):
    assert "it is empty" in cli("cache", "info").stderr
    cli("cache", "clear", "--yes")
    cli("cache", "clear", "turned", "--yes")
    assert "0 entries read, 0 damaged" in cli("cache", "verify").stderr


def test_clear_one_room_or_all_and_nothing_else(cli, cache):
    told = cli("cache", "clear", "nosuch", "--yes", code=2).stderr
    assert "there is no room 'nosuch': choose features, teacher, turned, views" in told
    cli("cache", "clear", "turned", "--yes")
    assert [name.rpartition(".")[2] for name in files(cache)] == ["safetensors"] * 2
    removed = json.loads(cli("cache", "clear", "--yes", "--json").stdout)["removed"]
    assert removed["views"]["entries"] == 2
    assert files(cache) == []
    assert (cache.folder / "notes.txt").exists()
    assert (cache.folder / "turned" / "00" / "notes.png").exists()


def test_clear_asks_first(cli, cache):
    cli("cache", "clear", "views", stdin="n\n", code=1)
    assert len(files(cache)) == 4
    cli("cache", "clear", "views", stdin="y\n")
    assert len(files(cache)) == 2


def test_clear_by_age(cli, cache):
    old = next(cache.folder.rglob("*1.png"))
    age(old, 3 * 86400)
    cli("cache", "clear", "--older-than", "4d", "--yes")
    assert len(files(cache)) == 4
    cli("cache", "clear", "--older-than", "2d", "--yes")
    assert len(files(cache)) == 3 and not old.exists()
    assert "write a number and s, m, h, d or w" in cli("cache", "clear", "--older-than", "2 days", "-y", code=2).stderr


@pytest.mark.parametrize("suffix", [".png", ".json", ".safetensors"])
def test_verify_removes_what_is_damaged(cli, cache, suffix):
    assert "4 entries read, 0 damaged" in cli("cache", "verify").stderr
    path = next(path for path in cache.folder.rglob(f"0*{suffix}"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged, removed: " in cli("cache", "verify", code=1).stderr
    assert not path.exists()
    assert json.loads(cli("cache", "verify", "--json").stdout)["entries"] == 3


def test_verify_finds_a_picture_whose_pixels_changed(cli, cache):
    path = next(cache.folder.rglob("0*.png"))
    with Image.open(path) as kept:
        note = PngInfo()
        note.add_itxt("ferkit", kept.info["ferkit"])
        changed = kept.copy()
    changed.putpixel(
        (0, 0), (1, 2, 3)
    )  # a sound PNG of other pixels: what a reader that skips checksums makes of damage
    changed.save(path, pnginfo=note)
    assert cache.load_picture("turned", path.stem) is None
    changed.save(path, pnginfo=note)
    assert "damaged, removed: " in cli("cache", "verify", code=1).stderr
    assert not path.exists()


@pytest.mark.parametrize("text", ["{}", "[]", '{"seconds": 1.0}', '{"seconds": 1.0, "crc32": 1}'])
def test_verify_finds_a_note_of_somebody_else(cli, cache, text):
    path = next(cache.folder.rglob("0*.json"))
    path.write_text(text)
    assert cache.load_picture("turned", path.stem) is None
    path.write_text(text)
    assert "damaged, removed: " in cli("cache", "verify", code=1).stderr


def test_verify_sweeps_what_killed_processes_left(cli, cache):
    fresh, old = (
        Path(cache.folder, "views", "00", f".{'0' * 64}.safetensors.{name}.tmp") for name in ("0123abcd", "4567abcd")
    )
    for path in (fresh, old):
        path.write_bytes(b"half")
    age(old, 2 * 3600)
    assert json.loads(cli("cache", "verify", "--json").stdout)["left_behind"] == 1
    assert fresh.exists() and not old.exists()
