import pytest
import torch
from fakes import CLIP, COMPONENTS, plugin
from hypothesis import HealthCheck, settings

from ferkit import Registry, builtin

# A busy machine is slow, not wrong.
settings.register_profile("ferkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ferkit")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def registry():
    """The built-ins and the fakes, nothing that happens to be installed."""
    found = Registry()
    found.register(builtin, "ferkit", "0.1.0")
    found.register(plugin(*COMPONENTS), "ferkit-fakes", "1.0")
    return found


@pytest.fixture
def clip_registry(registry):
    """The same, and an encoder with text."""
    registry.register(plugin(CLIP), "ferkit-clip", "1.0")
    return registry


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """A cache that nobody else has: normalizers of tests are asked, whatever was asked before."""
    monkeypatch.setenv("FERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
