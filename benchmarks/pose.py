"""Error of landmark-pnp by yaw, on synthetic heads other than the generic one.

    python benchmarks/pose.py [--n 400] [--noise 0.017]

Each face has its own head (every point displaced by a normal deviate of 0.03 eye distances, depth scaled by 0.85..1.15)
and is seen in full perspective from 8 to 24 eye distances at pitch -30..30 and roll -40..40, with noise on its
landmarks. It measures the geometry alone: a detector's own errors at large yaw come on top.
"""

import argparse

import torch

from ferkit.builtin.landmark_pnp import LandmarkPnP
from ferkit.components import Config
from ferkit.generic_head import FIVE, SIXTY_EIGHT
from ferkit.geometry import angles_to_rotation
from ferkit.interfaces import Context
from ferkit.types import Faces, ImageBatch
from ferkit.weights import WeightsStore

YAWS = range(-75, 76, 15)


def between(low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape)


def landmarks(head: torch.Tensor, angles: torch.Tensor, noise: float) -> torch.Tensor:
    """Points ``[N, K, 2]`` of N different heads, in pixels; eyes of a frontal face are 60 apart."""
    n = len(angles)
    heads = head + 0.03 * torch.randn(n, *head.shape)
    heads[..., 2] *= between(0.85, 1.15, n, 1)
    turned = (angles_to_rotation(angles) @ heads.mT).mT
    seen = turned[..., :2] / (1 + turned[..., 2:] / between(8, 24, n, 1, 1))
    return 60 * (seen + noise * torch.randn(seen.shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=400, help="faces a row")
    parser.add_argument("--noise", type=float, default=1 / 60, help="standard deviation in eye distances")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    estimator = LandmarkPnP(Config(), Context(torch.device("cpu"), torch.float32, 0, ("neutral",), WeightsStore()))
    nothing = ImageBatch((torch.zeros(3, 1, 1, dtype=torch.uint8),), ("array",))
    n = arguments.n
    print("          mean absolute error in degrees               wrong   median")
    print("points  yaw     n    yaw  (95 %)  pitch   roll   yaw bias   side    score")
    for scheme, head in (("5", FIVE), ("68", SIXTY_EIGHT)):
        for yaw in YAWS:
            angles = torch.stack((torch.full((n,), float(yaw)), between(-30, 30, n), between(-40, 40, n)), 1)
            points = landmarks(torch.tensor(head), angles, arguments.noise)
            faces = estimator(nothing, Faces.of([0] * n, torch.zeros(n, 4), landmarks={scheme: points}))
            error = faces.pose - angles
            mae, worst = error.abs().mean(0).tolist(), float(error[:, 0].abs().quantile(0.95))
            side = int((faces.pose[:, 0].sign() != angles[:, 0].sign()).sum()) if yaw else 0
            print(
                f"{scheme:>6} {yaw:4} {n:5} {mae[0]:6.1f} {worst:7.1f} {mae[1]:6.1f} {mae[2]:6.1f} "
                f"{float(error[:, 0].mean()):10.1f} {side:6} {float(faces.pose_score.median()):8.2f}"
            )


if __name__ == "__main__":
    main()
