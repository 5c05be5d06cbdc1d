"""The loop: epochs over batches, judged on held-out faces, with checkpoints that it goes on from bit for bit."""

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.layers import HISTORY
from ferkit.runs import write_tensors, write_text
from ferkit.training import checkpoint
from ferkit.training.folder import BEST
from ferkit.training.learner import Learner
from ferkit.training.metrics import figures, truth_of
from ferkit.training.options import Training
from ferkit.training.source import CLEAN, FeatureSource, Order, ViewSource, draw_of, loader

Source = ViewSource | FeatureSource


class Watcher(Protocol):
    """Told of the progress."""

    def task(self, name: str, total: int) -> Callable[[int], None]:
        """Something with ``total`` faces begins; the result is told of their progress."""

    def begin(self, epoch: int, steps: int, done: int) -> None:
        """An epoch of ``steps`` begins, ``done`` of them lie behind."""

    def step(self, loss: float) -> None:
        """A step was made."""

    def end(self, row: dict[str, Any], best: bool) -> None:
        """An epoch is over, with its figures."""


@dataclass
class Progress:
    """Where a run stands: plain values that a checkpoint holds.

    Attributes:
        epoch: Epochs that are over.
        step: Steps of the epoch under way that are over.
        best: The figure of the best epoch so far, larger is better, and which it was.
        sums: Of every objective over the steps of the epoch under way.
        seconds: Spent in that epoch.
    """

    epoch: int = 0
    step: int = 0
    best: tuple[float, int] | None = None
    sums: dict[str, float] | None = None
    seconds: float = 0.0


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
        self.training, self.folder, self.watcher = training, folder, watcher
        self.accelerator, self.digest, self.data = accelerator, digest, data
        world, rank = accelerator.num_processes, accelerator.process_index
        weights = _balanced(source) if training.sampling == "balanced" else None
        self.order = Order(len(source), training.batch_size, training.accumulate, seed, weights, rank, world)
        self.order.check()
        optimizer = torch.optim.AdamW(learner.groups(training.weight_decay))
        self.module, self.optimizer = accelerator.prepare(learner, optimizer)
        self.average = {name: value.clone() for name, value in learner.learnt().items()} if training.ema else None
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
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
        self._resume()
        with _interruptible() as interrupted:
            while self.progress.epoch < self.training.epochs and not self._patience_is_over():
                self._epoch(interrupted)
        self._keep()
        return self.history

    def _epoch(self, interrupted: threading.Event) -> None:
        progress, order = self.progress, self.order
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
                raise FerkitError(self._not_finite(batch.index.tolist(), terms))
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
            self._move_average()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _rate(self) -> None:
        """Learning rates of the step to come: linear warm-up, then a cosine to zero."""
        total = self.order.steps * self.training.epochs
        done = self.progress.epoch * self.order.steps + self.progress.step
        warm = max(1, round(self.training.warmup * total))
        share = (done + 1) / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / max(1, total - warm))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share

    def _move_average(self) -> None:
        if self.average is None or self.training.ema is None:
            return
        done = self.progress.epoch * self.order.steps + self.progress.step + 1
        decay = min(self.training.ema, (1 + done) / (10 + done))  # else the first weights would weigh for long
        for name, value in self.learner.learnt().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _close_epoch(self) -> None:
        """Judge the epoch, remember it if it is the best, and write a checkpoint."""
        progress, steps = self.progress, self.order.steps
        with self._averaged():
            found = self._evaluate()
            figure = -found["loss"] if self.training.monitor == "loss" else found[self.training.monitor]
            best = progress.best is None or figure > progress.best[0]
            if best:
                progress.best = (figure, progress.epoch)
                if self.training.keep == "best" and self.accelerator.is_main_process:
                    write_tensors(self.folder / BEST, self.learner.learnt())
        row = {
            "epoch": progress.epoch + 1,
            "train": {name: total / steps for name, total in self._sums().items()},
            "validation": found,
            "lr": self.optimizer.param_groups[-1]["lr"],
            "seconds": round(progress.seconds, 2),
        }
        self.history.append(row)
        progress.epoch, progress.step, progress.sums, progress.seconds = progress.epoch + 1, 0, None, 0.0
        self._save()
        self.accelerator.log(
            {**{f"train/{k}": v for k, v in row["train"].items()}, **{f"validation/{k}": v for k, v in found.items()}},
            step=progress.epoch,
        )
        self.watcher.end(row, best)

    def _evaluate(self) -> dict[str, float]:
        """Figures on the held-out faces, on every process."""
        probabilities, truth = self.probabilities()
        if not bool(torch.isfinite(probabilities).all()):
            raise FerkitError(self._lost(f"probabilities are no longer numbers after epoch {self.progress.epoch + 1}"))
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

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, where there is one."""
        if self.average is None:
            yield
            return
        own = {name: value.clone() for name, value in self.learner.learnt().items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.learner.learnt().items():
                value.copy_(tensors[name])

    def _keep(self) -> None:
        """Leave the learner with the weights that are kept."""
        if self.training.keep == "best":
            self._put(checkpoint.load_tensors(self.folder / BEST, self.learner.learnt()))
        elif self.average is not None:
            self._put(self.average)
        self.learner.mode(False)
        self.learner.recognizer.refresh_texts()

    def _patience_is_over(self) -> bool:
        patience, best = self.training.patience, self.progress.best
        return bool(patience and best and self.progress.epoch - 1 - best[1] >= patience)

    def _any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is set in any process."""
        if self.accelerator.num_processes == 1:
            return [*flags]
        here = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
        found: list[float] = self.accelerator.reduce(here, reduction="sum").tolist()
        return [value > 0 for value in found]

    def _sums(self) -> dict[str, float]:
        """Sums of the objectives, the mean over processes, each of which sees its part of every batch."""
        sums = self.progress.sums or {}
        if self.accelerator.num_processes == 1:
            return sums
        here = torch.tensor([*sums.values()], dtype=torch.float64, device=self.accelerator.device)
        return dict(zip(sums, self.accelerator.reduce(here, reduction="mean").tolist(), strict=True))

    def _save(self) -> None:
        """Write a checkpoint, unless what was learnt is no longer good."""
        moving = ((name, p) for name, p in self.learner.named_parameters() if p.requires_grad)
        if broken := [name for name, p in moving if not bool(torch.isfinite(p).all())]:
            raise FerkitError(self._lost(f"the weights {broken[0]} are no longer numbers"))
        if self.progress.sums:
            self.progress.sums = self._sums()
        devices = {"cpu": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            devices["cuda"] = torch.cuda.get_rng_state()
        states = gather_object([devices])
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "digest": self.digest,
                "data": self.data,
                "progress": vars(self.progress),
                "history": json.dumps(self.history),
                "learnt": self.learner.learnt(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "random": states,
            }
            checkpoint.save(self.folder / checkpoint.NAME, state)
            write_text(self.folder / HISTORY, "".join(json.dumps(row) + "\n" for row in self.history))
        self.accelerator.wait_for_everyone()
        self._saved = time.monotonic()

    def _resume(self) -> None:
        path = self.folder / checkpoint.NAME
        if not path.exists():
            return
        state = checkpoint.load(path)
        if (state["digest"], state["data"]) != (self.digest, self.data):
            raise FerkitError(
                f"{self.folder} holds a run of another recipe or other data: name another --out, or --overwrite it"
            )
        learnt = self.learner.learnt()
        for name in ("learnt", "average") if self.average else ("learnt",):
            checkpoint.alike(path, state[name], learnt)
        try:
            self._restore(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise checkpoint.damaged(path, error) from error
        if self.training.keep == "best" and self.progress.best:
            checkpoint.load_tensors(self.folder / BEST, learnt)

    def _restore(self, state: dict[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        self.progress = Progress(**state["progress"])
        self.history = json.loads(state["history"])
        if len(self.history) != self.progress.epoch:
            raise ValueError("its history has other epochs")
        self._put(state["learnt"])
        if self.average:
            self.average = {name: value.to(self.accelerator.device) for name, value in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            if any(value.shape not in (torch.Size(), parameter.shape) for value in moments.values()):
                raise ValueError("its optimizer is of other parameters")
        if state["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        own = state["random"][min(self.accelerator.process_index, len(state["random"]) - 1)]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"])

    def _not_finite(self, index: list[int], terms: dict[str, Tensor]) -> str:
        samples = self._view_source().prepared.samples
        names = ", ".join(samples[item].id for item in index[:3])
        wrong = ", ".join(name for name, value in terms.items() if name != "loss" and not bool(torch.isfinite(value)))
        place = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        others = " and others" if len(index) > 3 else ""
        return self._lost(
            f"the loss is no longer a number ({wrong or 'loss'}) in {place}, on {len(index)} faces: {names}{others}"
        )

    def _lost(self, what: str) -> str:
        kept = self.folder / checkpoint.NAME
        rest = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
        return f"{what}; {rest}. Begin again in another folder with a lower training.lr, a longer warm-up, or precision: fp32"

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
