"""Figures against scikit-learn, intervals against what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from ferkit.evaluation.bins import by_pitch, by_signed_yaw, by_yaw
from ferkit.evaluation.calibration import calibration
from ferkit.evaluation.contrast import holm, mcnemar
from ferkit.evaluation.figures import NAMES, Answers, percentiles, resampled, summary, wilson
from ferkit.evaluation.resampling import Bootstrap, Kinds

C = 4


def answers(systems=1):
    """Any truth, answers and units of up to 40 faces; skewed, so that classes are missing and faces missed."""

    def build(n, seed, skew, grouped):
        rng = np.random.default_rng(seed)
        truth = rng.choice(C, n, p=rng.dirichlet(np.full(C, skew)))
        guesses = rng.choice(C + 1, (n, systems), p=rng.dirichlet(np.full(C + 1, skew)))
        return Answers(C, truth, guesses, rng.integers(0, 7, n) if grouped else np.arange(n))

    seeds = st.integers(0, 2**32 - 1)
    return st.builds(build, st.integers(1, 40), seeds, st.sampled_from((0.1, 1.0, 10.0)), st.booleans())


def expected(truth, guess, scored):
    """The figures as scikit-learn has them."""
    found = {"accuracy_all": accuracy_score(truth, guess)}
    truth, guess = truth[scored], guess[scored]
    if not len(truth):
        return {**dict.fromkeys(NAMES, np.nan), **found}
    return {
        "accuracy": accuracy_score(truth, guess),
        **found,
        "uar": recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0),
        "macro_f1": f1_score(truth, guess, average="macro", zero_division=0),
    }


@given(answers(systems=2))
def test_figures_are_those_of_scikit_learn(both):
    for guess, found in zip(both.guesses.T, both.observed(), strict=True):
        assert found == pytest.approx(expected(both.truth, guess, both.scored), nan_ok=True)


@given(answers(), st.booleans())
@settings(max_examples=50)
def test_a_resample_is_of_whole_units(one, by_class):
    """Each holds as many units as there are, and no cell that the data lacks."""
    kinds = one.kinds(by_class)
    sizes = np.unique(np.bincount(one.units)[np.unique(one.units)])
    n = len(np.unique(one.units))
    assert kinds.units.sum() == n
    for counts in kinds.resamples(Bootstrap(100)):
        totals = counts.sum(1)
        assert (counts >= 0).all() and (totals >= n * sizes.min()).all() and (totals <= n * sizes.max()).all()
        if by_class and (sizes == 1).all():
            truth = kinds.cells // (C + 1)
            for label in range(C):
                assert (counts[:, truth == label].sum(1) == (one.truth == label).sum()).all()


@pytest.mark.parametrize("per_unit", [1, 5, 100])
def test_the_bootstrap_is_the_one_that_draws_units_one_by_one(per_unit):
    rng = np.random.default_rng(0)
    n = 600
    truth = rng.integers(0, C, n)
    units = np.arange(n) // per_unit
    wrong = np.repeat(rng.random(n // per_unit), per_unit) < 0.4  # units differ, as people do
    guess = np.where(wrong, (truth + 1) % C, truth)
    (found,) = resampled(Answers(C, truth, guess[:, None], units), Bootstrap(4000))
    right = (guess == truth).reshape(-1, per_unit).mean(1)
    plain = right[rng.integers(len(right), size=(4000, len(right)))].mean(1)
    assert found["accuracy"].mean() == pytest.approx(plain.mean(), abs=0.01)
    assert found["accuracy"].std() == pytest.approx(plain.std(), rel=0.1)


def test_units_of_one_class_are_drawn_among_themselves():
    truth, units = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2])
    kinds = Kinds.of(truth, units, truth)
    assert sorted(kinds.strata.tolist()) == [-1, 0, 1]


def test_an_interval_covers_the_truth_as_often_as_it_says():
    """200 samples of 20 people with 15 faces each, who differ: 95 % intervals by subject cover, by face they don't."""
    rng = np.random.default_rng(1)
    covered = {"subject": 0, "face": 0}
    for _ in range(200):
        ability = rng.beta(4, 2, size=20)  # mean 2/3
        right = rng.random((20, 15)) < ability[:, None]
        truth = np.tile(np.arange(15) % 2, (20, 1))
        guess = np.where(right, truth, 1 - truth)
        for name, units in (("subject", np.repeat(np.arange(20), 15)), ("face", np.arange(300))):
            one = Answers(2, truth.ravel(), guess.ravel()[:, None], units)
            low, high = percentiles(resampled(one, Bootstrap(400))[0]["accuracy"], 0.95)
            covered[name] += low <= 2 / 3 <= high
    assert 178 <= covered["subject"] <= 198
    assert covered["face"] < 160


def test_wilson_is_wilsons():
    n, right, z = 40, 31, stats.norm.ppf(0.975)
    centre = (right + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(right * (n - right) / n + z**2 / 4)
    assert wilson(right, n) == pytest.approx([centre - half, centre + half])
    assert wilson(0, 0) is None


def small(n, wrong=0):
    truth = np.arange(n) % 2
    return Answers(2, truth, np.where(np.arange(n) < wrong, 1 - truth, truth)[:, None], np.arange(n))


def test_few_faces_are_marked_and_have_wilsons_interval():
    found = summary(small(49, wrong=9), Bootstrap(200))
    assert found["too_small"] and found["accuracy_interval"] == wilson(40, 49)
    assert found["uar"] is not None and found["uar_interval"] is None
    assert not summary(small(50), Bootstrap(200))["too_small"]


def test_an_interval_does_not_collapse_where_all_are_right():
    assert summary(small(80), Bootstrap(200))["accuracy_interval"] == wilson(80, 80)


def test_nothing_scored_has_no_accuracy_but_is_all_wrong():
    missed = Answers(2, np.array([0, 1]), np.array([[2], [2]]), np.arange(2))
    found = summary(missed, Bootstrap(200))
    assert (found["accuracy"], found["uar"], found["accuracy_all"], found["n"]) == (None, None, 0.0, 2)
    assert summary(missed.select(np.array([], dtype=int)), Bootstrap(200))["accuracy_all"] is None


def test_a_seed_decides_an_interval():
    one = small(100, wrong=30)
    assert summary(one, Bootstrap(500, 3)) == summary(one, Bootstrap(500, 3))
    assert summary(one, Bootstrap(500, 3)) != summary(one, Bootstrap(500, 4))


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_calibration_by_its_definitions(n, seed):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(C), n)
    truth = rng.integers(0, C, n)
    found = calibration(shares, truth)
    assert found["nll"] == pytest.approx(log_loss(truth, shares, labels=range(C)))
    assert found["brier"] == pytest.approx(((shares - np.eye(C)[truth]) ** 2).sum(1).mean())
    confidence, right = shares.max(1), shares.argmax(1) == truth
    ece = 0.0
    for low in range(15):
        own = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if own.any():
            ece += own.mean() * abs(right[own].mean() - confidence[own].mean())
    assert found["ece"] == pytest.approx(ece)
    assert sum(each["n"] for each in found["reliability"]) == n


@given(st.lists(st.one_of(st.floats(-180, 180), st.just(float("nan"))), max_size=30))
def test_every_face_is_in_one_bin(angles):
    values = np.array(angles, dtype=float)
    for bins in (by_yaw(values), by_yaw(values, 5), by_yaw(values, -5), by_signed_yaw(values), by_pitch(values)):
        assert (np.sum(list(bins.values()), axis=0) == 1).all()
        assert (bins["no pose"] == np.isnan(values)).all()


def test_edges_of_bins():
    names = {
        yaw: [name for name, own in by_yaw(np.array([yaw])).items() if own[0]] for yaw in (14.9, -15.0, 90.0, 91.0)
    }
    assert names == {14.9: ["0-15"], -15.0: ["15-30"], 90.0: ["60-90"], 91.0: ["beyond 90"]}
    assert by_yaw(np.array([17.0]), 5)["0-20"][0] and by_yaw(np.array([12.0]), -5)["10-25"][0]
    assert by_signed_yaw(np.array([-20.0]))["left 15-30"][0]


def test_mcnemar_and_holm():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 8) == pytest.approx(2 * stats.binom.cdf(1, 9, 0.5))
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(values):
    found = holm(values)
    assert all(value <= more <= 1 for value, more in zip(values, found, strict=True))
    ordered = [found[index] for index in np.argsort(values, kind="stable")]
    assert ordered == sorted(ordered)
