import inspect
import os
import sys
from pathlib import Path

import pytest
from PIL import Image, features

from ferkit.errors import ImageError
from ferkit.folders import find_images
from ferkit.images import IMAGE_SUFFIXES, decode, source_name

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX file types")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*paths):
    """Paths, and (path, kind) for errors."""

    def plain(item):
        if isinstance(item, Path):
            return item
        path, error = item
        assert str(error).isprintable()
        return path, error.kind

    return [plain(item) for item in find_images(paths)]


def unreadable(path):
    with pytest.raises(ImageError) as caught:
        decode(path)
    return caught.value.kind == "unreadable"


def names(folder, *paths):
    return [path.relative_to(folder).as_posix() for path in found(*paths)]


def test_suffixes():
    usual = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}
    assert usual <= IMAGE_SUFFIXES
    assert (".avif" in IMAGE_SUFFIXES) == bool(features.check("avif"))
    assert not IMAGE_SUFFIXES & {".eps", ".pdf", ".ps", ".txt", ""}


def test_folders_are_searched_in_sorted_order(tmp_path):
    touch(tmp_path, "c.jpg", "a/z.PNG", "a/b/1.webp", "b.txt", "a.JPG", "d/notes.md", "a b/x.gif")
    expected = ["a/b/1.webp", "a/z.PNG", "a b/x.gif", "a.JPG", "c.jpg"]
    assert names(tmp_path, tmp_path) == names(tmp_path, str(tmp_path)) == expected
    assert found(tmp_path) == sorted(found(tmp_path))


def test_hidden_files_and_folders_are_skipped_unless_named(tmp_path):
    touch(tmp_path, ".a.jpg", ".thumbs/b.jpg", "c.jpg")
    assert names(tmp_path, tmp_path) == ["c.jpg"]
    assert names(tmp_path, tmp_path / ".thumbs", tmp_path / ".a.jpg") == [".thumbs/b.jpg", ".a.jpg"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path):
    touch(tmp_path, "notes.txt")
    assert found(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    assert found(tmp_path) == []


def test_each_file_once_in_the_users_spelling(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert found("sub/../a.jpg", "a.jpg", tmp_path / "a.jpg", ".", "sub", "*.jpg") == [
        Path("sub/../a.jpg"),
        Path("sub/b.jpg"),
    ]
    assert found("none.jpg", "none.jpg") == [(Path("none.jpg"), "unreadable")]


def test_a_single_path_is_no_list_of_letters(tmp_path):
    touch(tmp_path, "a.jpg")
    assert list(find_images(str(tmp_path))) == list(find_images(tmp_path)) == [tmp_path / "a.jpg"]


def test_finding_is_lazy(tmp_path):
    touch(tmp_path, "a.jpg")

    def paths():
        yield tmp_path
        raise AssertionError("asked for too much")

    assert next(find_images(paths())) == tmp_path / "a.jpg"


def test_missing_paths_do_not_end_the_search(tmp_path):
    touch(tmp_path, "a.jpg")
    (_, error), path = find_images([tmp_path / "none", tmp_path / "a.jpg"])
    assert error.kind == "unreadable" and str(error) == f"there is no file {tmp_path / 'none'}: check the path"
    assert path == tmp_path / "a.jpg"
    assert found("a\0b")[0][1] == "unreadable"


@posix_only
def test_links_to_folders_are_followed_and_loops_reported_once(tmp_path):
    touch(tmp_path, "real/a.jpg", "root/z.jpg", "root/deep/b.jpg")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "real")
    (root / "deep" / "back").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "gone.jpg").symlink_to("nowhere")
    results = list(find_images([root]))
    assert found(root) == [
        root / "deep" / "b.jpg",
        (root / "deep" / "back", "directory_loop"),
        root / "gone.jpg",
        root / "linked" / "a.jpg",
        root / "z.jpg",
    ]
    assert str(results[1][1]) == f"{root / 'deep' / 'back'} links to a folder it lies in: remove the link"
    assert unreadable(root / "gone.jpg")
    assert found(root / "self") == [(root / "self", "unreadable")]


@posix_only
def test_a_pattern_does_not_follow_loops(tmp_path):
    touch(tmp_path, "a/b/c.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "pool").symlink_to(tmp_path)
    assert names(tmp_path, f"{tmp_path}/**/*.jpg") == ["a/b/c.jpg"]


def test_folders_nested_deeper_than_python_calls(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 300)
    touch(deep, "a.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert found(tmp_path) == [deep / "a.jpg"]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_an_unreadable_folder_is_reported(tmp_path):
    touch(tmp_path, "a/x.jpg", "b.jpg")
    (tmp_path / "a").chmod(0)
    try:
        assert found(tmp_path) == [(tmp_path / "a", "unreadable"), tmp_path / "b.jpg"]
        assert found(f"{tmp_path}/a/*.jpg") == [(tmp_path / "a" / "*.jpg", "unreadable")]
        (tmp_path / "a").chmod(0o400)  # its names can be listed, its files not reached
        assert found(tmp_path / "a") == [(tmp_path / "a" / "x.jpg", "unreadable")]
        assert unreadable(found(f"{tmp_path}/a/*.jpg")[0])
    finally:
        (tmp_path / "a").chmod(0o700)


def test_patterns(tmp_path, monkeypatch):
    touch(tmp_path, "b.jpg", "a.jpg", "n.txt", "sub/c.jpg", "sub/deep/d.png", ".hidden/e.jpg", "sub/.f.jpg", "[x].jpg")
    assert names(tmp_path, f"{tmp_path}/*.jpg") == ["[x].jpg", "a.jpg", "b.jpg"]
    assert names(tmp_path, f"{tmp_path}/?.jpg") == ["a.jpg", "b.jpg"]
    assert names(tmp_path, f"{tmp_path}/[!a].jpg") == ["b.jpg"]
    assert names(tmp_path, f"{tmp_path}/**/*.jpg") == ["[x].jpg", "a.jpg", "b.jpg", "sub/c.jpg"]
    assert names(tmp_path, f"{tmp_path}/sub/**") == ["sub/c.jpg", "sub/deep/d.png"]
    assert names(tmp_path, f"{tmp_path}/s*") == ["sub/c.jpg", "sub/deep/d.png"]
    assert names(tmp_path, f"{tmp_path}/.h*/*") == [".hidden/e.jpg"]
    assert names(tmp_path, f"{tmp_path}/[x].jpg") == ["[x].jpg"]  # exists under that very name
    monkeypatch.chdir(tmp_path)
    assert found("*.txt", "**/d.png") == [Path("n.txt"), Path("sub/deep/d.png")]


@pytest.mark.parametrize("pattern", ["*.tiff", "none/*.jpg", "a**b/x", "[", "none/**"])
def test_a_pattern_without_match(tmp_path, pattern):
    ((path, error),) = find_images([tmp_path / pattern])
    assert path == tmp_path / pattern and error.kind == "unreadable"
    assert str(error) == f"no file matches {tmp_path / pattern}: check the pattern" or pattern == "["


@posix_only
def test_odd_names(tmp_path, monkeypatch):
    odd = ["with space.png", "grün-表情.png", "new\nline.png", "-rf.png", "100%.png", "'quoted\".png"]
    if sys.platform == "linux":
        odd.append(os.fsdecode(b"\xff\xfe.png"))
    for name in odd:
        Image.new("RGB", (4, 3), "red").save(tmp_path / name, "PNG")
    assert sorted(path.name for path in found(tmp_path)) == sorted(odd)
    monkeypatch.chdir(tmp_path)
    for name in odd:
        assert found(name) == [Path(name)] and source_name(name, 0) == name
        assert decode(name).shape == (3, 3, 4)
    assert found("no\nsuch.png") == [(Path("no\nsuch.png"), "unreadable")]
