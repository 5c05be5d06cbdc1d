import pytest
import torch

from ferkit import FerkitError
from ferkit.cache import Cache

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path):
    found = Cache(tmp_path)
    found.save("views", KEY, {"x": torch.arange(3)}, {"n": "3"})
    return found


def entry(cache):
    return next(cache.folder.rglob("*.safetensors"))


def test_what_was_saved_is_loaded(cache):
    tensors, metadata = cache.load("views", KEY)
    assert tensors["x"].tolist() == [0, 1, 2]
    assert metadata == {"n": "3"}
    assert cache.load("views", "cd" * 32) is None


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_a_damaged_entry_is_made_again(cache, size):
    path = entry(cache)
    path.write_bytes(path.read_bytes()[:size])
    assert cache.load("views", KEY) is None
    assert not path.exists()
    tensors, _ = cache.get("views", KEY, lambda: ({"x": torch.zeros(1)}, {}))
    assert tensors["x"].tolist() == [0]
    assert path.exists()


def test_an_entry_that_cant_be_opened_now_stays(cache):
    resource = pytest.importorskip("resource")
    path, limits = entry(cache), resource.getrlimit(resource.RLIMIT_NOFILE)
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(FerkitError, match=r"can't be read.*Too many open files"):
            cache.load("views", KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert path.read_bytes() == before
    assert cache.load("views", KEY) is not None
