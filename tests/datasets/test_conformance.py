"""The data sets pass the conformance kit."""

import pytest
import trees
from PIL import Image

from ferkit.testing import DatasetSuite

ROW = f"{{emotion}},{' '.join(['7'] * 2304)},{{usage}}\n"
MANIFEST = """\
image,label,x0,y0,x1,y1,subject,split,votes:neutral,votes:happy
train/happy/1.png,joy,1,2,30,40,ann,train,1,4
train/happy/1.png,neutral,10,2,40,40,bob,train,,
test/sad/2.png,,,,,,bob,test,2,3
"""


@pytest.fixture(scope="class", autouse=True)
def folder(request, tmp_path_factory):
    """Where a suite's pictures are."""
    root = tmp_path_factory.mktemp("data")
    for name in ("train/happy/1.png", "train/angry/3.png", "test/sad/2.png"):
        path = root / name
        path.parent.mkdir(parents=True)
        Image.effect_noise((48, 48), 50).save(path)
    (root / "faces.csv").write_text(MANIFEST)
    table = "emotion,pixels,Usage\n" + "".join(
        ROW.format(emotion=n, usage=usage)
        for n, usage in enumerate(("Training", "PublicTest", "PrivateTest", "Training"))
    )
    (root / "fer2013.csv").write_text(table)
    if request.cls.tree:
        request.cls.tree(root)
    request.cls.root = root


class BuiltIn(DatasetSuite):
    __test__ = False
    distribution = "ferkit"
    entry_module = "ferkit.builtin"
    below = "."
    tree = None

    def options(self):
        return {**self.config, "path": str(self.root / self.below)}


class TestFolder(BuiltIn):
    __test__ = True
    component = "folder"


class TestManifest(BuiltIn):
    __test__ = True
    component = "manifest"
    below = "faces.csv"


class TestFER2013Folders(BuiltIn):
    __test__ = True
    component = "fer2013"

    def options(self):
        (self.root / "fer2013.csv").unlink(missing_ok=True)
        return super().options()


class TestFER2013Table(BuiltIn):
    __test__ = True
    component = "fer2013"
    below = "fer2013.csv"


class TestRAFDB(BuiltIn):
    __test__ = True
    component = "rafdb"
    tree = staticmethod(trees.rafdb)


class TestAffectNet(BuiltIn):
    __test__ = True
    component = "affectnet"
    tree = staticmethod(trees.affectnet)


class TestAffectNet2021(BuiltIn):
    __test__ = True
    component = "affectnet"
    tree = staticmethod(trees.affectnet_2021)


class TestExpW(BuiltIn):
    __test__ = True
    component = "expw"
    tree = staticmethod(trees.expw)
    config = {"fractions": {"train": 0.5, "test": 0.5}}


class TestFERPlus(BuiltIn):
    __test__ = True
    component = "ferplus"
    tree = staticmethod(trees.ferplus)
    config = {"protocol": "soft"}


class TestKDEF(BuiltIn):
    __test__ = True
    component = "kdef"
    tree = staticmethod(trees.kdef)


class TestRaFD(BuiltIn):
    __test__ = True
    component = "rafd"
    tree = staticmethod(trees.rafd)
