"""The loop: epochs over batches, judged on held-out faces."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.training.learner import Learner
from ferkit.training.live import Watcher
from ferkit.training.metrics import figures, truth_of
from ferkit.training.options import Training
from ferkit.training.source import CLEAN, FeatureSource, Order, ViewSource, draw_of, loader
from ferkit.training.state import RunState

Source = ViewSource | FeatureSource


class Trainer:
    """Trains a learner on a source of faces, judged on another.

    Args:
        learner: What learns; not yet prepared by ``accelerator``.
        source: Faces to learn from.
        held_out: Faces to judge by.
        missed: Per class the held-out samples whose face was not found, int64 ``[C]``.
        training: Options.
        seed: The recipe's.
        folder: Of the run.
        accelerator: Devices and processes.
        watcher: Told of the progress.
        digest: Of the recipe; a checkpoint of another is refused.
        data: Digest of faces and targets, likewise.
    """

    def __init__(
        self,
        learner: Learner,
        source: Source,
        held_out: Source,
        missed: Tensor,
        training: Training,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        watcher: Watcher,
        digest: str,
        data: str,
    ) -> None:
        self.learner, self.source, self.held_out, self.missed = learner, source, held_out, missed
        self.training, self.watcher, self.accelerator = training, watcher, accelerator
        world, rank = accelerator.num_processes, accelerator.process_index
        weights = _balanced(source) if training.sampling == "balanced" else None
        self.order = Order(len(source), training.batch_size, training.accumulate, seed, weights, rank, world)
        self.order.check()
        optimizer = torch.optim.AdamW(learner.groups(training.weight_decay))
        self.module, self.optimizer = accelerator.prepare(learner, optimizer)
        self.state = RunState(learner, self.optimizer, accelerator, training.ema, folder, digest, data)
        self._saved, self._unchecked = time.monotonic(), True
        torch.manual_seed(seed + rank)

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, from the folder's checkpoint where there is one.

        Returns:
            A row of figures an epoch; the learner holds the weights that are kept.

        Raises:
            KeyboardInterrupt: After Ctrl-C, with the checkpoint written.
            FerkitError: If the loss is no number, or a checkpoint can't be written or read.
        """
        best = self.training.keep == "best"
        self.state.resume(best)
        with _interruptible() as interrupted:
            while self.state.progress.epoch < self.training.epochs and not self._patience_is_over():
                self._epoch(interrupted)
        self.state.keep(best)
        self.learner.mode(False)
        self.learner.recognizer.refresh_texts()
        return self.state.history

    def _epoch(self, interrupted: threading.Event) -> None:
        progress, order = self.state.progress, self.order
        order.epoch, order.skip = progress.epoch, progress.step
        self.source.draw = draw_of(progress.epoch, self.training, self.learner.frozen)
        self.learner.mode(True)
        self.watcher.begin(progress.epoch, order.steps, progress.step)
        progress.sums = progress.sums or {}
        begun, parts = time.monotonic(), 0
        for batch in loader(self.source, order, self.training.workers):
            parts += 1
            last = parts % self.training.accumulate == 0
            terms = self._part(batch, last)
            for name, value in terms.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value / self.training.accumulate
            if not last:
                continue
            progress.step += 1
            self.watcher.step(terms["loss"])
            now = time.monotonic()
            late = now - self._saved > 60 * self.training.checkpoint_minutes
            stop, due = self._any(interrupted.is_set(), late and progress.step < order.steps)
            if stop or due:
                progress.seconds, begun = progress.seconds + now - begun, now
                self._save()
            if stop:
                raise KeyboardInterrupt
        progress.seconds += time.monotonic() - begun
        self._close_epoch()

    def _part(self, batch: Any, last: bool) -> dict[str, float]:
        """Forward and backward of one part of a batch; the step after its last part."""
        accelerator, training = self.accelerator, self.training
        with contextlib.nullcontext() if last else accelerator.no_sync(self.module):
            terms: dict[str, Tensor] = self.module(batch)
            if not bool(torch.isfinite(terms["loss"])):
                raise self._not_finite(batch.index.tolist(), terms)
            accelerator.backward(terms["loss"] / training.accumulate)
        if last:
            captions = set(filter(None, batch.targets.captions or ()))
            if self._unchecked and (len(captions) > 1 or not training.objectives.contrastive):
                self.learner.require_gradients()
                self._unchecked = False
            self._rate()
            if training.clip:
                accelerator.clip_grad_norm_(self.module.parameters(), training.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.state.move_average(self._steps() + 1)
        return {name: float(value.detach()) for name, value in terms.items()}

    def _rate(self) -> None:
        """Learning rates of the step to come: linear warm-up, then a cosine to zero."""
        total = self.order.steps * self.training.epochs
        done = self._steps()
        warm = max(1, round(self.training.warmup * total))
        share = (done + 1) / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / max(1, total - warm))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share

    def _steps(self) -> int:
        """Steps of the whole run that are over."""
        return self.state.progress.epoch * self.order.steps + self.state.progress.step

    def _close_epoch(self) -> None:
        """Judge the epoch, remember it if it is the best, and write a checkpoint."""
        state, progress = self.state, self.state.progress
        with state.averaged():
            found = self._evaluate()
            figure = -found["loss"] if self.training.monitor == "loss" else found[self.training.monitor]
            best = progress.best is None or figure > progress.best[0]
            if best:
                progress.best = (figure, progress.epoch)
                if self.training.keep == "best":
                    state.write_best()
        row = {
            "epoch": progress.epoch + 1,
            "train": {name: total / self.order.steps for name, total in state.sums().items()},
            "validation": found,
            "lr": self.optimizer.param_groups[-1]["lr"],
            "seconds": round(progress.seconds, 2),
        }
        state.history.append(row)
        progress.epoch, progress.step, progress.sums, progress.seconds = progress.epoch + 1, 0, None, 0.0
        self._save()
        self.accelerator.log(
            {**{f"train/{k}": v for k, v in row["train"].items()}, **{f"validation/{k}": v for k, v in found.items()}},
            step=progress.epoch,
        )
        self.watcher.end(row, best)

    def _save(self) -> None:
        self.state.save()
        self._saved = time.monotonic()

    def _evaluate(self) -> dict[str, float]:
        """Figures on the held-out faces, on every process."""
        probabilities, truth = self.probabilities()
        if not bool(torch.isfinite(probabilities).all()):
            raise self.state.lost(f"probabilities are no longer numbers after epoch {self.state.progress.epoch + 1}")
        return figures(probabilities, truth, self.missed)

    @torch.no_grad()
    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Class probabilities ``[N, C]`` of the held-out faces, and their classes.

        They are the main process's on all, for these must agree when to stop: batch norms' running statistics are of the
        part of a batch that each process saw.
        """
        self.learner.mode(False)
        self.learner.recognizer.refresh_texts()
        self.held_out.draw = CLEAN
        size = min(self.training.batch_size, 64)
        rows = []
        for start in range(0, len(self.held_out), size):
            index = list(range(start, min(start + size, len(self.held_out))))
            with self.accelerator.autocast():
                logits, _ = self.learner.scored(self.held_out[index])
            rows.append(logits.softmax(1))
        found: Tensor = broadcast(torch.cat(rows))
        return found.cpu(), truth_of(self.held_out.shares)

    def _patience_is_over(self) -> bool:
        patience, progress = self.training.patience, self.state.progress
        return bool(patience and progress.best and progress.epoch - 1 - progress.best[1] >= patience)

    def _any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is set in any process."""
        if self.accelerator.num_processes == 1:
            return [*flags]
        here = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
        found: list[float] = self.accelerator.reduce(here, reduction="sum").tolist()
        return [value > 0 for value in found]

    def _not_finite(self, index: list[int], terms: dict[str, Tensor]) -> FerkitError:
        samples, progress = self._view_source().prepared.samples, self.state.progress
        names = ", ".join(samples[item].id for item in index[:3])
        wrong = ", ".join(name for name, value in terms.items() if name != "loss" and not bool(torch.isfinite(value)))
        place = f"epoch {progress.epoch + 1}, step {progress.step + 1}"
        others = " and others" if len(index) > 3 else ""
        return self.state.lost(
            f"the loss is no longer a number ({wrong or 'loss'}) in {place}, on {len(index)} faces: {names}{others}"
        )

    def _view_source(self) -> ViewSource:
        return self.source if isinstance(self.source, ViewSource) else self.source.views


def _balanced(source: Source) -> Tensor:
    """Chance of each face such that every class is drawn as often."""
    shares = source.shares
    return (shares / shares.sum(0).clamp_min(1e-12)).sum(1)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event; the second interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(number: int, frame: Any) -> None:
        if event.is_set():
            before(number, frame) if callable(before) else signal.default_int_handler(number, frame)
        event.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
