"""What learns: a recipe's encoders and head as one module, which of its parameters move, and at what rate."""

import math
import warnings
from collections.abc import Container
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ferkit.errors import FerkitError
from ferkit.interfaces import Context, Encoder, TextEncoder, Trainable
from ferkit.recipe import Recipe
from ferkit.recognizer import LOGIT_SCALE, Recognizer
from ferkit.runs import require_loadable_head
from ferkit.training.lora import adapt, merged
from ferkit.training.objectives import BatchTargets, Objective
from ferkit.training.options import Learn, Training
from ferkit.training.source import Batch
from ferkit.types import EncoderFeatures, FaceViews, Features

MOST = 100  # of what cosines are multiplied by


class Learner(nn.Module):
    """Encoders, head and objective, with gradients where ``training.learn`` says so.

    Args:
        recipe: What is trained.
        context: With ``training`` set.

    Raises:
        FerkitError: If what is to learn can't, or nothing would.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        super().__init__()
        training = recipe.framework.training or Training()
        self._objective = Objective(training, torch.ones(len(recipe.labels), device=context.device))
        self._device = context.device
        self.recognizer = Recognizer(recipe, context)
        self.learns = _learns(training, recipe)
        encoders = {name: staged.encoder for name, staged in self.recognizer.encoders.items()}
        self.parts = nn.ModuleDict(
            {name: encoder.module for name, encoder in encoders.items() if isinstance(encoder, Trainable)}
        )
        head = self.recognizer.head
        self._head = head if isinstance(head, Trainable) else None
        if self._head:
            self.head = self._head.module
        self.requires_grad_(False)
        self._recipe = recipe
        self._rates: list[tuple[float, list[nn.Parameter]]] = []
        for name, learn in self.learns.items():
            self._open(name, learn, encoders[name], training)
        if self._head and any(True for _ in self._head.module.parameters()):
            require_loadable_head(recipe)
            self._allow(training.lr, list(self._head.module.parameters()))
        if not self._rates:
            raise FerkitError(
                f"nothing would learn: the head {recipe.head.name} has no parameters; name encoders in training.learn, "
                "or choose another head"
            )
        wanted = training.objectives
        self.scales = nn.ParameterDict(self._scales() if wanted.image_text or wanted.contrastive else {})
        self._allow(training.lr, list(self.scales.values()))
        opened = {parameter for _, parameters in self._rates for parameter in parameters}
        assert opened == {parameter for parameter in self.parameters() if parameter.requires_grad}
        self.mode(False)

    def weigh(self, class_weights: Tensor) -> None:
        """Weigh the classes in the cross-entropy, float32 ``[C]``; without this all weigh one."""
        self._objective.class_weights = class_weights.to(self._device)

    @property
    def has_head(self) -> bool:
        """Whether the head learns."""
        return self._head is not None

    @property
    def frozen(self) -> bool:
        """Whether every encoder stays as it is, so that features can be computed once."""
        return not self.learns

    def _open(self, name: str, learn: Learn, encoder: Encoder, training: Training) -> None:
        """Let an encoder's last stages learn, or adapters in it; and its text tower."""
        if not isinstance(encoder, Trainable):
            raise FerkitError(f"encoders.{name} can't learn: it names no parameters; take it out of training.learn")
        rate = training.encoder_lr or training.lr
        towers = _text_stages(encoder)
        if learn.text and not towers:
            raise FerkitError(f"encoders.{name} has no text tower that can learn: remove text from training.learn")
        if learn.lora:
            apart = [] if learn.text else [parameter for stage in towers for parameter in stage]
            adapters = adapt(encoder.module, learn.lora, name, apart)
            in_text = {parameter for stage in _text_stages(encoder) for parameter in stage}
            self._allow(rate, [parameter for parameter in adapters if parameter not in in_text])
            self._allow(rate, [parameter for parameter in adapters if parameter in in_text])
        else:
            stages = encoder.stages()
            count = len(stages) if learn.stages == "all" else learn.stages
            if count > len(stages):
                raise FerkitError(f"encoders.{name} has {len(stages)} stages, training.learn asks for {count}")
            for depth, stage in enumerate(reversed(stages[len(stages) - count :])):
                self._allow(rate * training.layer_decay**depth, stage)
            for depth, stage in enumerate(reversed(towers if learn.text else [])):
                self._allow(rate * training.layer_decay**depth, stage)

    def _allow(self, rate: float, parameters: list[nn.Parameter]) -> None:
        fresh = [p for p in parameters if p.is_floating_point() and not p.requires_grad]
        for parameter in fresh:
            parameter.requires_grad_(True)
        if fresh:
            self._rates.append((rate, fresh))

    def _scales(self) -> dict[str, nn.Parameter]:
        """By encoder, the logarithm of the temperature's inverse that the image-text objectives learn."""
        read = {name: found[1] for name in self.recognizer.encoders if (found := self.recognizer.texts(name))}
        if not read:
            raise FerkitError("image_text and contrastive objectives need an encoder with text: set its option text")
        scales = {name: torch.tensor(scale).log() for name, scale in read.items() if name in self.learns}
        if not scales:
            raise FerkitError(
                "image_text and contrastive objectives change encoders with text, and none is in training.learn"
            )
        return {name: nn.Parameter(scale, requires_grad=False) for name, scale in scales.items()}

    def logit_scales(self) -> dict[str, Tensor]:
        """By encoder, the inverse of the temperature that it learns: at most 100, as in Radford et al. (2021)."""
        with torch.no_grad():
            for scale in self.scales.values():
                scale.clamp_(max=math.log(MOST))
        return {name: scale.exp() for name, scale in self.scales.items()}

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Parameter groups for an optimizer; weight decay acts on matrices and kernels only."""
        groups = []
        for rate, parameters in self._rates:
            for decays in (True, False):
                chosen = [p for p in parameters if (p.ndim > 1) is decays]
                if chosen:
                    decay = weight_decay if decays else 0.0
                    groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
        return groups

    def require_gradients(self) -> None:
        """Check, after a backward pass, that a gradient has reached what is to learn; warn of stages that have none.

        Raises:
            FerkitError: If none has reached an encoder that learns.
        """
        for name in self.learns:
            own = set(self.parts[name].parameters())
            stages = [parameters for _, parameters in self._rates if own.issuperset(parameters)]
            silent = sum(all(parameter.grad is None for parameter in stage) for stage in stages)
            if not silent:
                continue
            told = f"the head {self._recipe.head.name} reads {', '.join(self._read())}"
            if silent == len(stages):
                raise FerkitError(
                    f"encoders.{name} would not learn, no gradient reaches what training.learn.{name} opens: {told}; let "
                    "stages before it learn, choose a head that reads it, or take it out of training.learn"
                )
            warnings.warn(
                f"{silent} of {len(stages)} groups of parameters of encoders.{name} that training.learn.{name} opens get no "
                f"gradient, and stay as they are: {told}",
                stacklevel=2,
            )
        if self._head and all(parameter.grad is None for parameter in self._head.module.parameters()):
            warnings.warn(
                f"the head {self._recipe.head.name} gets no gradient, and stays as it is: cross_entropy or distillation in "
                "training.objectives teach it",
                stacklevel=2,
            )

    def _read(self) -> list[str]:
        """What of the encoders' output the head reads, by what its component declares."""
        component = self._recipe.head.registered.component
        words = (component.needs | component.uses) & {"tokens", "logits", "text"}
        return sorted(words | ({"pooled features"} if "logits" not in component.needs else set()))

    def mode(self, learning: bool) -> None:
        """Put what learns into training mode, for dropout and batch norms; the rest stays as for prediction."""
        self.eval()
        learn = [self.parts[name] for name in self.learns] + ([self._head.module] if self._head else [])
        for module in learn if learning else []:
            module.train()
            for inner in module.modules():
                if _stays(inner):
                    inner.eval()

    def learnt(self) -> dict[str, Tensor]:
        """What moves in training, by name: parameters, and buffers of the modules in training mode."""
        moving = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        inside = (*(f"parts.{name}." for name, learn in self.learns.items() if not learn.lora), "head.")
        moving |= {name for name, _ in self.named_buffers() if name.startswith(inside)}
        state = self.state_dict()
        return {name: state[name] for name in sorted(moving & state.keys())}

    def release(self) -> None:
        """Free the memory of all parameters; the learner is of no use afterwards."""
        self._rates.clear()
        self.to("meta")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Every objective on a batch, and their weighted sum ``loss``."""
        logits, features = self.scored(batch)
        targets = batch.targets.to(self._device)
        return self._objective(logits, features, targets, self.logit_scales(), self._captions(targets))

    def scored(self, batch: Batch) -> tuple[Tensor, Features]:
        """Logits ``[N, C]`` and the features behind them."""
        views = batch.views
        features = self._with_texts(_moved(views, self._device) if isinstance(views, Features) else self.encode(views))
        return self.recognizer.logits(features, batch.faces).float(), features

    def _with_texts(self, features: Features) -> Features:
        """The same features and class texts, with the scales as they are by now."""
        learnt, encoders = self.logit_scales(), {}
        for name, each in features.encoders.items():
            learn = self.learns.get(name)
            text, scale = self.recognizer.class_texts(name, again=learn is not None and learn.text)
            encoders[name] = replace(each, text=text, logit_scale=learnt[name].item() if name in learnt else scale)
        return replace(features, encoders=encoders)

    def _captions(self, targets: BatchTargets) -> dict[str, Tensor]:
        """By encoder with text that learns: the captions' texts ``[N, D]``, NaN where a face has none."""
        captions = targets.captions
        if captions is None:
            return {}
        there = [index for index, caption in enumerate(captions) if caption]
        rows = {}
        for name in self.scales:
            encoder = self.recognizer.encoders[name].encoder
            if isinstance(encoder, TextEncoder) and there:
                with torch.set_grad_enabled(self.learns[name].text and torch.is_grad_enabled()):
                    found = encoder.encode_text([str(captions[index]) for index in there]).float()
                empty = found.new_full((len(captions), found.shape[1]), torch.nan)
                rows[name] = empty.index_copy(0, torch.tensor(there, device=found.device), found)
        return rows

    def encode(self, views: FaceViews) -> Features:
        """Features of views without texts, each encoder's in one go: batch norms look at the whole batch."""
        recognizer, encoded = self.recognizer, {}
        for name, staged in recognizer.encoders.items():
            learn = self.learns.get(name)
            with torch.set_grad_enabled(learn is not None and torch.is_grad_enabled()):
                output = staged.whole(views.pixels.to(self._device))
            encoded[name] = EncoderFeatures(output.pooled, output.tokens, output.logits)
        return Features(encoded, views.face_index.to(self._device), views.view, views.failed.to(self._device))


def _learns(training: Training, recipe: Recipe) -> dict[str, Learn]:
    """What of each encoder learns; those that stay as they are are left out."""
    if training.learn == "head":
        return {}
    if training.learn == "all":
        return {name: Learn(stages="all") for name in recipe.encoders}
    return {name: learn for name, learn in training.learn.items() if learn.stages or learn.lora or learn.text}


def _text_stages(encoder: Encoder) -> list[list[nn.Parameter]]:
    """Parameter groups of an encoder's text tower; none where it has no such tower, or it can't learn."""
    stages = getattr(encoder, "text_stages", None)
    return stages() if stages else []


def _stays(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them learns: batch norms then keep their statistics, too."""
    own = list(module.parameters())
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _moved(features: Features, device: torch.device) -> Features:
    """The same features on another device."""

    def each(one: EncoderFeatures) -> EncoderFeatures:
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(one).items() if isinstance(value, Tensor)
        }
        return replace(one, **tensors)

    encoders = {name: each(one) for name, one in features.encoders.items()}
    return replace(
        features, encoders=encoders, face_index=features.face_index.to(device), failed=features.failed.to(device)
    )


def changed(learner: Learner, moved: Container[Tensor]) -> dict[str, dict[str, Tensor]]:
    """By encoder that learns, the tensors that are no longer those of its weights: learnt now, or before that.

    Args:
        learner: After training.
        moved: The parameters that an optimizer has changed.
    """
    still = {name for name, parameter in learner.named_parameters() if parameter not in moved}
    for path, module in learner.named_modules():
        still |= {f"{path}.{name}" for name, _ in module.named_buffers()} if _stays(module) else set()
    learnt = {name: value for name, value in learner.learnt().items() if name not in still}
    scales = learner.logit_scales()
    found = {}
    for name, learn in learner.learns.items():
        prefix = f"parts.{name}."
        own = {key.removeprefix(prefix): value for key, value in learnt.items() if key.startswith(prefix)}
        module = learner.parts[name]
        if learn.lora:
            plain = {key.replace(".base_layer.", "."): value for key, value in module.state_dict().items()}
            own = dict(merged(module, moved))  # nothing but adapters learns
        else:
            plain = module.state_dict()
        overlaid = learner.recognizer.overlaid.get(name, ())
        found[name] = {key: plain[key] for key in overlaid if key in plain} | own
        encoder = learner.recognizer.encoders[name].encoder
        if name in scales:
            found[name][LOGIT_SCALE] = scales[name]
        elif LOGIT_SCALE in overlaid and isinstance(encoder, TextEncoder):
            found[name][LOGIT_SCALE] = torch.tensor(encoder.logit_scale)
    return found
