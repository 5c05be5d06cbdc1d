"""Seconds to open a tree of RAF-DB's size and to list the samples of both splits.

python benchmarks/bench_datasets.py [--repeats 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from ferkit.datasets import open_dataset

SIZES = {"train": (12_271, 5), "test": (3_068, 4)}  # pictures, digits of their number


def write(root: Path) -> None:
    """The tree, with a byte for each picture: none is read."""
    lines = []
    pictures = root / "Image" / "aligned"
    pictures.mkdir(parents=True)
    (root / "EmoLabel").mkdir()
    for split, (count, digits) in SIZES.items():
        for number in range(1, count + 1):
            name = f"{split}_{number:0{digits}d}"
            lines.append(f"{name}.jpg {number % 7 + 1}")
            (pictures / f"{name}_aligned.jpg").write_bytes(b"\0")
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            dataset = open_dataset("rafdb", path=folder)
            found = sum(len(list(dataset.samples(split))) for split in dataset.splits)
            seconds.append(time.perf_counter() - started)
        assert found == sum(count for count, _ in SIZES.values())
        print(f"{found} samples: {min(seconds):.2f} s best, {statistics.median(seconds):.2f} s median of {repeats}")


if __name__ == "__main__":
    main()
