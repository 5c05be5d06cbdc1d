"""Batches over epochs and processes, and tables in pieces."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ferkit import FerkitError
from ferkit.datasets.shards import Shards
from ferkit.training.source import Order

COUNTS = st.integers(1, 60)
SIZES = st.integers(1, 24)


def orders(count, size, parts=1, seed=0, weights=None, world=1):
    """The order of each process."""
    return [Order(count, size, parts, seed, weights, rank, world) for rank in range(world)]


@given(COUNTS, SIZES, st.integers(0, 2**62), st.integers(0, 5))
def test_an_epoch_has_every_sample_once_but_for_less_than_a_batch(count, size, seed, epoch):
    (order,) = orders(count, size, seed=seed)
    order.epoch = epoch
    batches = list(order)
    assert len(batches) == len(order) == order.steps
    assert {len(batch) for batch in batches} == {min(size, count)}
    seen = [index for batch in batches for index in batch]
    assert len(set(seen)) == len(seen) > count - min(size, count)
    assert set(seen) <= set(range(count))


@given(COUNTS, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.booleans())
def test_processes_and_parts_share_out_the_batches_of_one(count, each, parts, world, epoch, balanced):
    size = each * parts * world
    weights = torch.arange(1.0, count + 1) if balanced else None
    (whole,) = orders(count, size, seed=3, weights=weights)
    if min(size, count) % (parts * world):
        with pytest.raises(FerkitError, match="equal pieces"):
            orders(count, size, parts, 3, weights, world)[0].check()
        return
    shared = orders(count, size, parts, 3, weights, world)
    for order in (whole, *shared):
        order.check()
        order.epoch = epoch
    pieces = [list(order) for order in shared]
    for step, batch in enumerate(whole):
        mine = [piece for process in pieces for piece in process[step * parts : (step + 1) * parts]]
        assert len({len(piece) for piece in mine}) == 1
        assert sorted(index for piece in mine for index in piece) == sorted(batch)


@given(COUNTS, SIZES, st.integers(1, 3), st.integers(0, 3), st.data())
def test_an_epoch_goes_on_after_the_steps_that_were_made(count, each, parts, epoch, data):
    whole, rest = orders(count, each * parts, parts)[0], orders(count, each * parts, parts)[0]
    whole.epoch = rest.epoch = epoch
    rest.skip = data.draw(st.integers(0, whole.steps))
    assert list(rest) == list(whole)[rest.skip * parts :]


def test_epochs_and_seeds_differ():
    first, second, other = orders(40, 40)[0], orders(40, 40)[0], orders(40, 40, seed=1)[0]
    second.epoch = 1
    assert len({str(list(order)) for order in (first, second, other)}) == 3
    assert list(first) == list(orders(40, 40)[0])


def test_weights_decide_how_often_a_sample_comes():
    (order,) = orders(4000, 100, weights=torch.tensor([3.0, 1.0]).repeat(2000))
    even = sum(index % 2 == 0 for batch in order for index in batch)
    assert 0.72 < even / 4000 < 0.78


TABLES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=4)


@given(TABLES, st.data())
def test_rows_of_samples_are_found_across_pieces(counts, data):
    pieces, truth, number = [], [], 0
    for piece in counts:
        rows = []
        for count in piece:
            truth.append(list(range(number, number + count)))
            rows += truth[-1]
            number += count
        pieces.append({"count": torch.tensor(piece), "value": torch.tensor(rows, dtype=torch.int64)})
    shards = Shards(pieces)
    assert len(shards) == len(truth)
    assert shards.column("value").tolist() == list(range(number))
    index = data.draw(st.lists(st.integers(0, len(truth) - 1), min_size=1))
    assert shards.rows(index, "value").tolist() == [row for item in index for row in truth[item]]
    owners = [place for place, item in enumerate(index) for _ in truth[item]]
    assert shards.owners(index).tolist() == owners
