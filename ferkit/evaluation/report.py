"""What a person reads of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferkit.evaluation import plots
from ferkit.evaluation.document import Block, Figure, Table, Text, Title
from ferkit.evaluation.figures import SMALL
from ferkit.evaluation.rows import DRAWN
from ferkit.evaluation.scoring import FEW

if TYPE_CHECKING:
    from ferkit.evaluation.evaluation import Evaluation

NONE = "-"
SUMMARY = ("n", "scored", "accuracy", "accuracy_all", "UAR", "macro-F1")


def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A share as text, with its interval where it has one."""
    if value is None:
        return NONE
    text = f"{100 * value:.1f} %"
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def summary_cells(each: Mapping[str, Any]) -> list[str]:
    """The cells below :data:`SUMMARY` of a summary."""
    names = ("accuracy", "accuracy_all", "uar", "macro_f1")
    figures = [percent(each[name], each[f"{name}_interval"]) for name in names]
    return [f"{each['n']}{' (too small)' if each['too_small'] else ''}", str(each["n_scored"]), *figures]


def headline(metrics: Mapping[str, Any]) -> str:
    """An evaluation in one line."""
    missed = metrics["n_no_face"] + metrics["n_unreadable"]
    return (
        f"accuracy {percent(metrics['accuracy'], metrics['accuracy_interval'])} of {metrics['n_scored']} scored faces, "
        f"UAR {percent(metrics['uar'])}, macro-F1 {percent(metrics['macro_f1'])}; {percent(metrics['accuracy_all'])} of all "
        f"{metrics['n']}, {missed} of them missed"
    )


def blocks(evaluation: "Evaluation") -> list[Block]:
    """The report's content."""
    metrics = evaluation.metrics
    return [
        Title(f"Evaluation of {evaluation.provenance.get('recipe', 'predictions')}", 1),
        Text(data_line(evaluation.provenance)),
        Title("Result"),
        Table(("", *SUMMARY), [["all", *summary_cells(metrics)]]),
        Text(_method(metrics)),
        Title("What was missed or left as it was"),
        _losses(metrics),
        Title("By class"),
        _classes(metrics["per_class"]),
        *([Text(_few(metrics))] if _few(metrics) else []),
        Figure(plots.confusion(metrics["confusion"], metrics["labels"])),
        _confusion(metrics),
        *_calibration(metrics),
        *_poses(metrics, evaluation.provenance),
        Title("Where it comes from"),
        provenance_table(evaluation.provenance),
    ]


def data_line(provenance: Mapping[str, Any]) -> str:
    """The data, in one line."""
    data = provenance.get("data", {})
    dropped = f", {data['dropped']} more left out by data.drop_labels" if data.get("dropped") else ""
    return (
        f"Data: {data.get('name', 'unknown')}, split {data.get('split', 'unknown')}, {data.get('n', '?')} annotated faces"
        f"{dropped}."
    )


def _method(metrics: Mapping[str, Any]) -> str:
    boot = metrics["bootstrap"]
    what = DRAWN[boot["drawn_by"]]
    return (
        f"In brackets {100 * boot['level']:g} % intervals: percentiles of {boot['resamples']} bootstrap resamples of {what} "
        f"({boot['units']} of them, seed {boot['seed']}), for UAR within classes where a unit has one class. Fewer than "
        f"{SMALL} scored faces are marked too small; their accuracies have Wilson's interval. accuracy, UAR and macro-F1 are "
        "of scored faces; accuracy_all counts every missed face as wrong."
    )


def _losses(metrics: Mapping[str, Any]) -> Table:
    named = {
        "no face found": metrics["n_no_face"],
        "picture unreadable": metrics["n_unreadable"],
        "no pose": metrics["n_no_pose"],
        "edit failed": metrics["n_edit_failed"],
        "edit rejected": metrics["n_edit_rejected"],
    }
    shown = {name: n for name, n in metrics["flags"].items() if name not in ("no_pose", "edit_failed")}
    rows = [(name, str(n), percent(n / metrics["n"])) for name, n in {**named, **shown}.items()]
    return Table(("", "n", "of all"), rows)


def _classes(found: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        ("label", "precision", "recall", "F1", "scored", "annotated"),
        [
            (
                f"{label}{' (few)' if each['few'] else ''}",
                *(percent(each[name]) for name in ("precision", "recall", "f1")),
                str(each["support"]),
                str(each["annotated"]),
            )
            for label, each in found.items()
        ],
    )


def _few(metrics: Mapping[str, Any]) -> str:
    few = [label for label, each in metrics["per_class"].items() if each["few"]]
    return f"Fewer than {FEW} scored faces: {', '.join(few)}. Their figures say little." if few else ""


def _confusion(metrics: Mapping[str, Any]) -> Table:
    rows = [(label, *map(str, line)) for label, line in zip(metrics["labels"], metrics["confusion"], strict=True)]
    return Table(("true label \\ answer", *metrics["labels"]), rows)


def _calibration(metrics: Mapping[str, Any]) -> list[Block]:
    if metrics["ece"] is None:
        return []
    cells = [f"{metrics[name]:.4f}" for name in ("nll", "brier", "ece")]
    return [
        Title("Calibration"),
        Table(("", "NLL", "Brier (0..2)", "ECE (15 bins)"), [["scored", *cells]]),
        Figure(plots.reliability(metrics["reliability"], metrics["ece"])),
    ]


def _poses(metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[Block]:
    return [
        Title("By pose"),
        Text(pose_line(metrics["pose_from"], provenance)),
        Title("|yaw| in degrees", 3),
        Figure(plots.accuracy_bars(_filled(metrics["by_yaw"]), "Accuracy by |yaw|; red: of all faces")),
        _bins(metrics["by_yaw"]),
        Text("Bins differ in their classes; UAR does not depend on how often each is there. Class mix:"),
        _mix(metrics),
        Title("|yaw|, inner edges shifted by -5 and by +5 degrees", 3),
        *[_bins(each) for each in metrics["by_yaw_shifted"].values()],
        Title("Yaw, towards the left (< 0) and the right of the image", 3),
        _bins(metrics["by_signed_yaw"]),
        Title("Pitch, > 0 upwards", 3),
        _bins(metrics["by_pitch"]),
    ]


def pose_line(origins: Mapping[str, int], provenance: Mapping[str, Any]) -> str:
    """Where the pose of the bins comes from."""
    by = provenance.get("pose", {}).get("estimator") or "no estimator"
    return (
        f"Pose is of the original picture: known to the data set for {origins.get('data', 0)} faces, estimated by {by} for "
        f"{origins.get('estimated', 0)}, unknown for {origins.get('none', 0)}. Missed faces are in the bin no pose, "
        "unless the data tells their pose."
    )


def _filled(bins: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: each for name, each in bins.items() if each["n"]}


def _bins(bins: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(("bin", *SUMMARY), [[name, *summary_cells(each)] for name, each in _filled(bins).items()])


def _mix(metrics: Mapping[str, Any]) -> Table:
    rows = [
        (name, *(percent(n / each["n"]) for n in each["class_mix"].values()))
        for name, each in _filled(metrics["by_yaw"]).items()
    ]
    return Table(("bin", *metrics["labels"]), rows)


def provenance_table(provenance: Mapping[str, Any]) -> Table:
    """Recipe, data, software, weights and licences."""
    licences = {
        f"licence of {path}": f"{each['use']}: code {each['licence']}, weights {each['weights_licence'] or 'none or not stated'}"
        for path, each in provenance.get("components", {}).items()
    }
    rows = {
        "recipe digest": provenance.get("recipe_digest"),
        "data digest": provenance.get("data", {}).get("digest"),
        **{f"version of {name}": version for name, version in provenance.get("distributions", {}).items()},
        **{f"weights {name}": digest for name, digest in provenance.get("weights", {}).items()},
        **licences,
        **{name: provenance.get(name) for name in ("seed", "device", "python", "torch")},
    }
    return Table(("", "value"), [(name, str(value)) for name, value in rows.items() if value is not None])
