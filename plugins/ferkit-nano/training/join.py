"""Join tables of faces into one.

python join.py turned/manifest.csv turned2/manifest.csv frontal/manifest.csv --originals 2 --out learnt.csv

`--originals` names the pictures as they were taken more than once, so that they are not lost among their copies.
"""

import argparse
import csv
from pathlib import Path

from ferkit.writers import replacing, write_csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+", help="with the same columns; pictures beside them, or anywhere")
    parser.add_argument("--originals", type=int, default=1, help="how many times those of training are named")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    joined: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for number, table in enumerate(args.tables):
        with table.open(newline="") as file:
            rows = csv.DictReader(file)
            columns = columns or list(rows.fieldnames or ())
            if apart := set(columns) ^ set(rows.fieldnames or ()):
                parser.error(f"{table} and {args.tables[0]} differ in columns: {', '.join(sorted(apart))}")
            for row in rows:
                original = not any(mark in row["id"] for mark in "@#")
                name = row["id"] if original else f"{row['id']}/{number}"
                row |= {"id": name, "image": str((table.parent / row["image"]).absolute())}
                joined[name] = row
                for again in range(1, args.originals if original and row["split"] == "train" else 1):
                    joined[f"{name}#{again}"] = row | {"id": f"{name}#{again}"}
    with replacing(args.out) as path:
        write_csv(path, joined.values(), columns)
    print(f"{len(joined)} pictures")


if __name__ == "__main__":
    main()
