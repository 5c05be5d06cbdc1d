"""Train the network of ``mesh``; run it again and it goes on where it stopped.

    python train.py faces_fer2013.npz faces_wild.npz --head head.npz --start nano.safetensors --out run --minutes 65

The trunk starts from ferkit-nano's weights; its stem and first stages stay as they are. The rate falls to nothing over the
minutes given, of which only those spent training count. ``run/last.safetensors`` is written every two minutes.
"""

import argparse
import hashlib
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from samples import Sample, Sources, sample
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit.geometry import rotation_to_angles
from ferkit.training.checkpoint import load, save
from ferkit_mesh.head import Head
from ferkit_mesh.network import MEAN, STD, MeshNet, Raw, points_of

BATCH, RATE, FROZEN = 48, 1.5e-3, 2  # FROZEN: stages after the stem that are not trained
EMA = 0.998
LAST, KEPT = "last.safetensors", ("network", "average", "optimizer", "state")  # a checkpoint's name, and what is in it
WEIGHTY = (  # eyes, brows, mouth: what tells expressions
    *(33, 133, 159, 145, 160, 144, 158, 153, 263, 362, 386, 374, 387, 373, 385, 380),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 61, 291, 0, 17, 13, 14, 39, 269, 181, 405, 78, 308, 1, 152),
)


def side(subject: str) -> str:
    """Where a subject belongs; by hash, so that nothing else decides it. The same as ferkit-nano's."""
    share = int(hashlib.sha256(subject.encode()).hexdigest()[:8], 16) / 16**8
    return "train" if share < 0.85 else "validation" if share < 0.925 else "test"


def batch_of(samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crops as the network takes them, points, rotations, and which are faces."""
    crops = torch.from_numpy(np.stack([s.crop for s in samples]))[:, None].float() / 255
    points = torch.from_numpy(np.stack([s.points for s in samples]))
    rotations = torch.from_numpy(np.stack([s.rotation for s in samples]))
    return (crops - MEAN) / STD, points, rotations, torch.tensor([s.face for s in samples])


class Loss(nn.Module):
    """Distance of landmarks and of rotations; the confidence is to foretell how large the first is."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.mean, self.basis = torch.from_numpy(head.mean), torch.from_numpy(head.basis)
        self.weights = torch.ones(len(head.mean))
        self.weights[list(WEIGHTY)] = 5.0
        self.weights /= self.weights.mean()

    def forward(self, raw: Raw, points: Tensor, rotations: Tensor, face: Tensor) -> tuple[Tensor, dict[str, float]]:
        found = points_of(raw, self.mean, self.basis)
        distance = torch.linalg.vector_norm(found[..., :2] - points[..., :2], dim=2)
        depth = (found[..., 2] - points[..., 2]).abs()
        near = ((distance + 0.5 * depth) * self.weights).mean(1)
        turn = (raw.rotation - rotations).square().sum((1, 2))
        extent = (points.amax(1) - points.amin(1))[:, :2].amax(1).clamp(min=0.1)
        nme = distance.mean(1) / extent
        target = torch.where(face, torch.exp(-(nme.detach() / 0.08).square()), 0.0)
        sure = F.binary_cross_entropy_with_logits(raw.confidence, target)
        shape = raw.shape.square().mean(1)
        loss = (10 * near[face] + 2 * turn[face] + 0.02 * shape[face]).mean() + 0.2 * sure
        angle = torch.rad2deg(torch.acos((1 - turn[face] / 4).clamp(-1, 1)))
        return loss, {"loss": loss.item(), "nme": nme[face].mean().item(), "turn": angle.mean().item()}


def examine(network: MeshNet, loss: Loss, crops: Tensor, points: Tensor, rotations: Tensor, face: Tensor) -> str:
    """Errors on held-out crops, by yaw."""
    network.eval()
    with torch.inference_mode():
        parts = [network(part) for part in crops.split(64)]
        raw = Raw(*(torch.cat(values) for values in zip(*parts, strict=True)))
        found = points_of(raw, loss.mean, loss.basis)
    angles, truth = rotation_to_angles(raw.rotation), rotation_to_angles(rotations)
    error = (angles - truth + 180).remainder(360).sub(180).abs()
    extent = (points.amax(1) - points.amin(1))[:, :2].amax(1)
    nme = torch.linalg.vector_norm((found - points)[..., :2], dim=2).mean(1) / extent
    yaw, told = truth[:, 0].abs(), []
    for low, high in ((0, 30), (30, 60), (60, 91)):
        part = face & (yaw >= low) & (yaw < high)
        y, p, r = error[part].mean(0).tolist()
        told.append(f"{low}-{high}: {y:.1f} {p:.1f} {r:.1f} nme {nme[part].mean() * 100:.1f}")
    sure = raw.confidence.sigmoid()
    return "; ".join(told) + f"; confidence {sure[face].mean():.2f} / {sure[~face].mean():.2f}"


def started(network: MeshNet, path: Path) -> None:
    """Take over the trunk's weights."""
    trunk = {name: t.float() for name, t in load_file(path).items() if name in network.state_dict()}
    network.load_state_dict(trunk, strict=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--again", type=Path, help="a finished run, from whose average weights this one begins")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=65)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})
    sources = Sources.read(args.faces, head, lambda subject: side(subject) == "train")
    held = Sources.read(args.faces, head, lambda subject: side(subject) == "validation")
    fixed = np.random.default_rng(1)
    exam = batch_of([sample(held, fixed) for _ in range(600)])
    print(f"{len(sources.crops)} faces to learn from, {len(held.crops)} held out", flush=True)

    torch.manual_seed(0)
    network, loss = MeshNet(len(head.basis)), Loss(head)
    started(network, args.start)
    if args.again:
        network.load_state_dict(load(args.again / LAST, KEPT)["average"])
    average = MeshNet(len(head.basis))
    fixed_part = [network.conv_stem, network.bn1, *list(network.blocks)[:FROZEN]]
    for module in fixed_part:
        module.requires_grad_(False)
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=RATE, weight_decay=1e-2)
    state = {"step": 0, "spent": 0.0}
    last = args.out / LAST
    if last.exists():
        kept = load(last, KEPT)
        network.load_state_dict(kept["network"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        state = kept["state"]
    else:
        average.load_state_dict(network.state_dict())
    network.to(memory_format=torch.channels_last)

    def checkpoint() -> None:
        parts = (network.state_dict(), average.state_dict(), optimizer.state_dict(), state)
        save(last, dict(zip(KEPT, parts, strict=True)))

    rng = np.random.default_rng(1000 + state["step"])
    saved, told, sums = time.time(), time.time(), []
    while state["spent"] < args.minutes * 60:
        began = time.time()
        share = state["spent"] / (args.minutes * 60)
        rate = RATE * min(1, (state["step"] + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        for module in fixed_part:
            module.eval()
        crops, points, rotations, face = batch_of([sample(sources, rng) for _ in range(BATCH)])
        value, parts = loss(network(crops.to(memory_format=torch.channels_last)), points, rotations, face)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(learnt, 5.0)
        optimizer.step()
        decay = min(EMA, (state["step"] + 1) / (state["step"] + 10))
        with torch.no_grad():
            for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                mine.lerp_(theirs, 1 - decay) if mine.is_floating_point() else mine.copy_(theirs)
        sums.append(parts)
        state["step"] += 1
        state["spent"] += time.time() - began
        if state["step"] % 50 == 0:
            means = {name: np.mean([part[name] for part in sums]) for name in parts}
            print(
                f"{state['step']} {state['spent'] / 60:.1f} min",
                {k: round(float(v), 4) for k, v in means.items()},
                flush=True,
            )
            sums = []
        if time.time() - saved > 120:
            checkpoint()
            saved = time.time()
        if time.time() - told > 400:
            print(examine(average, loss, *exam), flush=True)
            told = time.time()
    checkpoint()
    print(examine(average, loss, *exam), flush=True)


if __name__ == "__main__":
    main()
