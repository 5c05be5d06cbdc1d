"""Train the network of ``mesh``; run it again and it goes on where it stopped.

    python train.py faces_fer2013.npz faces_wild.npz --turned turned_posed.npz --head head.npz --start nano.safetensors --out run

The trunk starts from ferkit-nano's weights, or all of it from weights that ferkit-mesh shipped; its stem and first stages stay as
they are. The rate falls to nothing over the minutes given, of which only those spent training count. ``run/last.safetensors`` is
written every two minutes. A second process makes the samples.
"""

import argparse
import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from samples import Sample, Sources, Turned, real, sample
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from ferkit.geometry import rotation_to_angles, to_five
from ferkit.training.checkpoint import load, save
from ferkit_mesh.head import Head
from ferkit_mesh.network import MEAN, STD, MeshNet, Raw, points_of

BATCH, RATE, FROZEN = 48, 1.5e-3, 2  # FROZEN: stages after the stem that are not trained
REAL = 0.3  # share of real faces turned away, where they are given
DOUBTED = 0.15  # about 9 degrees; a larger difference from WHENet is rather its own error
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


class Batch(NamedTuple):
    """Samples side by side; ``crops`` ``[N, 1, SIZE, SIZE]`` as the network takes them."""

    crops: Tensor
    points: Tensor
    rotations: Tensor
    face: Tensor
    five: Tensor


def batch_of(samples: list[Sample]) -> Batch:
    """One batch."""
    crops = torch.from_numpy(np.stack([s.crop for s in samples]))[:, None].float() / 255
    points = torch.from_numpy(np.stack([s.points for s in samples]))
    rotations = torch.from_numpy(np.stack([s.rotation for s in samples]))
    five = torch.from_numpy(np.stack([s.five for s in samples]))
    face = torch.tensor([s.face for s in samples])
    return Batch((crops - MEAN) / STD, points, rotations, face, five)


class Stream(IterableDataset[Batch]):
    """Batches without end."""

    def __init__(self, sources: Sources, turned: Turned | None, seed: int) -> None:
        self._sources, self._turned, self._seed = sources, turned, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self._seed)
        while True:
            yield batch_of([self._one(rng) for _ in range(BATCH)])

    def _one(self, rng: np.random.Generator) -> Sample:
        if self._turned is not None and rng.random() < REAL:
            return real(self._turned, rng)
        return sample(self._sources, rng)


def degrees_of(chord: Tensor) -> Tensor:
    """Angle between two directions whose tips are so far apart."""
    return torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1)))


class Loss(nn.Module):
    """Distance of landmarks and of rotations; the confidence is to foretell how large the first is.

    Of real faces turned away the detector's five landmarks are known; ``beside`` ``[5, 3]`` is where they lie beside the mesh's
    own, in the head's frame. A flatter head turned less would show them alike: so WHENet's direction of the line through the
    eyes is told, too, which does not depend on what it takes for no pitch, and their shape stays nearer to the mean.
    """

    def __init__(self, head: Head, beside: Tensor) -> None:
        super().__init__()
        self.mean, self.basis, self.beside = torch.from_numpy(head.mean), torch.from_numpy(head.basis), beside
        self.weights = torch.ones(len(head.mean))
        self.weights[list(WEIGHTY)] = 5.0
        self.weights /= self.weights.mean()

    def forward(self, raw: Raw, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        found = points_of(raw, self.mean, self.basis)
        turned = torch.isfinite(batch.five).all(2).all(1)
        exact = batch.face & ~turned
        distance = torch.linalg.vector_norm((found - batch.points)[exact][..., :2], dim=2)
        depth = (found[..., 2] - batch.points[..., 2])[exact].abs()
        near = ((distance + 0.5 * depth) * self.weights).mean(1)
        turn = (raw.rotation - batch.rotations)[exact].square().sum((1, 2))
        five = self.of_five(raw, found, batch.five, turned)
        eyes_line = torch.linalg.vector_norm((raw.rotation - batch.rotations)[turned, :, 0], dim=1)
        away = F.huber_loss(eyes_line, torch.zeros_like(eyes_line), reduction="sum", delta=DOUBTED) / DOUBTED
        error = torch.zeros(len(found))
        error[exact], error[turned] = distance.detach().mean(1), five.detach()
        extent = (found.amax(1) - found.amin(1))[:, :2].amax(1).detach().clamp(min=0.1)
        target = torch.where(batch.face, torch.exp(-(error / extent / 0.08).square()), 0.0)
        sure = F.binary_cross_entropy_with_logits(raw.confidence, target)
        shape = raw.shape.square().mean(1) * torch.where(turned, 0.1, 0.02)
        parts = 10 * near.sum() + 2 * turn.sum() + 10 * five.sum() + away + shape[batch.face].sum()
        loss = parts / batch.face.sum() + 0.2 * sure
        angle = torch.rad2deg(torch.acos((1 - turn / 4).clamp(-1, 1)))
        nme = (error / extent)[exact].mean().item()
        told = {"loss": loss.item(), "nme": nme, "turn": angle.mean().item()}
        return loss, told | {"five": five.mean().item(), "eyes line": degrees_of(eyes_line).mean().item()}

    def of_five(self, raw: Raw, found: Tensor, five: Tensor, turned: Tensor) -> Tensor:
        """Mean distance of the detector's landmarks from where the mesh puts them, the half that is hidden counting less."""
        own = to_five({"mesh": found[turned]})
        assert own is not None
        beside = raw.scale[turned, None, None] * (self.beside @ raw.rotation[turned].mT)
        distance = torch.linalg.vector_norm(own + beside[..., :2] - five[turned], dim=2)
        near = torch.linalg.vector_norm(five[turned, :2] - five[turned, 2:3], dim=2)  # of the eyes to the nose
        seen = (near / near.amax(1, keepdim=True)).clamp(min=0.2)
        weights = torch.stack([seen[:, 0], seen[:, 1], torch.ones(len(seen)), seen[:, 0], seen[:, 1]], 1)
        return (distance * weights).sum(1) / weights.sum(1)


def examine(network: MeshNet, loss: Loss, batch: Batch) -> str:
    """Errors on held-out crops, by yaw."""
    crops, points, rotations, face, *_ = batch
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


def examine_real(network: MeshNet, loss: Loss, batch: Batch) -> str:
    """Of real faces turned away, held out: how far the detector's landmarks and WHENet's line through the eyes are off."""
    network.eval()
    with torch.inference_mode():
        parts = [network(part) for part in batch.crops.split(64)]
        raw = Raw(*(torch.cat(values) for values in zip(*parts, strict=True)))
        found = points_of(raw, loss.mean, loss.basis)
        error = loss.of_five(raw, found, batch.five, batch.face)
    angle = degrees_of(torch.linalg.vector_norm((raw.rotation - batch.rotations)[:, :, 0], dim=1))
    yaw, truth = (rotation_to_angles(rotation)[:, 0] for rotation in (raw.rotation, batch.rotations))
    more, told = (yaw - truth) * truth.sign(), []
    for low, high in ((0, 30), (30, 45), (45, 60), (60, 91)):
        part = (truth.abs() >= low) & (truth.abs() < high)
        told.append(f"{low}-{high}: {angle[part].mean():.1f}, more yaw {more[part].mean():+.1f}")
    return f"real: five {error.mean():.4f}, confidence {raw.confidence.sigmoid().mean():.2f}; off " + "; ".join(told)


def started(network: MeshNet, path: Path) -> None:
    """Take over the weights of the trunk, or of everything.

    The read-out may have grown by components; they are its last rows, and begin with nothing.
    """
    own = network.state_dict()
    known = {name: t.float() for name, t in load_file(path).items() if name in own}
    for name in {"out.weight", "out.bias"} & set(known):
        more = len(own[name]) - len(known[name])
        if more < 0:
            raise SystemExit(f"{path} has {-more} components more than --head: give the head that it was trained with")
        known[name] = torch.cat([known[name], torch.zeros(more, *known[name].shape[1:])])
    network.load_state_dict(known, strict=False)
    print(f"{len(known)} of {len(own)} tensors from {path}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, nargs="+")
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--turned", type=Path, help="of whenet.py: real faces turned away")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=65)
    parser.add_argument("--rate", type=float, default=RATE, help="of learning, at its start")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    with np.load(args.head) as arrays:
        head = Head.of({f"head.{name}": arrays[name] for name in arrays.files})

    def learnt_from(subject: str) -> bool:
        return side(subject) == "train"

    def held_out(subject: str) -> bool:
        return side(subject) == "validation"

    sources, turned, beside = Sources.read(args.faces, head, learnt_from), None, torch.zeros(5, 3)
    held, fixed, exam_real = Sources.read(args.faces, head, held_out), np.random.default_rng(1), None
    exam = batch_of([sample(held, fixed) for _ in range(600)])
    print(f"{len(sources.crops)} faces to learn from, {len(held.crops)} held out", flush=True)
    if args.turned:
        with np.load(args.turned) as table:
            if "rotation" not in table.files:
                parser.error(f"{args.turned} does not tell how its faces are turned: run whenet.py on it first")
        turned, others = Turned.read(args.turned, learnt_from), Turned.read(args.turned, held_out)
        exam_real = batch_of([real(others, fixed) for _ in range(600)])
        with np.load(args.turned) as table:
            beside = torch.from_numpy(table["beside"])
        print(f"{len(turned.crops)} turned away to learn from, {len(others.crops)} held out", flush=True)

    torch.manual_seed(0)
    network, loss = MeshNet(len(head.basis)), Loss(head, beside)
    started(network, args.start)
    average = MeshNet(len(head.basis))
    fixed_part = [network.conv_stem, network.bn1, *list(network.blocks)[:FROZEN]]
    for module in fixed_part:
        module.requires_grad_(False)
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=args.rate, weight_decay=1e-2)
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

    def tell() -> None:
        print(examine(average, loss, exam), flush=True)
        if exam_real:
            print(examine_real(average, loss, exam_real), flush=True)

    stream = Stream(sources, turned, 1000 + state["step"])
    batches = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8))
    saved, sums = time.time(), []
    tell()
    told = time.time()
    while state["spent"] < args.minutes * 60:
        began = time.time()
        share = state["spent"] / (args.minutes * 60)
        rate = args.rate * min(1, (state["step"] + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        network.train()
        for module in fixed_part:
            module.eval()
        batch = next(batches)
        value, parts = loss(network(batch.crops.to(memory_format=torch.channels_last)), batch)
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
            means = {
                name: np.mean([part[name] for part in sums])
                for name in parts
                if turned or name not in ("five", "eyes line")
            }
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
            tell()
            told = time.time()
    checkpoint()
    tell()


if __name__ == "__main__":
    main()
