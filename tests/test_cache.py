import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ferkit import FerkitError
from ferkit.cache import Cache

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path):
    found = Cache(tmp_path)
    found.save("views", KEY, {"x": torch.arange(3)}, {"n": "3"})
    return found


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_a_picture_is_noticed_or_harmless(tmp_path, place, bit):
    cache = Cache(tmp_path)
    picture = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    cache.save_picture("turned", KEY, picture, {"score": 0.5})
    (path,) = tmp_path.rglob("*.png")
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    found = cache.load_picture("turned", KEY)
    assert found is None or (torch.equal(found[0], picture) and found[1] == {"score": 0.5})


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
