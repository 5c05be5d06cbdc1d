"""What a person reads of a normalizer's evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferkit.evaluation import plots
from ferkit.evaluation.document import Block, Figure, Table, Text, Title
from ferkit.evaluation.edit_scoring import UNCHANGED, WITHIN
from ferkit.evaluation.figures import SMALL
from ferkit.evaluation.report import NONE, data_line, percent, provenance_table
from ferkit.evaluation.report_of_comparison import points
from ferkit.evaluation.rows import DRAWN

if TYPE_CHECKING:
    from ferkit.evaluation.normalizer_evaluation import NormalizerEvaluation

FATE = ("|yaw|", "n", "missed", "asked", "turned", "failed", "rejected", "seconds a face", "cached")
POSE = (
    *("", "n", "one face", "no pose", "|yaw| before", "|yaw| after", "|pitch| after"),
    *(f"|yaw| ≤ {limit}°" for limit in WITHIN),
    "unchanged",
)
EXPRESSION = ("", "judged", "right before", "right after", "points", "gained", "lost", "harm rate", "drift to neutral")
FRONTAL = ("", "pairs", "before", "after", "difference", "closer")


def headline(metrics: Mapping[str, Any]) -> str:
    """An evaluation in one line."""
    back = metrics["returned"]
    missed = metrics["n_no_face"] + metrics["n_unreadable"]
    return (
        f"{metrics['n_asked']} of {metrics['n']} faces were given to the normalizer ({missed} missed, "
        f"{metrics['n_not_turned']} left alone), {back['n']} came back: median |yaw| {_spread(back['yaw_before'])} before and "
        f"{_spread(back['yaw_after'])} after, {percent(back['unchanged']['share'])} unchanged, "
        f"{percent(back['one_face']['share'])} with one face; {percent(metrics['turned']['share'])} accepted"
    )


def fate_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`FATE` of all faces and of every bin that holds some."""
    return [
        [
            name,
            str(each["n"]),
            str(each["n_no_face"] + each["n_unreadable"]),
            str(each["n_asked"]),
            *(_share(each[decision]) for decision in ("turned", "failed", "rejected")),
            _spread(each["seconds"], "g", ".3"),
            str(each["seconds"]["n_cached"]),
        ]
        for name, each in (("all", metrics), *metrics["by_yaw"].items())
        if each["n"]
    ]


def pose_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`POSE`."""
    return [
        [
            f"{name}{' (too small)' if each['too_small'] else ''}",
            str(each["n"]),
            _share(each["one_face"]),
            str(each["n_no_pose"]),
            *(_spread(each[angle]) for angle in ("yaw_before", "yaw_after", "pitch_after")),
            *(_share(each[f"within_{limit}"]) for limit in WITHIN),
            _share(each["unchanged"]),
        ]
        for name, each in _parts(metrics)
    ]


def expression_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells below :data:`EXPRESSION`, and a cosine an encoder."""
    return [
        [
            f"{name}{' (too small)' if each['judge']['too_small'] else ''}",
            str(each["judge"]["n_scored"]),
            *(percent(each["judge"][side]["accuracy"]) for side in ("a", "b")),
            points(each["judge"]["difference"]["accuracy"], each["judge"]["difference"]["accuracy_interval"]),
            str(each["judge"]["gained"]),
            str(each["judge"]["lost"]),
            percent(each["judge"]["harm_rate"]),
            _mean(each["neutral_drift"], "+.3f"),
            *(_mean(cosine) for cosine in each["cosine"].values()),
        ]
        for name, each in _parts(metrics)
    ]


def blocks(evaluation: "NormalizerEvaluation") -> list[Block]:
    """The report's content."""
    metrics, provenance = evaluation.metrics, evaluation.provenance
    encoders = [f"cosine {name}" for name in metrics["encoders"]]
    return [
        Title(f"Evaluation of the normalizer of {provenance.get('recipe', 'a recipe')}", 1),
        Text(data_line(provenance)),
        Text(f"{headline(metrics)}."),
        Text(_method(metrics)),
        Title("What became of the faces, by |yaw| of the original picture"),
        Table(FATE, fate_rows(metrics)),
        Text(_shares(metrics)),
        Table(("decision", "n", "of all"), _decisions(metrics)),
        Title("Was it turned?"),
        Text(_estimator(provenance)),
        Table(POSE, pose_rows(metrics)),
        Title("Is the expression, is the person the same?"),
        Text(_judge(provenance)),
        Table((*EXPRESSION, *encoders), expression_rows(metrics)),
        Text("What the judge says of each face that came back, before (rows) and after (columns):"),
        Figure(plots.confusion(metrics["flips"], metrics["labels"], "Answer before (rows) and after (columns)")),
        Table(("before \\ after", *metrics["labels"]), _flips(metrics)),
        *_frontal(metrics),
        Title("Where it comes from"),
        provenance_table(provenance),
        Title("Where the pose before and after comes from", 3),
        provenance_table(provenance["pose"]),
        Title("Where the judge comes from", 3),
        provenance_table(provenance["judge"]),
    ]


def _parts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What came back, what of it was accepted, and what came back by bin."""
    yield "all that came back", metrics["returned"]
    yield "accepted", metrics["accepted"]
    for name, each in metrics["by_yaw"].items():
        if each["returned"]["n"]:
            yield name, each["returned"]


def _method(metrics: Mapping[str, Any]) -> str:
    boot = metrics["bootstrap"]
    what = DRAWN[boot["drawn_by"]]
    return (
        f"In brackets {100 * boot['level']:g} % intervals: percentiles of {boot['resamples']} bootstrap resamples of {what} "
        f"({boot['units']} of them, seed {boot['seed']}). Shares of fewer than {SMALL} faces have Wilson's interval, which takes "
        f"faces as independent, means of fewer have none. Angles are medians with the 90th percentile behind them."
    )


def _estimator(provenance: Mapping[str, Any]) -> str:
    pose = provenance["pose"]
    same = " It is also what the recipe's gates go by: what deceives the one deceives the other."
    return (
        f"Yaw and pitch before and after are by {pose['estimator'] or 'nothing'}, in faces that the recipe's detector finds "
        f"anew in what came back.{same if pose['estimator'] == pose['gate'] else ''} unchanged: yaw differs by less than "
        f"{UNCHANGED:g}°. Faces without pose before or after are counted, and in none of the angles."
    )


def _judge(provenance: Mapping[str, Any]) -> str:
    judge = provenance["judge"]
    return (
        f"The judge is {judge['recipe']} ({', '.join(judge['encoders'])}): shown the aligned face before, and after it what came "
        "back. right: agrees with the true label; harm rate: right before, wrong after; drift to neutral: mean of P(neutral) "
        "after minus before; cosine: mean over faces of that of the pooled features before and after. On faces turned far a "
        "judge is itself weak."
    )


def _shares(metrics: Mapping[str, Any]) -> str:
    n = metrics["seconds"]["n_cached"]
    cached = f"{n} were made before, and count with what they took then" if n else "none was made before"
    return f"Shares are of the faces asked for; seconds are the median and, in brackets, the 90th percentile: {cached}."


def _decisions(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, str(n), percent(n / metrics["n"])) for name, n in metrics["decisions"].items()]


def _flips(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(label, *map(str, line)) for label, line in zip(metrics["labels"], metrics["flips"], strict=True)]


def _frontal(metrics: Mapping[str, Any]) -> list[Block]:
    """What came back beside the true frontal view, where the data has pairs."""
    if not any(each["n_paired"] for each in metrics["returned"]["frontal"].values()):
        return []
    rows = [
        [
            f"{name}: {encoder}",
            str(each["n"]),
            *(NONE if each[when] is None else f"{each[when]:.3f}" for when in ("before", "after")),
            _mean(each["difference"], "+.3f"),
            _share(each["closer"]),
        ]
        for name, part in _parts(metrics)
        for encoder, each in part["frontal"].items()
    ]
    return [
        Title("Beside the true frontal view"),
        Text(
            "Cosine of the judge's features with those of the true frontal view (same subject, group and label; frontal by the "
            "data's own pose), before and after; closer: the share for which it rose."
        ),
        Table(FRONTAL, rows),
    ]


def _share(each: Mapping[str, Any]) -> str:
    return percent(each["share"], each["interval"])


def _mean(each: Mapping[str, Any], form: str = ".3f") -> str:
    if each["mean"] is None:
        return NONE
    text = format(each["mean"], form)
    interval: Sequence[float] | None = each["interval"]
    return text if interval is None else f"{text} [{interval[0]:{form}}, {interval[1]:{form}}]"


def _spread(each: Mapping[str, Any], form: str = ".1f", places: str = "") -> str:
    """Median and 90th percentile."""
    if each["median"] is None:
        return NONE
    return f"{each['median']:{places}{form}} ({each['p90']:{places}{form}})"
