"""Small trees in the exact layouts of published data sets, with pictures of a real face and nothing of the sets themselves.

Each function writes below ``root``, which it makes, and returns what to give as the data set's ``path``. Pictures are crops of
the face of ``ferkit.testing``, no two alike; scenes are that face with its surroundings, where a detector finds it.
"""

import numpy as np
from PIL import Image

from ferkit.labels import AFFECTNET, EXPW, FER2013, FERPLUS, KDEF, RAFDB
from ferkit.testing import FACE_BOX, face_picture

RAFD = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
KDEF_VIEWS = ("FL", "HL", "S", "HR", "FR")
RAFD_CAMERAS = ("000", "045", "090", "135", "180")


class Pictures:
    """Pictures as files' content, each another one: the n-th is shifted and shaded by n."""

    def __init__(self):
        self._face = Image.fromarray(face_picture().permute(1, 2, 0).numpy())
        self._written = 0

    def crop(self, size=100, mode="RGB"):
        """The face alone."""
        x0, y0, x1, y1 = FACE_BOX
        self._written += 1
        shift = self._written % 8
        return self._shaded(self._face.crop((x0 - shift, y0, x1, y1))).resize((size, size)).convert(mode)

    def scene(self, faces=1):
        """The face with its surroundings, 160 pixels high; several stand side by side."""
        self._written += 1
        scene = Image.new("RGB", (160 * faces, 160))
        for place in range(faces):
            scene.paste(self._shaded(self._face), (160 * place, 0))
        return scene

    def _shaded(self, picture):
        return picture.point(lambda value: max(0, value - self._written // 8 % 32))


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def rafdb(root, train=2, test=2, original=True):
    """RAF-DB basic: ``train`` and ``test`` pictures of each class, numbered from 1 in each split."""
    pictures, lines = Pictures(), []
    for split, count in (("train", train), ("test", test)):
        for number in range(count * len(RAFDB)):
            name = f"{split}_{number + 1:0{5 if split == 'train' else 4}d}"
            lines.append(f"{name}.jpg {number % len(RAFDB) + 1}")
            write(root / "Image" / "aligned" / f"{name}_aligned.jpg", pictures.crop())
            if original:
                write(root / "Image" / "original" / f"{name}.jpg", pictures.scene())
    (root / "EmoLabel").mkdir(parents=True)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))  # without an end of line, as published
    return root


AFFECTNET_COLUMNS = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


def affectnet(root, train=3, validation=2, others=True):
    """AffectNet's classic release: scenes with a box; with ``others`` also a row each of None, Uncertain and No-Face."""
    pictures = Pictures()
    x0, y0, x1, y1 = map(int, FACE_BOX)
    for table, count in (("training", train), ("validation", validation)):
        rows = [AFFECTNET_COLUMNS]
        classes = [*range(len(AFFECTNET))] * count + ([8, 9, 10] if others and table == "training" else [])
        for number, expression in enumerate(classes):
            name = f"{number % 2 + 1}/{affectnet_stem(table, number)}.jpg"
            box = f"{x0},{y0},{x1 - x0},{y1 - y0}" if expression != 10 else "-1,-1,-1,-1"
            rows.append(f"{name},{box},{';'.join(['60.5;62.5'] * 68)},{expression},-0.5,0.5")
            write(root / "Manually_Annotated_Images" / name, pictures.scene())
        (root / f"{table}.csv").write_text("\n".join(rows) + "\n")
    return root


def affectnet_stem(table, number):
    """The 56 hexadecimal digits that name a picture of :func:`affectnet`."""
    return f"{table.encode().hex()}{number:x}".rjust(56, "0")


def affectnet_2021(root, train=2, validation=2):
    """AffectNet's release of March 2021: numbered crops, annotations as arrays."""
    pictures = Pictures()
    for folder, count in (("train_set", train), ("val_set", validation)):
        for number in range(count * len(AFFECTNET)):
            write(root / folder / "images" / f"{number}.jpg", pictures.crop(224))
            annotations = root / folder / "annotations"
            annotations.mkdir(exist_ok=True)
            np.save(annotations / f"{number}_exp.npy", np.array(str(number % len(AFFECTNET))))
            np.save(annotations / f"{number}_val.npy", np.array("-0.5"))
            np.save(annotations / f"{number}_aro.npy", np.array("0.5"))
            np.save(annotations / f"{number}_lnd.npy", np.full(136, 60.5))
    return root


def expw(root, scenes=14):
    """ExpW: scenes with one and two faces in turn, boxes as top, left, right, bottom."""
    pictures, lines, label = Pictures(), [], 0
    x0, y0, x1, y1 = map(int, FACE_BOX)
    for number in range(scenes):
        name = f"{EXPW[number % 7]}_actor_{number}.jpg"
        faces = number % 2 + 1
        write(root / "data" / "image" / "origin" / name, pictures.scene(faces))
        for face in range(faces):
            lines.append(f"{name} {face} {y0} {x0 + 160 * face} {x1 + 160 * face} {y1} 22.9362 {label % 7}")
            label += 1
    (root / "data" / "label").mkdir(parents=True)
    (root / "data" / "label" / "label.lst").write_text("\n".join(lines) + "\n")
    return root


USAGES = ("Training", "PublicTest", "PrivateTest")


def fer2013(root, per_class=1):
    """``fer2013.csv`` with ``per_class`` pictures of each class in each split, split after split."""
    pictures, rows = Pictures(), ["emotion,pixels,Usage"]
    for usage in USAGES:
        for emotion in list(range(len(FER2013))) * per_class:
            pixels = np.asarray(pictures.crop(48, "L")).ravel()
            rows.append(f"{emotion},{' '.join(map(str, pixels))},{usage}")
    root.mkdir(parents=True, exist_ok=True)
    (root / "fer2013.csv").write_text("\n".join(rows) + "\n")
    return root


FERPLUS_COLUMNS = f"Usage,Image name,{','.join(FERPLUS)},unknown,NF"


def ferplus(root, votes=None, per_class=1):
    """``fer2013.csv`` and ``fer2013new.csv``; ``votes`` by row, ten a row, ``None`` for what is no face.

    Without ``votes`` the class that FER2013 gives has eight, ``contempt`` two.
    """
    fer2013(root, per_class)
    rows = [FERPLUS_COLUMNS]
    count = len(FER2013) * per_class * len(USAGES)
    for row in range(count):
        usage = USAGES[row * len(USAGES) // count]
        own = [0] * 10
        own[FERPLUS.index(FER2013[row % len(FER2013)])], own[FERPLUS.index("contempt")] = 8, 2
        given = votes[row] if votes is not None and row < len(votes) else own
        name = "" if given is None else f"fer{row:07d}.png"
        rows.append(",".join([usage, name, *map(str, [0] * 9 + [10] if given is None else given)]))
    (root / "fer2013new.csv").write_text("\n".join(rows) + "\n")
    return root


def kdef(root, people=2):
    """KDEF: both sessions of ``people`` women and men, every expression from every view."""
    pictures = Pictures()
    for session in "AB":
        for gender in "FM":
            for number in range(1, people + 1):
                person = f"{session}{gender}{number:02d}"
                for expression in KDEF:
                    for view in KDEF_VIEWS:
                        write(root / person / f"{person}{expression}{view}.JPG", pictures.scene())
    return root


def rafd(root, models=2):
    """RaFD: ``models`` people, every expression from every camera, one gaze."""
    pictures = Pictures()
    for model in range(1, models + 1):
        group = "Caucasian_male" if model % 2 else "Caucasian_female"
        for camera in RAFD_CAMERAS:
            for expression in RAFD:
                write(root / f"Rafd{camera}_{model:02d}_{group}_{expression}_frontal.jpg", pictures.scene())
    return root


def lists(root, **files):
    """A checkout of the published lists: ``lists(root, **{"RAF_DB_dir/val_raf_db_list.txt": ["6/test_0004_aligned.jpg"]})``."""
    for name, lines in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + "\n")
    return root
