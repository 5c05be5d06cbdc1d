"""The conformance suite of data sets."""

import math
from pathlib import Path
from typing import ClassVar

import pytest

from ferkit.errors import FerkitError
from ferkit.images import decode
from ferkit.interfaces import Sample
from ferkit.testing.base import ComponentSuite
from ferkit.testing.trees import difference

NO_SPLIT = "surely-no-such-split"


class DatasetSuite(ComponentSuite):
    """Checks for a data set; its ``path`` and the like point to a few pictures made for tests (``options()``)."""

    kind: ClassVar[str] = "dataset"

    def samples(self) -> dict[str, list[Sample]]:
        """All samples by split."""
        dataset = self.build()
        return {split: list(dataset.samples(split)) for split in dataset.splits}

    def test_listed_splits_have_samples(self) -> None:
        """Every name in ``splits`` can be read."""
        found = self.samples()
        assert found, "splits is empty"
        empty = [split for split, samples in found.items() if not samples]
        assert not empty, f"no sample in {', '.join(empty)}"
        strangers = [item for samples in found.values() for item in samples if not isinstance(item, Sample)]
        assert not strangers, f"samples must be ferkit.Sample, not {type(strangers[0]).__name__}"

    def test_unknown_split_is_a_clear_error(self) -> None:
        """A split that it does not have is a FerkitError that names those it has."""
        dataset = self.build()
        with pytest.raises(FerkitError) as caught:
            list(dataset.samples(NO_SPLIT))
        missing = [split for split in dataset.splits if split not in str(caught.value)]
        assert not missing, f"the error does not name {', '.join(missing)}: {caught.value}"

    def test_ids_are_unique(self) -> None:
        """An id names one sample, over all splits."""
        ids = [sample.id for samples in self.samples().values() for sample in samples]
        assert all(isinstance(name, str) and name for name in ids), "ids must be non-empty strings"
        twice = {name for name in ids if ids.count(name) > 1}
        assert not twice, f"used more than once: {sorted(twice)[:5]}"

    def test_ids_are_stable(self) -> None:
        """The same files give the same ids in the same order, and ids hold no folder of this machine."""
        first, again = self.samples(), self.samples()
        ids, others = ({name: [s.id for s in samples] for name, samples in each.items()} for each in (first, again))
        found = difference(ids, others)
        assert not found, f"read twice (split.place): {found}"
        folders = {str(Path(sample.source).absolute().parent) for samples in first.values() for sample in samples}
        local = [name for names in ids.values() for name in names if any(folder in name for folder in folders)]
        assert not local, f"{local[0]} is an absolute path: another machine would give another id"

    def test_labels_are_names(self) -> None:
        """Labels and the keys of votes are class names; a sample has one or the other."""
        for samples in self.samples().values():
            for sample in samples:
                names = [*([] if sample.label is None else [sample.label]), *(sample.votes or {})]
                assert names, f"{sample.id} has neither label nor votes"
                assert all(isinstance(name, str) and name for name in names), (
                    f"{sample.id}: {names} must be names, not indices"
                )

    def test_votes_are_shares_or_counts(self) -> None:
        """Votes are finite, not negative, and not all zero."""
        for samples in self.samples().values():
            for sample in samples:
                votes = list((sample.votes or {"none": 1.0}).values())
                sound = all(math.isfinite(vote) and vote >= 0 for vote in votes) and sum(votes) > 0
                assert sound, f"{sample.id}: votes {votes}"

    def test_sources_exist(self) -> None:
        """Every sample's picture is there: its file, or content that can be decoded."""
        every = [sample for samples in self.samples().values() for sample in samples]
        gone = [sample.source for sample in every if sample.image is None and not Path(sample.source).is_file()]
        assert not gone, f"no file {gone[0]}"
        for sample in every:
            if sample.image is not None:
                decode(sample.image)  # raises ImageError

    def test_boxes_have_an_area(self) -> None:
        """Boxes are x0 y0 x1 y1 with x0 < x1 and y0 < y1, not x y width height."""
        for samples in self.samples().values():
            for sample in samples:
                x0, y0, x1, y1 = sample.box or (0, 0, 1, 1)
                assert x0 < x1 and y0 < y1, f"{sample.id}: box {sample.box} must be x0 y0 x1 y1"
