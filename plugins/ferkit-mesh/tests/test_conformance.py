from dataclasses import replace

import torch

from ferkit.testing import FACE_BOX, NormalizerSuite, PoseSuite, face_picture
from ferkit.types import Faces, ImageBatch
from ferkit_mesh import MeshConfig
from ferkit_mesh.pose import Mesh


class TestMesh(PoseSuite):
    component = "mesh"
    distribution = "ferkit-mesh"


class TestMeshFrontal(NormalizerSuite):
    component = "mesh-frontal"
    distribution = "ferkit-mesh"

    def faces(self):
        """The suite's faces with their meshes; of one the mesh is unknown."""
        mesh, items = Mesh(MeshConfig(min_score=0), self.context()), []
        with torch.inference_mode():
            portrait = mesh(ImageBatch((face_picture(),), ("",)), Faces.of([0], [FACE_BOX])).landmarks["mesh"]
            for image, faces in super().faces():
                posed = mesh(ImageBatch((image,), ("",)), faces)
                if len(faces) and torch.isnan(faces.landmarks["5"]).any():
                    posed = replace(posed, landmarks={**faces.landmarks, "mesh": torch.full_like(portrait, torch.nan)})
                items.append((image, posed))
        return items
