import pytest
import torch
from fakes import CLIP, COMPONENTS, plugin

from ferkit import Registry, builtin


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
