"""Seconds from a cold process: listings, and the first prediction.

python benchmarks/bench_startup.py [--repeats 5]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMAGE = Path(__file__).parent.parent / "examples" / "images" / "astronaut.jpg"
FERKIT = Path(sys.executable).with_name("ferkit")
COMMANDS = {
    "ferkit --help": [FERKIT, "--help"],
    "ferkit plugins": [FERKIT, "plugins"],
    "import torch": [sys.executable, "-c", "import torch"],
    "first prediction": [sys.executable, "-c", f"import ferkit; print(ferkit.pipeline()({str(IMAGE)!r})[0].label)"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for name, command in COMMANDS.items():
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
        print(f"{name:17}: {min(seconds):.2f} s best, {statistics.median(seconds):.2f} s median of {repeats}")


if __name__ == "__main__":
    main()
