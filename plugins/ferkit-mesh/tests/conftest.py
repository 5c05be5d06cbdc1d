from importlib import resources

import numpy as np
import pytest
import torch
from mesh_faces import IMAGES, context
from PIL import Image
from safetensors.torch import load_file, save_file

from ferkit import Faces, ImageBatch
from ferkit_mesh import FrontalConfig, MeshConfig
from ferkit_mesh.frontal import MeshFrontal
from ferkit_mesh.loading import head_of
from ferkit_mesh.network import MeshNet
from ferkit_mesh.pose import Mesh

WEIGHTS = resources.files("ferkit_mesh") / "weights" / "mesh.safetensors"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def astronaut():
    pixels = np.array(Image.open(IMAGES / "astronaut.jpg").convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="session")
def head():
    return head_of(load_file(WEIGHTS), "mesh.safetensors")


@pytest.fixture(scope="session")
def estimate():
    """Faces of one picture, with what the embedded network makes of them."""
    mesh = Mesh(MeshConfig(min_score=0), context())

    def posed(image, *boxes, is_crop=False) -> Faces:
        faces = Faces.of([0] * len(boxes), torch.tensor(boxes).reshape(-1, 4), is_crop=is_crop)
        with torch.inference_mode():
            return mesh(ImageBatch((image,), ("array",)), faces)

    return posed


@pytest.fixture(scope="session")
def frontal():
    def build(**options):
        return MeshFrontal(FrontalConfig(**options), context())

    return build


@pytest.fixture
def tiny(tmp_path):
    """Weights of a network with four components that learnt nothing."""
    torch.manual_seed(0)
    tensors = {name: tensor for name, tensor in load_file(WEIGHTS).items() if name.startswith("head.")}
    tensors["head.basis"] = tensors["head.basis"][:4].contiguous()
    tensors |= {n: t.half() for n, t in MeshNet(4).state_dict().items() if not n.endswith("num_batches_tracked")}
    path = tmp_path / "tiny.safetensors"
    save_file(tensors, path)
    return path
