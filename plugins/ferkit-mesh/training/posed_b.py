"""Faces of FER2013 in known poses by the second renderer, as a table that ``ferkit evaluate`` takes; and the table of the faces.

python posed_b.py faces_public.npz --head head.npz --n 400 --out posed_b
python posed_b.py faces_public.npz --head head.npz --n 2000 --but posed_b/faces.csv --out others_b        # faces not among those
ferkit data pose-augment manifest:posed_b/faces.csv --set data.crops=true --yaw=-75,…,75 --out posed_a   # the first renderer
ferkit evaluate default --data manifest:posed_b/manifest.csv --set data.crops=true --out report
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from evaluate import near_frontal
from PIL import Image
from rich.progress import track
from samples import Sources
from worth import NAMES, made

from ferkit_mesh.head import Head

YAWS = (-75, -60, -45, -30, 0, 30, 45, 60, 75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--n", type=int, default=400, help="faces at most")
    parser.add_argument("--but", type=Path, help="table of faces not to take")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})
    sources = Sources.read([args.faces], head)
    with np.load(args.faces) as table:
        paths = [Path(path) for path in table["path"].tolist()]
    taken = set()
    if args.but:
        with args.but.open(newline="") as file:
            taken = {row["image"] for row in csv.DictReader(file)}
    near = near_frontal(sources)
    usable = [index for index in near if str(paths[index].absolute()) not in taken]
    print(f"{len(usable)} of {len(near)} near-frontal faces, {len(near) - len(usable)} of them not to be taken")
    if args.but and len(usable) == len(near):
        parser.error(f"no picture is named as in {args.but}: name pictures as they were named to teacher.py for both")
    rng = np.random.default_rng(3)
    chosen = rng.permutation(usable)[: args.n].tolist()
    (args.out / "images").mkdir(parents=True, exist_ok=True)
    known = [
        (f"{paths[i].parent.name}/{paths[i].name}", NAMES.get(paths[i].parent.name, paths[i].parent.name))
        for i in chosen
    ]
    with (args.out / "faces.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "image", "label"))
        table.writerows((name, paths[i].absolute(), label) for i, (name, label) in zip(chosen, known, strict=True))
    with (args.out / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "image", "label", "yaw", "pitch", "roll", "group"))
        for place, index in enumerate(track(chosen)):
            name, label = known[place]
            for number, yaw in enumerate(YAWS):
                picture = f"images/{place:04d}-{number}.png"
                Image.fromarray(made("B", sources, index, yaw, rng, exact=True)[0]).save(args.out / picture)
                table.writerow((f"{name}@{number}", picture, label, yaw, 0, 0, name))


if __name__ == "__main__":
    main()
