"""What every component that processes images is checked for, whatever it takes and returns."""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ferkit.components import weight_fields
from ferkit.errors import FerkitError
from ferkit.interfaces import Trainable
from ferkit.testing.base import ComponentSuite
from ferkit.testing.trees import difference, moved, tensors

Arguments = tuple[Any, ...]


class RunningSuite(ComponentSuite):
    """Checks that follow from three descriptions of a kind.

    ``items()`` gives units that are processed independently, ``batch(items)`` makes the component's arguments of any
    number of them, and ``split(output, arguments)`` takes what it returned apart again, one value an item.

    Attributes:
        tolerance: How far, absolutely and relatively, a batch may differ from single calls.
    """

    tolerance: ClassVar[float] = 1e-4
    follows_device: ClassVar[bool] = False
    """Whether its first argument lies on the context's device, and so must what it returns."""

    def items(self) -> Sequence[Any]:
        """At least two different units."""
        raise NotImplementedError

    def batch(self, items: Sequence[Any]) -> Arguments:
        """The component's arguments for ``items``, on the CPU."""
        raise NotImplementedError

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """What was returned, one value an item; asserts that it is as much as there should be."""
        raise NotImplementedError

    def results(self, component: Any, items: Sequence[Any]) -> list[Any]:
        """What ``component`` returns for ``items``, one value an item."""
        arguments = self.batch(items)
        with torch.inference_mode():
            return self.split(component(*arguments), arguments)

    # Zero, one, many

    def test_nothing_in_nothing_out(self) -> None:
        """An empty batch gives an empty result of the usual kind and width."""
        assert self.results(self.build(), []) == [], "results without an item"

    def test_one(self) -> None:
        """Every item can be processed alone."""
        component = self.build()
        for item in self.items():
            assert len(self.results(component, [item])) == 1, "one item must give one result"

    def test_batch_equals_singles(self) -> None:
        """What else is in a batch changes nothing."""
        component, items = self.build(), self.items()
        singles = [self.results(component, [item])[0] for item in items]
        found = difference(self.results(component, items), singles, self.tolerance)
        assert not found, f"in a batch and alone (item.field): {found}"

    def test_order_is_kept(self) -> None:
        """A batch in reverse gives the results in reverse."""
        component, items = self.build(), list(self.items())
        backwards = self.results(component, items[::-1])
        found = difference(backwards[::-1], self.results(component, items), self.tolerance)
        assert not found, f"in reverse and in order (item.field): {found}"

    # Purity

    def test_inputs_are_not_changed(self) -> None:
        """It writes into nothing that it was given."""
        component, arguments = self.build(), self.batch(self.items())
        before = copy.deepcopy(arguments)
        with torch.inference_mode():
            component(*arguments)
        found = difference(arguments, before)
        assert not found, f"an argument was changed (argument.field): {found}"

    def test_is_repeatable(self) -> None:
        """The same instance gives the same twice."""
        component, items = self.build(), self.items()
        found = difference(self.results(component, items), self.results(component, items))
        assert not found, f"the second call differs (item.field): {found}"

    def test_seed_decides(self) -> None:
        """Two instances of one seed give the same, whatever was drawn from the global generator before."""
        items, found = self.items(), []
        for state in (1, 2):
            with torch.random.fork_rng():
                torch.manual_seed(state)
                found.append(self.results(self.build(), items))
        unlike = difference(found[0], found[1], self.tolerance)
        assert not unlike, f"draw from a generator seeded with context.seed (item.field): {unlike}"

    def test_no_gradient_outside_training(self) -> None:
        """With ``context.training`` false nothing it returns holds a graph, and with it memory."""
        if self.training:
            pytest.skip("the suite builds it for training only")
        component, arguments = self.build(), self.batch(self.items())
        with torch.enable_grad():
            output = component(*arguments)
        held = [path for path, tensor in tensors(output).items() if tensor.requires_grad]
        assert not held, f"{', '.join(held) or 'the result'} requires a gradient: use requires_grad_(False) or no_grad"

    # Devices and dtypes

    def test_device_is_honoured(self) -> None:
        """Results lie where the interface says; on ``cuda`` this is checked where there is one."""
        for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            device = torch.device(name)
            component, arguments = self.build(self.context(device=name)), self.batch(self.items())
            if self.follows_device:
                arguments = (moved(arguments[0], device), *arguments[1:])
            with torch.inference_mode():
                output = component(*arguments)
            expected = name if self.follows_device else "cpu"
            astray = {path or "result": t.device for path, t in tensors(output).items() if t.device.type != expected}
            assert not astray, f"built for {name}, its results should be on {expected}: {astray}"

    def test_results_are_float32(self) -> None:
        """Fractions are float32, also where it computes in another dtype."""
        for dtype in (torch.float32, torch.bfloat16):
            component, arguments = self.build(self.context(dtype=dtype)), self.batch(self.items())
            with torch.inference_mode():
                output = component(*arguments)
            fractions = {path or "result": t for path, t in tensors(output).items() if t.is_floating_point()}
            wrong = {path: tensor.dtype for path, tensor in fractions.items() if tensor.dtype != torch.float32}
            assert not wrong, f"built for {dtype} it returns {wrong}: add .float()"

    # Weights

    def test_wrong_weights_are_a_clear_error(self) -> None:
        """Weights that are missing, damaged or another model's are a FerkitError."""
        names = weight_fields(self.registered().component.config)
        if not names:
            pytest.skip("its configuration names no weights")
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                given = str(self.options().get(name) or "").partition("#")[0].partition("@")[0]
                for what, path in _wrong_weights(Path(folder), Path(given).suffix or ".safetensors"):
                    self._is_refused({**self.options(), name: str(path)}, what)

    def _is_refused(self, options: dict[str, Any], what: str) -> None:
        try:
            self.results(self.build(options=options), self.items())
        except FerkitError:
            return
        except Exception as error:  # noqa: BLE001, a stranger's component may raise anything: that is the finding
            pytest.fail(f"weights that are {what} raise {type(error).__name__}: {error}; raise ferkit.WeightsError")
        pytest.fail(f"weights that are {what} were accepted")


class TrainableChecks(RunningSuite):
    """Checks for encoders and heads that can learn; others skip them."""

    def trainable(self) -> tuple[Any, list[list[nn.Parameter]]]:
        """An instance for training, and its stages; those of a text tower, where it has ``text_stages()``, come last."""
        component = self.build(self.context(training=True))
        if not isinstance(component, Trainable):
            pytest.skip("it does not learn: it has no `module` and `stages()`")
        return component, [*component.stages(), *getattr(component, "text_stages", list)()]

    def test_stages_cover_every_parameter_once(self) -> None:
        """``stages()`` and ``text_stages()`` deal out the parameters of ``module``: each is there once."""
        component, stages = self.trainable()
        names = {id(parameter): name for name, parameter in component.module.named_parameters()}
        found = [id(parameter) for stage in stages for parameter in stage]
        left_out = [name for key, name in names.items() if key not in found]
        assert not left_out, f"stages() leaves out {', '.join(left_out)}"
        assert len(found) == len(set(found)), (
            f"stages() has {', '.join({names.get(k, '?') for k in found if found.count(k) > 1})} more than once"
        )
        assert set(found) <= names.keys(), "stages() has parameters that module has not"
        assert all(stages), "stages() has an empty group"

    def test_gradients_reach_every_stage(self) -> None:
        """Built for training, what it returns depends on the parameters of every stage."""
        component, stages = self.trainable()
        with torch.enable_grad():
            outputs = tensors(component(*self.batch(self.items())))
            outputs |= self.more_outputs(component)
            learnt = [tensor.float().square().sum() for tensor in outputs.values() if tensor.requires_grad]
            assert learnt, "with context.training true, results must require a gradient: look for no_grad and detach"
            torch.autograd.backward(torch.stack(learnt).sum())
        cut_off = [index for index, stage in enumerate(stages) if all(p.grad is None for p in stage)]
        assert not cut_off, f"no gradient reaches stages {cut_off}"

    def more_outputs(self, component: Any) -> dict[str, torch.Tensor]:
        """What else it can return."""
        del component
        return {}


def _wrong_weights(folder: Path, suffix: str) -> Iterator[tuple[str, Path]]:
    yield "missing", folder / f"missing{suffix}"
    damaged = folder / f"damaged{suffix}"
    damaged.write_bytes(b"no weights at all")
    yield "damaged", damaged
    if suffix == ".safetensors":
        other = folder / "other.safetensors"
        save_file({"another_model": torch.zeros(2)}, other)
        yield "another model's", other
