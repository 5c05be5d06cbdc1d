"""What a person reads of a comparison."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferkit.evaluation import plots
from ferkit.evaluation.document import Block, Figure, Table, Text, Title
from ferkit.evaluation.figures import NAMES, SMALL
from ferkit.evaluation.report import NONE, data_line, percent, provenance_table
from ferkit.evaluation.rows import DRAWN

if TYPE_CHECKING:
    from ferkit.evaluation.comparison import Comparison

TITLES = {"accuracy": "accuracy", "accuracy_all": "accuracy_all", "uar": "UAR", "macro_f1": "macro-F1"}
BINS = ("|yaw| of A", "n", "both scored", "A", "B", "B - A", "gained", "lost", "harm rate", "McNemar p", "Holm p")


def points(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A difference of shares in points, with its interval where it has one."""
    if value is None:
        return NONE
    text = f"{100 * value:+.1f}"
    return text if interval is None else f"{text} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def difference_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, A, B and B - A of every figure."""
    apart = metrics["difference"]
    return [
        (
            TITLES[name],
            percent(metrics["a"][name]),
            percent(metrics["b"][name]),
            points(apart[name], apart[f"{name}_interval"]),
        )
        for name in NAMES
    ]


def bin_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`BINS` of every bin that holds faces."""
    return [
        [
            name,
            f"{each['n']}{' (too small)' if each['too_small'] else ''}",
            str(each["n_scored"]),
            percent(each["a"]["accuracy"]),
            percent(each["b"]["accuracy"]),
            points(each["difference"]["accuracy"], each["difference"]["accuracy_interval"]),
            str(each["gained"]),
            str(each["lost"]),
            percent(each["harm_rate"]),
            p_value(each["mcnemar_p"]) if each["n_scored"] else NONE,
            NONE if each["holm_p"] is None else p_value(each["holm_p"]),
        ]
        for name, each in metrics["by_yaw"].items()
        if each["n"]
    ]


def flips(metrics: Mapping[str, Any]) -> str:
    """Who gained and who lost, in one line."""
    return (
        f"{metrics['gained']} gained and {metrics['lost']} lost of {metrics['n_scored']} faces that both scored: harm rate "
        f"{percent(metrics['harm_rate'])} (right in A, wrong in B), McNemar's exact p {p_value(metrics['mcnemar_p'])}"
    )


def unpaired(metrics: Mapping[str, Any]) -> str:
    """Which rows have no partner, and which labels, in one line."""
    text = f"{metrics['n_paired']} faces are in both, {metrics['only_a']} only in A, {metrics['only_b']} only in B"
    for side in ("a", "b"):
        if metrics[f"labels_only_{side}"]:
            text += f"; only {side.upper()} knows {', '.join(metrics[f'labels_only_{side}'])}"
    return text


def blocks(comparison: "Comparison", notes: Sequence[str]) -> list[Block]:
    """The report's content; ``notes`` tell what could not be drawn."""
    metrics, a, b = comparison.metrics, comparison.provenance["a"], comparison.provenance["b"]
    return [
        Title(f"{b.get('recipe', 'B')} (B) against {a.get('recipe', 'A')} (A)", 1),
        Text(f"A. {data_line(a)} B. {data_line(b)} {unpaired(metrics)}."),
        *_other_data(a, b),
        Title("Result"),
        Table(("", "A", "B", "B - A, points"), difference_rows(metrics)),
        Text(f"{flips(metrics)}."),
        Text(_method(metrics)),
        Title("By pose"),
        Text(f"By the pose that A's report holds, estimated by {a.get('pose', {}).get('estimator') or 'nothing'}."),
        Figure(plots.differences(metrics["by_yaw"], "B - A in accuracy by |yaw|, points")),
        Table(BINS, bin_rows(metrics)),
        *[Text(note) for note in notes],
        Title("Where A comes from"),
        provenance_table(a),
        Title("Where B comes from"),
        provenance_table(b),
    ]


def _other_data(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Block]:
    one, two = (side.get("data", {}).get("digest") for side in (a, b))
    return (
        []
        if one == two
        else [Text("The annotations of A's and B's data are not the same; only common ids are compared.")]
    )


def _method(metrics: Mapping[str, Any]) -> str:
    boot = metrics["bootstrap"]
    what = DRAWN[boot["drawn_by"]]
    return (
        f"In brackets {100 * boot['level']:g} % intervals: percentiles of the difference over {boot['resamples']} bootstrap "
        f"resamples of {what} ({boot['units']} of them, seed {boot['seed']}), A and B on the same ones. accuracy, UAR and "
        "macro-F1 are of faces that both scored; accuracy_all is of all pairs, a missed face being wrong. McNemar's test takes "
        f"faces as independent. Fewer than {SMALL} faces that both scored are marked too small."
    )


def p_value(value: float) -> str:
    """A p-value as text."""
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
