"""``ferkit cache``: what was computed before, how much room it takes, and whether it is sound."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from ferkit.cli.common import FAILED, print_table, say, size
from ferkit.errors import FerkitError

app = typer.Typer(no_args_is_help=True, help="Look into the cache, clear it, check it.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.command()
def info(as_json: Json = False) -> None:
    """List the rooms of the cache: entries, size, when the oldest and the newest were written."""
    from ferkit import rooms
    from ferkit.cache import cache_folder

    folder = cache_folder()
    found = [rooms.describe(folder, name) for name in rooms.room_names(folder)]
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "rooms": [asdict(room) for room in found]}, indent=2))
        return
    say(str(folder))
    if not found:
        say("it is empty")
        return
    rows = [(room.name, str(room.entries), size(room.bytes), _when(room.oldest), _when(room.newest)) for room in found]
    print_table(("room", "entries", "size", "oldest", "newest"), rows)


@app.command()
def clear(
    room: Annotated[str | None, typer.Argument(metavar="[ROOM]", help="One room; else all.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what was written longer ago: 30d, 12h, 2w.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove entries. They are computed, and editors asked, again when they are needed."""
    from ferkit import rooms
    from ferkit.cache import cache_folder

    folder, age = cache_folder(), 0.0 if older_than is None else seconds(older_than)
    names = rooms.room_names(folder)
    if room is not None and room not in (*names, *rooms.ROOMS):
        raise FerkitError(f"there is no room {room!r}: choose {', '.join(sorted({*names, *rooms.ROOMS}))}")
    chosen = names if room is None else [room]
    if chosen and not yes:
        what = f"what is older than {older_than} in " if older_than else ""
        typer.confirm(f"Clear {what}{', '.join(chosen)} of {folder}?", abort=True, err=True)
    removed = {name: rooms.clear(folder, name, age) for name in chosen}
    if as_json:
        data = {name: {"entries": count, "bytes": freed} for name, (count, freed) in removed.items()}
        typer.echo(json.dumps({"folder": str(folder), "removed": data}, indent=2))
        return
    for name, (count, freed) in removed.items():
        say(f"{name}: {count} entries removed, {size(freed)}")


@app.command()
def verify(as_json: Json = False) -> None:
    """Read every entry; remove those that are damaged, and what killed processes left behind. Exit code 1 if there were any."""
    from ferkit import rooms
    from ferkit.cache import cache_folder

    folder, count, bad, swept = cache_folder(), 0, dict[str, str](), 0
    for name in rooms.room_names(folder):
        for path, fault in rooms.damaged(folder, name):
            count += 1
            if fault is not None:
                path.unlink(missing_ok=True)
                bad[str(path.relative_to(folder))] = fault
        swept += rooms.sweep(folder, name)
    if as_json:
        typer.echo(
            json.dumps({"folder": str(folder), "entries": count, "damaged": bad, "left_behind": swept}, indent=2)
        )
    else:
        for name, fault in bad.items():
            say(f"damaged, removed: {name} ({fault})")
        say(f"{count} entries read, {len(bad)} damaged")
    if bad:
        raise typer.Exit(FAILED)


def seconds(age: str) -> float:
    """An age such as ``30d`` in seconds.

    Raises:
        FerkitError: If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age)
    if not found:
        raise FerkitError(f"--older-than {age}: write a number and s, m, h, d or w, such as 30d")
    return float(found[1]) * UNITS[found[2]]


def _when(stamp: float | None) -> str:
    return "" if stamp is None else datetime.fromtimestamp(stamp, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
