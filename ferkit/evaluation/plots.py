"""Plots of a report as SVG: few shapes each, so that they need no library and nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDE, HIGH, LEFT, TOP, UNDER = 560, 300, 56, 30, 48  # pixels: the drawing, and what is around its axes
BLUE, GREY, RED = "#4e79a7", "#999", "#e15759"
CELL = 54


def _svg(wide: float, high: float, shapes: Sequence[str], title: str) -> str:
    label = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" '
        f'role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="12">'
        f"{_text(LEFT, 16, title, 'start', bold=True)}{''.join(shapes)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", bold: bool = False, colour: str = "#222") -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'


def _rect(x: float, y: float, wide: float, high: float, colour: str, tip: str = "") -> str:
    inner = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{colour}">{inner}</rect>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str = "#222", dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"{dash}/>'


def _scale(low: float = 0.0, high: float = 1.0) -> tuple[list[str], Any]:
    """The vertical axis from ``low`` to ``high`` as shapes, and the function from a value to its place on it."""

    def place(value: float) -> float:
        return TOP + (HIGH - TOP - UNDER) * (high - value) / (high - low)

    ticks = [low + (high - low) * step / 4 for step in range(5)]
    shapes = [_line(LEFT, place(tick), WIDE, place(tick), "#ddd") for tick in ticks]
    return shapes + [_text(LEFT - 6, place(tick) + 4, f"{100 * tick:.0f} %", "end") for tick in ticks], place


def accuracy_bars(bins: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """Accuracy of scored faces by bin with its interval and n, and as a red line that of all faces."""
    shapes, place = _scale()
    step = (WIDE - LEFT) / max(len(bins), 1)
    for index, (name, each) in enumerate(bins.items()):
        x, middle = LEFT + index * step, LEFT + (index + 0.5) * step
        shapes += [_text(middle, HIGH - 30, name), _text(middle, HIGH - 14, f"n = {each['n']}", colour=GREY)]
        if each["accuracy"] is not None:
            top = place(each["accuracy"])
            shapes.append(_rect(x + step * 0.2, top, step * 0.6, place(0) - top, GREY if each["too_small"] else BLUE))
        if each["accuracy_interval"]:
            shapes.append(
                _line(middle, place(each["accuracy_interval"][0]), middle, place(each["accuracy_interval"][1]))
            )
        if each["accuracy_all"] is not None:
            level = place(each["accuracy_all"])
            shapes.append(_line(x + step * 0.12, level, x + step * 0.88, level, RED))
    return _svg(WIDE, HIGH, shapes, title)


def reliability(bins: Sequence[Mapping[str, Any]], ece: float) -> str:
    """Accuracy against confidence; on the diagonal they agree."""
    shapes, place = _scale()
    across = WIDE - LEFT

    for each in bins:
        x, top = LEFT + across * each["from"], place(each["accuracy"])
        tip = f"{each['from']:.2f}-{each['to']:.2f}: n = {each['n']}, confidence {each['confidence']:.3f}"
        shapes.append(_rect(x + 1, top, across * (each["to"] - each["from"]) - 2, place(0) - top, BLUE, tip))
        middle = LEFT + across * each["confidence"]
        shapes.append(_line(middle, place(each["confidence"]), middle, top, RED))
    shapes.append(_line(LEFT, place(0), WIDE, place(1), GREY, dashed=True))
    shapes += [_text(LEFT + across * tick / 5, HIGH - 30, f"{20 * tick} %") for tick in range(1, 5)]
    shapes.append(_text(LEFT + across / 2, HIGH - 12, "confidence"))
    return _svg(WIDE, HIGH, shapes, f"Accuracy by confidence (ECE {ece:.3f})")


def confusion(
    counts: Sequence[Sequence[int]], labels: Sequence[str], title: str = "True label (rows) and answer (columns)"
) -> str:
    """Counts, darker the larger their share of their row's faces."""
    left, top = 100, 60
    shapes = []
    for row, (label, line) in enumerate(zip(labels, counts, strict=True)):
        total = max(sum(line), 1)
        y = top + row * CELL
        shapes += [
            _text(left - 6, y + CELL / 2 + 4, label, "end"),
            _text(left + (row + 0.5) * CELL, top - 8, label[:8]),
        ]
        for column, n in enumerate(line):
            share = n / total
            tone = tuple(round(255 - share * (255 - dark)) for dark in (0x4E, 0x79, 0xA7))
            x = left + column * CELL
            shapes.append(_rect(x, y, CELL - 1, CELL - 1, f"rgb{tone}".replace(" ", ""), f"{share:.1%}"))
            shapes.append(_text(x + CELL / 2, y + CELL / 2 + 4, str(n), colour="white" if share > 0.55 else "#222"))
    side = len(labels) * CELL
    return _svg(left + side + 4, top + side + 4, shapes, title)


def differences(bins: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """Difference in accuracy by bin with its interval."""
    known = {name: each for name, each in bins.items() if each["difference"]["accuracy"] is not None}
    bounds = [abs(bound) for each in known.values() for bound in each["difference"]["accuracy_interval"] or ()]
    most = min(max([0.02, *bounds, *(abs(each["difference"]["accuracy"]) for each in known.values())]) * 1.1, 1.0)
    shapes, place = _scale(-most, most)
    step = (WIDE - LEFT) / max(len(known), 1)
    for index, (name, each) in enumerate(known.items()):
        x, middle = LEFT + index * step, LEFT + (index + 0.5) * step
        value, interval = place(each["difference"]["accuracy"]), each["difference"]["accuracy_interval"]
        shapes.append(_rect(x + step * 0.2, min(value, place(0)), step * 0.6, abs(value - place(0)), BLUE))
        if interval:
            shapes.append(_line(middle, place(interval[0]), middle, place(interval[1])))
        shapes += [_text(middle, HIGH - 30, name), _text(middle, HIGH - 14, f"n = {each['n_scored']}", colour=GREY)]
    return _svg(WIDE, HIGH, [*shapes, _line(LEFT, place(0), WIDE, place(0))], title)
