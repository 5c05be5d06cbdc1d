from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferkit import Sample
from ferkit.datasets.split import hold_out

LABELS = st.sampled_from(["neutral", "happiness", "sadness"])
PEOPLE = st.one_of(st.none(), st.integers(0, 30).map(str))
ROWS = st.lists(st.tuples(LABELS, PEOPLE, PEOPLE), min_size=1, max_size=120)


def made(rows):
    return [
        Sample(str(index), f"{index}.jpg", label, subject=subject, group=group)
        for index, (label, subject, group) in enumerate(rows)
    ]


def ties(sample):
    found = {("subject", sample.subject), ("group", sample.group)}
    return {(kind, name) for kind, name in found if name is not None} or {("id", sample.id)}


def unit_of_each(samples):
    """Sample to what stays together with it: what share a tie, merged until no two units do."""
    units = []
    for sample in samples:
        joined, ids = ties(sample), {sample.id}
        apart = []
        for names, members in units:
            if names & joined:
                joined, ids = joined | names, ids | members
            else:
                apart.append((names, members))
        units = [*apart, (joined, ids)]
    return {member: min(members, key=int) for _, members in units for member in members}


@given(ROWS.map(made), st.floats(0.05, 0.9), st.integers(0, 3), st.randoms(use_true_random=False))
def test_hold_out(samples, share, seed, random):
    train, held = hold_out(samples, share, seed)
    assert sorted(s.id for s in [*train, *held]) == sorted(s.id for s in samples)
    assert [s.id for s in train] == sorted((s.id for s in train), key=int)

    units = unit_of_each(samples)
    assert not {units[s.id] for s in train} & {units[s.id] for s in held}
    assert not set().union(*map(ties, train)) & set().union(*map(ties, held))

    assert {s.label for s in train} == {s.label for s in samples}

    sizes = Counter(units[s.id] for s in samples)
    wanted, largest = share * len(samples), max(sizes.values())
    last = {}  # units that are the only ones with a label in train may not go
    for sample in train:
        last.setdefault(sample.label, set()).add(units[sample.id])
    bound = {next(iter(found)) for found in last.values() if len(found) == 1}
    assert len(held) <= wanted + largest / 2
    assert len(held) >= wanted - largest / 2 or {units[s.id] for s in train} == bound

    shuffled = random.sample(samples, len(samples))
    assert {s.id for s in hold_out(shuffled, share, seed)[1]} == {s.id for s in held}


def test_each_label_is_held_out_in_proportion():
    rows = [
        (label, None, None) for label, n in {"neutral": 1000, "happiness": 300, "fear": 20}.items() for _ in range(n)
    ]
    _, held = hold_out(made(rows), 0.1, seed=0)
    assert Counter(s.label for s in held) == {"neutral": 100, "happiness": 30, "fear": 2}


def test_each_label_is_held_out_in_proportion_where_people_have_several():
    rows = [
        (label, str(person), None) for person in range(100) for label in ("neutral", "neutral", "happiness", "fear")
    ]
    _, held = hold_out(made(rows), 0.2, seed=0)
    assert Counter(s.label for s in held) == {"neutral": 40, "happiness": 20, "fear": 20}


def test_a_group_stays_together_where_only_some_of_it_have_a_subject():
    rows = [("neutral", str(n) if n % 2 else None, str(n // 4)) for n in range(400)]
    for seed in range(5):
        train, held = hold_out(made(rows), 0.3, seed)
        assert len(held) == 120
        assert not {s.group for s in train} & {s.group for s in held}


def test_another_seed_holds_out_others():
    samples = made([("neutral", None, None)] * 200)
    chosen = [{s.id for s in hold_out(samples, 0.5, seed)[1]} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_votes_stand_in_for_a_label():
    samples = [Sample(str(n), "x", None, votes={"fear": n % 2, "anger": 0.5}) for n in range(100)]
    _, held = hold_out(samples, 0.2, seed=0)
    assert Counter(int(s.id) % 2 for s in held) == {0: 10, 1: 10}


def test_nobody_can_be_held_out_of_one():
    samples = made([("neutral", "ann", None)] * 5)
    assert hold_out(samples, 0.5, seed=0) == (samples, [])
    assert hold_out([], 0.5, seed=0) == ([], [])


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_is_between_zero_and_one(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(made([("neutral", None, None)]), share, seed=0)
