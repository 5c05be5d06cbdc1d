"""Where a run stands: weights, their average, optimizer, figures and random numbers, saved and gone on from bit for bit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import gather_object
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.layers import HISTORY
from ferkit.runs import write_tensors, write_text
from ferkit.training import checkpoint
from ferkit.training.folder import BEST
from ferkit.training.learner import Learner


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


class RunState:
    """All of a run that changes while it trains.

    Args:
        learner: What learns.
        optimizer: As accelerate prepared it.
        accelerator: Devices and processes.
        ema: Decay of the weights' moving average, or None.
        folder: Of the run.
        digest: Of the recipe; a checkpoint of another is refused.
        data: Digest of faces and targets, likewise.

    Attributes:
        progress: Where the run stands.
        history: A row of figures an epoch.
        average: The moving average by name, or None.
    """

    def __init__(
        self,
        learner: Learner,
        optimizer: AcceleratedOptimizer,
        accelerator: Accelerator,
        ema: float | None,
        folder: Path,
        digest: str,
        data: str,
    ) -> None:
        self._learner, self._optimizer, self._accelerator, self._ema = learner, optimizer, accelerator, ema
        self._folder, self._digest, self._data = folder, digest, data
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
        self.average = {name: value.clone() for name, value in learner.learnt().items()} if ema else None

    def move_average(self, steps: int) -> None:
        """Move the average towards the weights, after so many steps of the whole run."""
        if self.average is None or self._ema is None:
            return
        decay = min(self._ema, (1 + steps) / (10 + steps))  # else the first weights would weigh for long
        for name, value in self._learner.learnt().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in place of the weights, where there is one."""
        if self.average is None:
            yield
            return
        own = {name: value.clone() for name, value in self._learner.learnt().items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def write_best(self) -> None:
        """Write the weights as they are now as those of the best epoch."""
        if self._accelerator.is_main_process:
            write_tensors(self._folder / BEST, self._learner.learnt())

    def keep(self, best: bool) -> None:
        """Leave the learner with the weights of the best epoch, or with the last ones or their average."""
        if best:
            self._put(checkpoint.load_tensors(self._folder / BEST, self._learner.learnt()))
        elif self.average is not None:
            self._put(self.average)

    def sums(self) -> dict[str, float]:
        """Sums of the objectives, the mean over processes, each of which sees its part of every batch."""
        sums = self.progress.sums or {}
        if self._accelerator.num_processes == 1:
            return sums
        here = torch.tensor([*sums.values()], dtype=torch.float64, device=self._accelerator.device)
        return dict(zip(sums, self._accelerator.reduce(here, reduction="mean").tolist(), strict=True))

    def save(self) -> None:
        """Write a checkpoint, unless what was learnt is no longer good.

        Raises:
            FerkitError: If it is not, or the disk is full or forbidden.
        """
        moving = ((name, p) for name, p in self._learner.named_parameters() if p.requires_grad)
        if broken := [name for name, p in moving if not bool(torch.isfinite(p).all())]:
            raise self.lost(f"the weights {broken[0]} are no longer numbers")
        if self.progress.sums:
            self.progress.sums = self.sums()
        devices = {"cpu": torch.get_rng_state()}
        if self._accelerator.device.type == "cuda":
            devices["cuda"] = torch.cuda.get_rng_state()
        states = gather_object([devices])
        if self._accelerator.is_main_process:
            scaler = self._accelerator.scaler
            state = {
                "digest": self._digest,
                "data": self._data,
                "progress": vars(self.progress),
                "history": json.dumps(self.history),
                "learnt": self._learner.learnt(),
                "average": self.average,
                "optimizer": self._optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
                "random": states,
            }
            checkpoint.save(self._folder / checkpoint.NAME, state)
            write_text(self._folder / HISTORY, "".join(json.dumps(row) + "\n" for row in self.history))
        self._accelerator.wait_for_everyone()

    def resume(self, best: bool) -> None:
        """Go back to where the folder's checkpoint was written, if there is one.

        Args:
            best: Whether the weights of the best epoch must be there, too.

        Raises:
            FerkitError: If it is of another recipe or other data, or damaged.
        """
        path = self._folder / checkpoint.NAME
        if not path.exists():
            return
        state = checkpoint.load(path)
        if (state["digest"], state["data"]) != (self._digest, self._data):
            raise FerkitError(
                f"{self._folder} holds a run of another recipe or other data: name another --out, or --overwrite it"
            )
        learnt = self._learner.learnt()
        for name in ("learnt", "average") if self.average else ("learnt",):
            checkpoint.alike(path, state[name], learnt)
        try:
            self._restore(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise checkpoint.damaged(path, error) from error
        if best and self.progress.best:
            checkpoint.load_tensors(self._folder / BEST, learnt)

    def lost(self, what: str) -> FerkitError:
        """What to tell when numbers are lost."""
        kept = self._folder / checkpoint.NAME
        rest = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
        return FerkitError(
            f"{what}; {rest}. Begin again in another folder with a lower training.lr, a longer warm-up, or precision: fp32"
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.history = json.loads(state["history"])
        if len(self.history) != self.progress.epoch:
            raise ValueError("its history has other epochs")
        self._put(state["learnt"])
        if self.average:
            self.average = {name: value.to(self._accelerator.device) for name, value in state["average"].items()}
        self._optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self._optimizer.state.items():
            if any(value.shape not in (torch.Size(), parameter.shape) for value in moments.values()):
                raise ValueError("its optimizer is of other parameters")
        if state["scaler"] and self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        own = state["random"][min(self._accelerator.process_index, len(state["random"]) - 1)]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and self._accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"])

    def _put(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._learner.learnt().items():
                value.copy_(tensors[name])
