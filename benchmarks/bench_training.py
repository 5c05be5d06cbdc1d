"""What training costs: epochs on cached features, the trainer beside a bare PyTorch loop, memory over the size of the data.

    python benchmarks/bench_training.py [--quick] [--model vit_tiny_patch16_224] [--size 112] [--pictures 512]

The pictures are seeded cuts of those in examples/images, the model is timm's with random weights: nothing is downloaded, and
what is learnt means nothing. Everything is written to a temporary folder.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import timm
import torch
import yaml
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import ferkit
from ferkit.labels import SEVEN
from ferkit.training.augment import Augmentation, seed_of
from ferkit.training.options import Training

IMAGES = Path(__file__).parent.parent / "examples" / "images"
BATCH = 32
FROZEN = {"training.learn": "head"}
console = Console()


def pictures(folder: Path, count: int, size: int) -> Path:
    """A table of ``count`` PNG files of ``size`` pixels, cut from the example pictures; every seventh of one label."""
    chance = random.Random(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(IMAGES.glob("*.jpg"))]
    rows = ["image,label"]
    for index in range(count):
        source, side = sources[index % len(sources)], chance.randrange(size, 3 * size)
        left, top = chance.randrange(source.width - side), chance.randrange(source.height - side)
        path = folder / "pictures" / f"{index:06}.png"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            source.crop((left, top, left + side, top + side)).resize((size, size)).save(path, compress_level=1)
        rows.append(f"pictures/{path.name},{SEVEN[index % len(SEVEN)]}")
    table = folder / f"{count}.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    return table


def recipe(folder: Path, args: argparse.Namespace, table: Path) -> dict[str, Any]:
    """Train every parameter of the model, and a linear head on it."""
    weights = folder / "model.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_file(timm.create_model(args.model, num_classes=0, img_size=args.size).state_dict(), weights)
    encoder = {"use": "timm", "model": args.model, "weights": str(weights), "image_size": args.size}
    return {
        "ferkit": 1,
        "name": "benchmark",
        "detector": {"use": "whole-image"},
        "align": {"size": args.size},
        "encoders": {"model": encoder},
        "head": {"use": "linear"},
        "data": {"use": "manifest", "path": str(table), "crops": True, "validation": 0.1},
        "training": {"learn": "all", "batch_size": BATCH, "keep": "last"},
    }


def trained(source: dict[str, Any], folder: Path, overrides: dict[str, Any]) -> tuple[float, list[float], int]:
    """Seconds of the whole run, seconds of each epoch's steps, and faces that an epoch learns from."""
    started = time.perf_counter()
    metrics = ferkit.train(source, out=folder, overrides=overrides, device="cpu", overwrite=True, progress=False)
    elapsed = time.perf_counter() - started
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    samples = metrics["data"]["learnt_from"]["samples"]
    return elapsed, [row["seconds"] for row in history], samples // BATCH * BATCH


def per_epoch(source: dict[str, Any], folder: Path, epochs: int, overrides: dict[str, Any]) -> float:
    """Seconds an epoch adds to a run, its evaluation and checkpoint included: a run of more epochs less one of a single."""
    long, short = (trained(source, folder, {**overrides, "training.epochs": count})[0] for count in (epochs + 1, 1))
    return (long - short) / epochs


def cache(source: dict[str, Any], folder: Path, args: argparse.Namespace) -> Table:
    """An epoch of a head on a frozen encoder, with cached features and without."""
    ways: dict[str, Callable[[], float]] = {
        "encoded in each epoch": lambda: per_epoch(
            source, folder / "run", 1 if args.quick else 2, {**FROZEN, "training.cache_features": False}
        ),
        "cached features": lambda: per_epoch(source, folder / "run", 10 if args.quick else 50, FROZEN),
    }
    for way in ways.values():
        way()  # views and features are there from now on
    seconds = in_turns(ways, args.repeats, "feature cache")
    table = Table("an epoch of a linear head", "median", "best", title="Feature cache", title_justify="left")
    for name, values in seconds.items():
        table.add_row(name, f"{statistics.median(values):.3f} s", f"{min(values):.3f} s")
    encoded, cached = seconds.values()
    ratios = [a / b for a, b in zip(encoded, cached, strict=True)]
    table.add_row("speed-up", f"{statistics.median(ratios):.0f}x", f"{min(encoded) / min(cached):.0f}x")
    return table


def throughput(source: dict[str, Any], folder: Path, args: argparse.Namespace) -> Table:
    """Faces a second of the trainer's steps, beside those of a loop without it."""
    epochs = 2 if args.quick else 3
    _, _, faces = trained(source, folder / "run", {"training.epochs": 1})
    pixels, classes = in_memory(Path(source["data"]["path"]), faces)

    def trainer() -> float:
        return statistics.median(trained(source, folder / "run", {"training.epochs": epochs})[1][1:]) / faces

    def bare() -> float:
        return statistics.median(bare_loop(args, folder / "model.safetensors", pixels, classes, epochs)[1:]) / faces

    seconds = in_turns({"ferkit.train": trainer, "bare loop": bare}, args.repeats, "throughput")
    table = Table("every parameter learns", "median", "best", title="Throughput", title_justify="left")
    for name, values in seconds.items():
        table.add_row(name, f"{1 / statistics.median(values):.1f} faces/s", f"{1 / min(values):.1f} faces/s")
    ours, theirs = seconds.values()
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    table.add_row("share of the bare loop", f"{statistics.median(ratios):.1%}", f"{min(theirs) / min(ours):.1%}")
    return table


def in_memory(table: Path, count: int) -> tuple[Tensor, Tensor]:
    """``count`` pictures of the table as uint8 ``[N, 3, S, S]``, and their classes."""
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1 : count + 1]]
    images = [torch.from_numpy(np.array(Image.open(table.parent / path))).permute(2, 0, 1) for path, _ in rows]
    return torch.stack(images), torch.tensor([SEVEN.index(label) for _, label in rows])


def bare_loop(args: argparse.Namespace, weights: Path, pixels: Tensor, classes: Tensor, epochs: int) -> list[float]:
    """Seconds of each epoch of the same model, augmentation, optimizer and clipping, in the least code that does it."""
    options = Training()
    torch.manual_seed(0)
    model = timm.create_model(args.model, num_classes=0, img_size=args.size)
    model.load_state_dict(load_file(weights))
    network = nn.Sequential(model, nn.Linear(model.num_features, len(SEVEN)))
    settings = timm.data.resolve_model_data_config(model)
    mean, std = torch.tensor([settings["mean"], settings["std"]]).reshape(2, 3, 1, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(pixels) // BATCH)
    augment, seconds = Augmentation(options.augment), []
    for epoch in range(epochs):
        started = time.perf_counter()
        for index in torch.randperm(len(pixels)).split(BATCH):
            each = [augment(pixels[item : item + 1] / 255, seed_of(0, epoch, item))[0] for item in index.tolist()]
            loss = F.cross_entropy(network((torch.cat(each) - mean) / std), classes[index])
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    return seconds


def in_turns(ways: dict[str, Callable[[], float]], repeats: int, title: str) -> dict[str, list[float]]:
    """Each way measured ``repeats`` times, in turns, so that a busy machine disturbs all alike."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in track(range(repeats), title, console=console, transient=True):
        for name, way in list(ways.items())[:: 1 if repeat % 2 else -1]:
            found[name].append(way())
    return found


def memory(folder: Path, args: argparse.Namespace) -> Table:
    """The most memory of a run that prepares, encodes and learns, over the size of the data."""
    table = Table(
        "pictures", "views on disk", "peak, own", "peak, with mapped files", title="Memory", title_justify="left"
    )
    counts = (250, 500) if args.quick else (500, 2000, 8000)
    for count in track(counts, "memory", console=console, transient=True):
        path = folder / f"{count}.yaml"
        path.write_text(yaml.safe_dump(recipe(folder, args, pictures(folder, count, args.size))), encoding="utf-8")
        own, resident = peak(path, folder / f"memory-{count}")
        table.add_row(
            str(count),
            f"{count * 3 * args.size**2 / 2**20:.0f} MiB",
            f"{own:.0f} MiB" if own else "not told here",
            f"{resident:.0f} MiB",
        )
    return table


def peak(path: Path, folder: Path) -> tuple[float, float]:
    """The most MiB that a training process held: of its own (0 where the system does not tell), and in all."""
    command = [sys.executable, "-m", "ferkit", "train", str(path), "--out", str(folder / "run"), "--device", "cpu"]
    command += ["--set", "training.learn=head", "--set", "training.epochs=2"]
    environment = {**os.environ, "FERKIT_CACHE": str(folder / "cache")}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    process, own, resident = psutil.Process(child.pid), 0, 0
    while child.poll() is None:
        try:
            found = process.memory_info()
        except psutil.NoSuchProcess:
            break
        own = max(own, found.rss - getattr(found, "shared", found.rss))
        resident = max(resident, found.rss)
        time.sleep(0.02)
    _, errors = child.communicate()
    if child.returncode:
        raise SystemExit(errors.decode())
    return own / 2**20, resident / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a timm transformer; its input becomes --size")
    parser.add_argument("--size", type=int, default=112, help="side of the pictures, in pixels")
    parser.add_argument("--pictures", type=int, default=None, help="512; 128 with --quick")
    parser.add_argument("--repeats", type=int, default=None, help="5; 2 with --quick")
    parser.add_argument("--only", choices=["cache", "throughput", "memory"])
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it runs")
    args = parser.parse_args()
    args.pictures = args.pictures or (128 if args.quick else 512)
    args.repeats = args.repeats or (2 if args.quick else 5)
    console.print(
        f"{args.model} at {args.size} px, {args.pictures} pictures, batches of {BATCH}, {args.repeats} repeats in turns; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FERKIT_CACHE"] = str(folder / "cache")
        source = recipe(folder, args, pictures(folder, args.pictures, args.size))
        parts = {
            "cache": lambda: cache(source, folder, args),
            "throughput": lambda: throughput(source, folder, args),
            "memory": lambda: memory(folder, args),
        }
        for part, measure in parts.items():
            if args.only in (None, part):
                console.print(measure())


if __name__ == "__main__":
    main()
