"""The conformance suites of what is given views or features: encoders and heads."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ferkit.interfaces import TextEncoder
from ferkit.testing.pictures import FACE_BOX, face_picture
from ferkit.testing.running import Arguments, TrainableChecks
from ferkit.testing.trees import difference
from ferkit.types import EncoderFeatures, EncoderOutput, Faces, Features, FeatureSpec


class EncoderSuite(TrainableChecks):
    """Checks for an encoder; its items are views.

    Attributes:
        view_size: Side of the views in pixels.
    """

    kind: ClassVar[str] = "encoder"
    follows_device: ClassVar[bool] = True
    view_size: ClassVar[int] = 96

    def views(self) -> Tensor:
        """Views ``[M, 3, S, S]``, float32 RGB 0..1: the portrait, noise, black and white."""
        shape = (self.view_size, self.view_size)
        face = F.interpolate(face_picture().unsqueeze(0) / 255, size=shape, mode="bilinear", antialias=True)
        noise = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
        return torch.cat([face, noise, torch.zeros(1, 3, *shape), torch.ones(1, 3, *shape)])

    def items(self) -> Sequence[Any]:
        """The views."""
        return self.views().unbind()

    def batch(self, items: Sequence[Any]) -> Arguments:
        """Views ``[M, 3, S, S]``."""
        return (torch.stack(list(items)) if items else self.views()[:0],)

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """What is said of each view."""
        assert isinstance(output, EncoderOutput), f"an encoder must return EncoderOutput, not {type(output).__name__}"
        assert len(output.pooled) == len(arguments[0]), f"{len(output.pooled)} rows for {len(arguments[0])} views"
        given = {"pooled": output.pooled, "tokens": output.tokens, "logits": output.logits}
        return [
            {name: rows[index] for name, rows in given.items() if rows is not None}
            for index in range(len(output.pooled))
        ]

    def encoded(self, views: Tensor) -> tuple[Any, EncoderOutput]:
        """A new instance, and what it says of ``views``."""
        encoder = self.build()
        with torch.inference_mode():
            return encoder, encoder(views)

    def test_widths_are_those_declared(self) -> None:
        """Pooled features are ``dim`` wide and tokens ``token_dim``, also for no view."""
        for views in (self.views(), self.views()[:0]):
            encoder, output = self.encoded(views)
            assert output.pooled.shape[1] == encoder.dim, f"dim is {encoder.dim}, pooled {list(output.pooled.shape)}"
            width = None if output.tokens is None else output.tokens.shape[2]
            assert width == encoder.token_dim, f"token_dim is {encoder.token_dim}, tokens are {width} wide"

    def test_gives_what_it_provides(self) -> None:
        """``Component.provides`` names tokens, logits and text exactly where there are some; logits are a column a label."""
        provides = self.registered().component.provided(self.validated(self.options()))
        encoder, output = self.encoded(self.views())
        given = {
            "tokens": output.tokens is not None,
            "logits": output.logits is not None,
            "text": isinstance(encoder, TextEncoder) and "text" in provides,
        }
        found = {word for word, there in given.items() if there}
        assert found == provides & given.keys(), f"it gives {sorted(found)}, Component.provides says {sorted(provides)}"
        if output.logits is not None:
            columns = output.logits.shape[1]
            assert columns == len(self.labels), f"logits have {columns} columns for {len(self.labels)} labels"

    def test_features_are_finite(self) -> None:
        """No view, black and white ones included, gives NaN or infinity."""
        _, output = self.encoded(self.views())
        for name, rows in (("pooled", output.pooled), ("tokens", output.tokens), ("logits", output.logits)):
            assert rows is None or torch.isfinite(rows).all(), f"{name} has NaN or infinity"

    def test_any_view_size(self) -> None:
        """It resizes views itself: a recipe's ``align.size`` does not concern it."""
        for size in (64, 160):
            views = F.interpolate(self.views(), size=(size, size))
            encoder, output = self.encoded(views)
            shape = list(output.pooled.shape)
            assert shape == [len(views), encoder.dim], f"views of {size} pixels give pooled {shape}"

    def test_text_shares_the_space(self) -> None:
        """Texts are embedded as wide as pooled features, each by itself; ``logit_scale`` is positive."""
        encoder = self.build()
        reads = isinstance(encoder, TextEncoder)
        if not reads:
            pytest.skip("it does not embed text")
        texts = ["a happy face", "a sad face of a person who stands in the rain", "x"]
        with torch.inference_mode():
            rows = encoder.encode_text(texts)
            singles = torch.cat([encoder.encode_text([text]) for text in texts])
        assert rows.shape == (3, encoder.dim), f"3 texts gave {list(rows.shape)}, not [3, {encoder.dim}]"
        assert torch.isfinite(rows).all(), "text features have NaN or infinity"
        found = difference(rows, singles, self.tolerance)
        assert not found, f"texts together and alone: {found}"
        assert 0 < float(encoder.logit_scale) < math.inf, f"logit_scale is {encoder.logit_scale}"

    def more_outputs(self, component: Any) -> dict[str, Tensor]:
        """Text features, where it reads."""
        return {"text": component.encode_text(["a face"])} if isinstance(component, TextEncoder) else {}


class HeadSuite(TrainableChecks):
    """Checks for a head; an item is one face with the features of its one or two views."""

    kind: ClassVar[str] = "head"
    follows_device: ClassVar[bool] = True

    def inputs(self) -> dict[str, FeatureSpec]:
        """What the encoders before it give."""
        return {"first": FeatureSpec(6, 10, logits=True, text=True), "second": FeatureSpec(4)}

    def items(self) -> Sequence[Any]:
        """Faces, each with its features."""
        return [self._face(seed) for seed in range(5)]

    def batch(self, items: Sequence[Any]) -> Arguments:
        """The features of all views, and all faces."""
        parts = [features for features, _ in items]
        counts = torch.tensor([len(features) for features in parts], dtype=torch.int64)
        encoders = {}
        for name in self.inputs():
            empty = self._face(0)[0].encoders[name]
            rows = [features.encoders[name] for features in parts]
            joined = EncoderOutput.concat([_first(empty, 0), *rows])
            encoders[name] = EncoderFeatures(joined.pooled, joined.tokens, joined.logits, empty.text, empty.logit_scale)
        features = Features(
            encoders,
            torch.repeat_interleave(torch.arange(len(items)), counts),
            tuple(view for part in parts for view in part.view),
            torch.cat([torch.zeros(0, dtype=torch.bool), *(part.failed for part in parts)]),
        )
        faces = [
            Faces.of([index], face.boxes, pose=face.pose, pose_score=face.pose_score)
            for index, (_, face) in enumerate(items)
        ]
        return features, Faces.concat(faces)

    def split(self, output: Any, arguments: Arguments) -> list[Any]:
        """The logits of each face."""
        assert isinstance(output, Tensor), f"a head must return a tensor, not {type(output).__name__}"
        expected = [len(arguments[1]), len(self.labels)]
        assert list(output.shape) == expected, f"logits have shape {list(output.shape)}, not {expected}"
        return list(output.unbind())

    def test_logits_are_finite(self) -> None:
        """No face, one of unknown pose included, gives NaN or infinity."""
        for index, row in enumerate(self.results(self.build(), self.items())):
            assert torch.isfinite(row).all(), f"face {index} has logits {row.tolist()}"

    def test_logits_are_not_probabilities(self) -> None:
        """The framework applies softmax once: logits of no face at all must not sum to one, as probabilities do."""
        rows = torch.stack(self.results(self.build(), self.items()))
        probabilities = (rows >= 0).all() and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-4)
        assert not probabilities, "it returns probabilities; return logits, or the logarithm of probabilities"

    def _face(self, seed: int) -> tuple[Features, Faces]:
        """One face: the odd ones have two views; the first has no pose."""
        generator = torch.Generator().manual_seed(seed)
        views = 1 + seed % 2
        encoders = {}
        for index, (name, spec) in enumerate(self.inputs().items()):
            text = F.normalize(
                torch.randn(len(self.labels), spec.dim, generator=torch.Generator().manual_seed(100 + index)), dim=-1
            )
            encoders[name] = EncoderFeatures(
                torch.randn(views, spec.dim, generator=generator),
                torch.randn(views, 3, spec.token_dim, generator=generator) if spec.token_dim else None,
                torch.randn(views, len(self.labels), generator=generator) if spec.logits else None,
                text if spec.text else None,
                10.0 if spec.text else None,
            )
        pose = torch.full((1, 3), torch.nan) if seed == 0 else torch.randn(1, 3, generator=generator) * 30
        names = ("aligned", "frontal")[:views]
        features = Features(
            encoders, torch.zeros(views, dtype=torch.int64), names, torch.zeros(views, dtype=torch.bool)
        )
        return features, Faces.of([0], [FACE_BOX], pose=pose, pose_score=torch.tensor([0.9]))


def _first(features: EncoderOutput, count: int) -> EncoderOutput:
    """The first ``count`` rows."""
    rows = (features.pooled, features.tokens, features.logits)
    return EncoderOutput(*(None if each is None else each[:count] for each in rows))  # type: ignore[arg-type]
