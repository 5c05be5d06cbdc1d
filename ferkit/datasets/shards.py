"""Tables with some rows a sample, in pieces that stay on disk until they are looked at."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Shards:
    """Columns over samples, a piece at a time.

    Args:
        pieces: Tensors by column, one row a view in order of the samples; ``count`` int64 says how many rows each sample
            has.
    """

    def __init__(self, pieces: Sequence[Mapping[str, Tensor]]) -> None:
        self.pieces = tuple(pieces)
        self._spans: list[tuple[int, int, int]] = []
        for number, piece in enumerate(self.pieces):
            stops = piece["count"].cumsum(0).tolist()
            self._spans += [(number, start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def __len__(self) -> int:
        return len(self._spans)

    def rows(self, index: Sequence[int], column: str) -> Tensor:
        """The rows of the samples at ``index``, in that order."""
        spans = (self._spans[item] for item in index)
        return torch.cat([self.pieces[piece][column][start:stop] for piece, start, stop in spans])

    def owners(self, index: Sequence[int]) -> Tensor:
        """For each of these rows, the place of its sample along ``index``, int64."""
        counts = torch.tensor([stop - start for _, start, stop in (self._spans[item] for item in index)])
        return torch.repeat_interleave(torch.arange(len(index)), counts)

    def column(self, column: str) -> Tensor:
        """A whole column."""
        return torch.cat([piece[column] for piece in self.pieces])
