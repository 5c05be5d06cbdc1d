"""What the adapter of ferkit-diffusers costs beside the pipeline it calls: a face through both, by turns.

    python benchmarks/bench_editor.py [--quick] [--pairs 20] [--steps 4] [--threads 1]

The pipeline is a tiny random Qwen-Image-Edit of the real classes, whose work on one megapixel is far less than that of real
weights: the share that is measured is an upper bound. The bare call is given the crop as a PIL picture, and returns an array; the
adapter crops, seeds, calls, checks, and converts.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

import ferkit
from ferkit import Context, Faces, ImageBatch
from ferkit.editing import FRONTAL_PROMPT, face_crop, face_seed
from ferkit.images import decode
from ferkit_diffusers.normalizer import QwenImageEdit
from ferkit_diffusers.options import EditorConfig

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "images" / "astronaut.jpg"
FACE = [175.0, 70.0, 275.0, 205.0]


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three pairs, to see that it runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sys.path.insert(0, str(ROOT / "plugins" / "ferkit-diffusers" / "tests"))
    import tiny

    with tempfile.TemporaryDirectory() as folder:
        config = EditorConfig(folder=str(tiny.save("qwen-image-edit", folder)), steps=args.steps)
        context = Context(torch.device("cpu"), torch.float32, 0, ("neutral", "happiness"), ferkit.WeightsStore())
        normalizer = QwenImageEdit(config, context)
    batch, faces = ImageBatch((decode(PHOTO),), (str(PHOTO),)), Faces.of([0], [FACE])
    crop = face_crop(batch, faces, 0, config.margin, 1024)
    seed = face_seed(0, crop)
    picture = Image.fromarray(crop.permute(1, 2, 0).numpy())

    def bare() -> object:
        return normalizer.pipeline(
            image=picture,
            prompt=FRONTAL_PROMPT,
            negative_prompt=" ",
            true_cfg_scale=4.0,
            num_inference_steps=args.steps,
            height=1024,
            width=1024,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
        )

    def adapted() -> object:
        return normalizer(batch, faces)

    bare(), adapted()
    pairs = []
    for index in range(3 if args.quick else args.pairs):  # by turns, so that a busy machine disturbs both alike
        order = (bare, adapted) if index % 2 else (adapted, bare)
        pairs.append({function.__name__: seconds(function) for function in order})
    for name in ("bare", "adapted"):
        values = [pair[name] for pair in pairs]
        print(f"{name:8}: {statistics.median(values):.3f} s median, {min(values):.3f} s best of {len(values)}")
    over = [pair["adapted"] - pair["bare"] for pair in pairs]
    share = [pair["adapted"] / pair["bare"] - 1 for pair in pairs]
    print(
        f"overhead: {statistics.median(over) * 1000:+.1f} ms a face, {statistics.median(share):+.2%}, medians of pairs"
    )


if __name__ == "__main__":
    main()
