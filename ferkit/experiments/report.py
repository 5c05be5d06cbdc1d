"""What a person reads of the paper's experiment."""

from collections.abc import Iterator, Mapping
from typing import Any

from ferkit.evaluation.document import Block, Table, Text, Title
from ferkit.evaluation.figures import SMALL
from ferkit.evaluation.report import NONE, SUMMARY, percent, summary_cells
from ferkit.evaluation.report_of_comparison import TITLES, p_value, points
from ferkit.experiments.arms import PAPER
from ferkit.experiments.results import COUNTS, FIGURES, YAW

DIFFERENCES = (
    "arm",
    "pairs scored",
    "accuracy",
    "UAR",
    "macro-F1",
    "gained",
    "lost",
    "harm rate",
    "McNemar p",
    "Holm p",
)
COUNTED = ("arm", "no face", "unreadable", "no pose", "edit failed", "edit rejected", "below the gate")
ARMS = ("arm", *SUMMARY)


def blocks(results: Mapping[str, Any]) -> list[Block]:
    """The report's content."""
    return [
        Title(f"The paper's experiment on {results['data'].partition(':')[0]}", 1),
        Text(
            f"Every arm is the recipe {results['recipe']} with one part changed. The paper states neither prompt, thresholds, "
            "fusion nor training: these are ferkit's, and no figure here is the paper's."
        ),
        Title(f"The paper beside the arm {PAPER}"),
        Table(("", "accuracy", "n"), published_rows(results)),
        Text(_about_published(results)),
        Title("All faces"),
        Table(ARMS, arm_rows(results)),
        Text(_method(results)),
        Title(f"Difference to {results['baseline']}, points, on the same faces"),
        Table(DIFFERENCES, difference_rows(results)),
        Text(
            "gained: right here and wrong there; lost: the other way round; harm rate: lost of the pairs that both scored. "
            "McNemar's test is exact and takes faces as independent; Holm adjusts it for the number of arms."
        ),
        *_by_yaw(results),
        *_over_seeds(results),
        Title("What was missed or left as it was"),
        Table(COUNTED, [(name, *(str(run[count]) for count in COUNTS)) for name, run in _first(results)]),
        *_missing(results),
    ]


def published_rows(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The paper's accuracy, and ours where there is one."""
    paper, ours = results["published"], dict(_first(results)).get(PAPER)
    n = str(paper["n"]) if paper["n"] else "not stated"
    rows = [("Chen et al. 2026", _precise(paper["accuracy"], paper["interval"]), n)]
    if ours:
        rows.append((PAPER, _precise(ours["accuracy_all"], ours["accuracy_all_interval"]), str(ours["n"])))
    return rows


def arm_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`ARMS` of every arm: those of its first seed, or why there are none."""
    runs = dict(_first(results))
    return [
        [name, *(summary_cells(runs[name]) if name in runs else [each["state"], *[NONE] * (len(SUMMARY) - 1)])]
        for name, each in results["arms"].items()
    ]


def difference_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`DIFFERENCES` of every arm that was compared."""
    rows = []
    for name, run in _first(results):
        if found := run["against_baseline"]:
            apart = found["difference"]
            figures = [points(apart[figure], apart[f"{figure}_interval"]) for figure in ("accuracy", "uar", "macro_f1")]
            counts = [str(found["gained"]), str(found["lost"]), percent(found["harm_rate"])]
            tests = [p_value(found[key]) for key in ("mcnemar_p", "holm_p")]
            rows.append([name, str(found["n_scored"]), *figures, *counts, *tests])
    return rows


def _first(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The arms that have one, with the run of their first seed."""
    return ((name, each["runs"][0]) for name, each in results["arms"].items() if each["runs"])


def _precise(value: float, interval: Any) -> str:
    bounds = f" [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]" if interval else ""
    return f"{100 * value:.2f} %{bounds}"


def _about_published(results: Mapping[str, Any]) -> str:
    paper, ours = results["published"], dict(_first(results)).get(PAPER)
    text = (
        "The paper's interval is Wilson's for one run on that many pictures; ours counts every missed face as wrong. "
    )
    told = f"{100 * paper['accuracy']:.2f} %"
    if paper["n"] and f"{100 * round(paper['accuracy'] * paper['n']) / paper['n']:.2f} %" != told:
        text += f"No number of right answers among {paper['n']} gives {told}. "
    if paper["interval"] is None:
        return f"{text}The paper's split is not stated, so the two are of different pictures."
    if ours is None:
        return text.strip()
    low, high = ours["accuracy_all_interval"] or (ours["accuracy_all"],) * 2
    meets = low <= paper["interval"][1] and high >= paper["interval"][0]
    return (
        f"{text}The two intervals {'overlap' if meets else 'do not overlap'}. That says nothing of the paper's method."
    )


def _method(results: Mapping[str, Any]) -> str:
    boot = results["bootstrap"]
    return (
        f"Figures are of each arm's first seed. In brackets {100 * boot['level']:g} % intervals: percentiles of "
        f"{boot['resamples']} bootstrap resamples, seed {boot['seed']}. accuracy, UAR and macro-F1 are of scored faces; "
        f"accuracy_all counts every missed face as wrong. Fewer than {SMALL} scored faces are marked too small; their accuracies "
        "have Wilson's interval. Each arm's folder holds its recipe, run and report."
    )


def _by_yaw(results: Mapping[str, Any]) -> list[Block]:
    content: list[Block] = [
        Title("By |yaw| in degrees"),
        Text(f"Of the original picture, as the report of {results['baseline']} has it. >45 is within >30."),
    ]
    for name in YAW:
        rows = [[arm, *summary_cells(run["by_yaw"][name])] for arm, run in _first(results) if run["by_yaw"][name]["n"]]
        content += [Title(name, 3), Table(ARMS, rows) if rows else Text("No faces.")]
    return content


def _over_seeds(results: Mapping[str, Any]) -> list[Block]:
    known = {name: each["over_seeds"] for name, each in results["arms"].items() if each["over_seeds"]}
    if not known:
        return []
    rows = [
        (name, str(len(each["seeds"])), *(_spread(each[figure]) for figure in FIGURES)) for name, each in known.items()
    ]
    return [
        Title("Over seeds"),
        Table(("arm", "seeds", *(TITLES[figure] for figure in FIGURES)), rows),
        Text(
            "Mean and standard deviation over seeds: how much training varies, not how much the choice of faces does."
        ),
    ]


def _spread(found: Mapping[str, float] | None) -> str:
    return f"{100 * found['mean']:.1f} ± {100 * found['sd']:.1f} %" if found else NONE


def _missing(results: Mapping[str, Any]) -> list[Block]:
    rows = [
        (name, each["state"], each["what"], each["reason"]) for name, each in results["arms"].items() if each["reason"]
    ]
    return [Title("Arms without a result"), Table(("arm", "", "is", "why"), rows)] if rows else []
