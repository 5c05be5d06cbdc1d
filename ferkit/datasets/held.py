"""Samples that somebody holds already, as a data set."""

from collections.abc import Iterator, Mapping, Sequence

from ferkit.datasets.names import check_split
from ferkit.interfaces import Sample


class Held:
    """Lists of samples by split.

    Args:
        samples: By split.
        is_crop: Whether their pictures are cropped to the face.
    """

    def __init__(self, samples: Mapping[str, Sequence[Sample]], is_crop: bool) -> None:
        self._samples, self.is_crop = samples, is_crop
        self.splits: Sequence[str] = tuple(samples)

    def samples(self, split: str) -> Iterator[Sample]:
        """The samples of ``split``.

        Raises:
            FerkitError: If there is no such split.
        """
        check_split(split, self.splits, "the data")
        yield from self._samples[split]
