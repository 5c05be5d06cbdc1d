"""Components of depth for a head model: what lies nearer or further away in other heads than the teacher guesses.

    python depth.py faces_fer2013.npz faces_wild.npz --head head.npz --out deep.npz

The teacher's depth is a guess that hardly varies, so its components can't show a face whose chin, cheeks or forehead lie
elsewhere: seen from the side its landmarks would be off. These are the principal components of what ``another_depth`` changes in
the faces that the network learns from.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track
from samples import Sources, another_depth
from train import side

from ferkit_mesh.head import Head

COMPONENTS, DRAWS = 16, 6000


def changes(sources: Sources, rng: np.random.Generator) -> np.ndarray:
    """Differences of depth ``[DRAWS, 468]``, in units of the head."""
    found = []
    for index in track(rng.integers(0, len(sources.points), DRAWS)):
        points = sources.points[index]
        rotation, _, scale = sources.head.rotation(points)
        own = (points - (points[33] + points[263]) / 2) @ rotation / scale
        found.append((another_depth(own, sources.head, rng) - own)[:, 2])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--head", type=Path, required=True, help="of shape.py")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with np.load(args.head) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    head = Head.of({f"head.{name}": values for name, values in kept.items()})
    sources = Sources.read(args.faces, head, lambda subject: side(subject) == "train")
    depths = changes(sources, np.random.default_rng(0))
    depths = (depths + depths[:, head.mirror]) / 2
    _, stretch, components = np.linalg.svd(depths, full_matrices=False)
    held = (stretch[:COMPONENTS] ** 2).sum() / (stretch**2).sum()
    print(f"{COMPONENTS} components hold {held:.2%} of the mean square of what is symmetric")
    deep = components[:COMPONENTS] * stretch[:COMPONENTS, None] / np.sqrt(DRAWS)
    basis = np.concatenate([kept["basis"], np.stack([np.zeros_like(deep)] * 2 + [deep], 2)]).astype(np.float32)
    np.savez(args.out, **(kept | {"basis": basis}))


if __name__ == "__main__":
    main()
