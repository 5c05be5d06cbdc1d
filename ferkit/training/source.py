"""Batches: of augmented views, or of features computed once."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ferkit.cache import Cache, Entry, digest
from ferkit.datasets.prepared import NAMES, SHARD, Prepared
from ferkit.datasets.shards import Shards
from ferkit.errors import FerkitError
from ferkit.recognizer import Recognizer
from ferkit.training.augment import Augmentation, seed_of
from ferkit.training.objectives import BatchTargets
from ferkit.training.options import Training
from ferkit.types import EncoderFeatures, Faces, FaceViews, Features

CLEAN = -1  # the draw that changes nothing
ROOM = "features"


@dataclass(frozen=True, eq=False)
class Batch:
    """N faces with what they should come out as; ``index`` are the samples."""

    index: Tensor
    views: FaceViews | Features
    faces: Faces
    targets: BatchTargets


def draw_of(epoch: int, training: Training, frozen: bool) -> int:
    """Which augmented version of the faces an epoch sees."""
    if training.draws:
        return epoch % training.draws
    return CLEAN if frozen else epoch


class ViewSource(Dataset[Batch]):
    """Views of prepared samples, augmented; takes a list of indices and gives a batch.

    Args:
        prepared: The samples' views.
        shares: Soft labels ``[N, C]``.
        training: Augmentation.
        seed: The recipe's.
        teacher: The teacher's log-probabilities ``[N, C]``, or None.
    """

    def __init__(
        self, prepared: Prepared, shares: Tensor, training: Training, seed: int, teacher: Tensor | None = None
    ) -> None:
        self.prepared, self.shares, self.teacher = prepared, shares, teacher
        self.draw = CLEAN
        self._seed, self._mixup = seed, training.augment.mixup
        self._augment = Augmentation(training.augment)
        captions = tuple(sample.caption for sample in prepared.samples)
        self._captions = captions if any(captions) else None

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, index: list[int]) -> Batch:
        views, targets = self.prepared.views(index), self.targets(index)
        faces = replace(self.prepared.faces.select(torch.tensor(index)), image_index=torch.arange(len(index)))
        if self.draw != CLEAN:
            views, faces = self._changed(views, faces, index)
            if self._mixup:
                views, targets = self._mixed(views, targets, index)
        return Batch(torch.tensor(index), views, faces, targets)

    def targets(self, index: Sequence[int]) -> BatchTargets:
        """What the samples at ``index`` should come out as."""
        rows = torch.tensor(index)
        captions = tuple(self._captions[item] for item in index) if self._captions else None
        return BatchTargets(self.shares[rows], self.teacher[rows] if self.teacher is not None else None, captions)

    def fingerprint(self, index: Sequence[int]) -> list[object]:
        """What decides the views of the samples at ``index``, and how they are changed."""
        changes = None
        if self.draw != CLEAN:
            changes = [self.draw, self._seed, index[0], self._augment.options.model_dump()]
        return [self.prepared.fingerprint(index), changes]

    def _changed(self, views: FaceViews, faces: Faces, index: Sequence[int]) -> tuple[FaceViews, Faces]:
        """All views of a face changed alike; where they were mirrored, yaw and roll change sign."""
        pixels, pose = [], faces.pose.clone()
        for place, item in enumerate(index):
            own, flipped = self._augment(views.pixels[views.face_index == place], seed_of(self._seed, self.draw, item))
            pixels.append(own)
            if flipped:
                pose[place, [0, 2]] *= -1
        return replace(views, pixels=torch.cat(pixels)), replace(faces, pose=pose)

    def _mixed(self, views: FaceViews, targets: BatchTargets, index: Sequence[int]) -> tuple[FaceViews, BatchTargets]:
        """Each face blended with the one before it in the batch (Zhang et al. 2018); each has one view."""
        assert len(views) == len(index)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self._seed, self.draw, -1 - index[0]))
            share = float(torch.distributions.Beta(self._mixup, self._mixup).sample())

        def blend(values: Tensor) -> Tensor:
            return share * values + (1 - share) * values.roll(1, 0)

        teacher = blend(targets.teacher.exp()).log() if targets.teacher is not None else None
        mixed = replace(targets, shares=blend(targets.shares), teacher=teacher)
        return replace(views, pixels=blend(views.pixels)), mixed


class FeatureSource(Dataset[Batch]):
    """Features of every draw, computed once and kept in the cache; takes a list of indices and gives a batch.

    Batches have no class texts: these may lie on a GPU, where a worker must not touch them.

    Args:
        views: Where views come from.
        recognizer: The frozen encoders.
        key: Digest of what decides the encoders' output.
        cache: Where features are kept, a shard of the views at a time.
        draws: The draws to compute.
        tokens: Whether the head looks at tokens; they are large.
        advance: Told the number of faces after every shard.
    """

    def __init__(
        self,
        views: ViewSource,
        recognizer: Recognizer,
        key: str,
        cache: Cache,
        draws: Sequence[int],
        tokens: bool,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.views, self.draw = views, draws[0]
        self._recognizer, self._key, self._cache, self._tokens = recognizer, key, cache, tokens
        self._draws = {draw: self._of_draw(draw, advance) for draw in draws}

    def __len__(self) -> int:
        return len(self.views)

    @property
    def shares(self) -> Tensor:
        """Soft labels ``[N, C]``."""
        return self.views.shares

    def __getitem__(self, index: list[int]) -> Batch:
        shards, faces = self._draws[self.draw]
        rows = torch.tensor(index)
        encoders = {}
        for name in self._recognizer.encoders:
            found = {
                column: shards.rows(index, f"{name}.{column}")
                for column in ("pooled", "tokens", "logits")
                if f"{name}.{column}" in shards.pieces[0]
            }
            encoders[name] = EncoderFeatures(found["pooled"], found.get("tokens"), found.get("logits"))
        view = tuple(NAMES[kind] for kind in shards.rows(index, "view").tolist())
        features = Features(encoders, shards.owners(index), view, shards.rows(index, "failed"))
        own = replace(faces.select(rows), image_index=torch.arange(len(index)))
        return Batch(rows, features, own, self.views.targets(index))

    def _of_draw(self, draw: int, advance: Callable[[int], None]) -> tuple[Shards, Faces]:
        """Features of all samples, and their faces, whose pose depends on whether they were mirrored."""
        self.views.draw = draw
        pieces = []
        names = ("count", "view", "failed", "pose", *(f"{name}.pooled" for name in self._recognizer.encoders))
        for start in range(0, len(self.views), SHARD):
            index = list(range(start, min(start + SHARD, len(self.views))))
            key = digest([self._key, self._tokens, self.views.fingerprint(index)])
            tensors, _ = self._cache.get(ROOM, key, partial(self._piece, index), names)
            pieces.append(tensors)
            advance(len(index))
        shards = Shards(pieces)
        return shards, replace(self.views.prepared.faces, pose=torch.cat([piece["pose"] for piece in pieces]))

    def _piece(self, index: list[int]) -> Entry:
        batch = self.views[index]
        assert isinstance(batch.views, FaceViews)
        with torch.no_grad():
            features = self._recognizer.features(batch.views)
        columns = {
            "count": torch.bincount(features.face_index.cpu(), minlength=len(index)),
            "view": torch.tensor([NAMES.index(name) for name in features.view], dtype=torch.uint8),
            "failed": features.failed.cpu(),
            "pose": batch.faces.pose,
        }
        for name, each in features.encoders.items():
            kept = {"pooled": each.pooled, "tokens": each.tokens if self._tokens else None, "logits": each.logits}
            columns |= {f"{name}.{column}": value.cpu() for column, value in kept.items() if value is not None}
        return columns, {}


class Order(Sampler[list[int]]):
    """The indices of each batch of an epoch, for one of several processes.

    Every process takes every n-th face of the same batches, so that the number of processes changes nothing. What is left
    over at the end of an epoch, less than a batch, is left out.

    Args:
        weights: Chance of each sample per draw, or None: every sample once an epoch.
        count: Number of samples.
        batch_size: Over all processes and parts.
        parts: Into how many a batch is cut on each process.
        seed: The recipe's.
        rank: Which process this is.
        world: How many there are.
    """

    def __init__(
        self, count: int, batch_size: int, parts: int, seed: int, weights: Tensor | None, rank: int, world: int
    ) -> None:
        self._count, self._size, self._parts, self._seed = count, min(batch_size, count), parts, seed
        self._weights, self._rank, self._world = weights, rank, world
        self.epoch, self.skip = 0, 0

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch."""
        return self._count // self._size

    def check(self) -> None:
        """Check that batches can be cut into equal parts.

        Raises:
            FerkitError: If not.
        """
        pieces = self._parts * self._world
        if self._size % pieces:
            raise FerkitError(
                f"a batch of {self._size} faces can't be cut into {pieces} equal pieces, {self._world} processes times "
                f"{self._parts} parts: choose another training.batch_size"
            )

    def __len__(self) -> int:
        return (self.steps - self.skip) * self._parts

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(seed_of(self._seed, self.epoch, 0))
        if self._weights is None:
            order = torch.randperm(self._count, generator=generator)
        else:
            order = torch.multinomial(self._weights, self._count, replacement=True, generator=generator)
        pieces = self._parts * self._world
        for step in range(self.skip, self.steps):
            batch = order[step * self._size : (step + 1) * self._size]
            for part in range(self._parts):
                yield batch[part * self._world + self._rank :: pieces].tolist()


def loader(source: ViewSource | FeatureSource, order: Order, workers: int) -> DataLoader[Batch]:
    """Batches of ``source`` in ``order``; each epoch begins a new loader, for workers copy the source."""
    return DataLoader(
        source,
        sampler=order,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # by default a loader draws from the generator that dropout draws from
    )


def _leave_interrupts(_worker: int) -> None:
    """Ctrl-C reaches workers, too; it is the trainer that stops, after the step under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
