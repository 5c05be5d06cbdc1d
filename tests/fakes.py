"""A small plugin for tests: deterministic, weights-free components, and ways to install a plugin for a while."""

from pathlib import Path
from types import SimpleNamespace

import torch

from ferkit import Component, Config, EncoderOutput, Faces, Frontal, Weights, hookimpl

LABELS = ["neutral", "happiness", "sadness"]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Empty(Config):
    pass


class ColourConfig(Config):
    scale: float = 10.0


class BoxesConfig(Config):
    """Boxes found in every picture that is at least ``needs`` pixels wide."""

    boxes: tuple[tuple[float, float, float, float], ...] = ((0, 0, 8, 8),)
    needs: int = 1


class WeightyConfig(Config):
    weights: Weights = ""


class FrontalConfig(Config):
    fails_on: tuple[int, ...] = ()


class ColourEncoder:
    """Mean red, green, blue as features, and as logits of the recipe's first three labels."""

    dim = 3
    token_dim = None

    def __init__(self, config, context):
        self.scale, self.classes = config.scale, len(context.labels)

    def __call__(self, pixels):
        mean = pixels.mean((2, 3))
        logits = torch.zeros(len(pixels), self.classes)
        logits[:, :3] = mean[:, : self.classes] * self.scale
        return EncoderOutput(mean, logits=logits)


class ClipShaped:
    """Pooled and text features 512 wide in one space, tokens 768 wide, as of CLIP ViT-B; it knows three colours."""

    dim, token_dim, logit_scale = 512, 768, 100.0

    def __init__(self, config, context):
        pass

    def encode_text(self, texts):
        return torch.stack([sum(self.word(word) for word in text.split()) for text in texts])

    def word(self, word):
        return torch.randn(512, generator=torch.Generator().manual_seed(sum(map(ord, word))))

    def __call__(self, pixels):
        pooled = torch.stack([self.word(list(COLOURS)[int(view.mean((1, 2)).argmax())]) for view in pixels])
        return EncoderOutput(pooled, tokens=pixels.mean((1, 2, 3)).reshape(-1, 1, 1).expand(-1, 50, 768))


class Boxes:
    def __init__(self, config, context):
        self.config = config

    def __call__(self, batch):
        wide = [index for index, image in enumerate(batch.images) if image.shape[2] >= self.config.needs]
        boxes = [box for _ in wide for box in self.config.boxes]
        owners = [index for index in wide for _ in self.config.boxes]
        return Faces.of(owners, torch.tensor(boxes).reshape(-1, 4), scores=[0.9] * len(owners))


class FixedPose:
    """The n-th face of a batch is turned by 40·n degrees, which is three quarters sure."""

    def __init__(self, config, context):
        pass

    def __call__(self, batch, faces):
        n = len(faces)
        yaw = torch.arange(n).float() * 40
        return faces.with_pose(torch.stack([yaw, torch.zeros(n), torch.zeros(n)], 1), torch.full((n,), 0.75))


class RedFrontal:
    """Answers a red face with five landmarks; None for the turns named in ``fails_on``."""

    def __init__(self, config, context):
        self.fails_on = config.fails_on

    def __call__(self, batch, faces):
        red = torch.zeros(3, 40, 40, dtype=torch.uint8)
        red[0] = 255
        points = torch.tensor([[12.0, 15], [28, 15], [20, 24], [14, 31], [26, 31]])
        return [None if index in self.fails_on else Frontal(red, points) for index in range(len(faces))]


def component(kind, name, config=Empty, target="fakes:ColourEncoder", **more):
    return Component(kind, name, config, target, summary="for tests", **more)


COMPONENTS = [
    component("detector", "boxes", BoxesConfig, "fakes:Boxes"),
    component("detector", "everything", Empty, "ferkit.builtin.whole_image:WholeImage"),
    component("pose", "fixed", Empty, "fakes:FixedPose", provides=frozenset({"pose"})),
    component("pose", "weighty", WeightyConfig, "fakes:FixedPose", provides=frozenset({"pose"})),
    component("normalizer", "red", FrontalConfig, "fakes:RedFrontal"),
    component("encoder", "colour", ColourConfig, "fakes:ColourEncoder", provides=frozenset({"logits"})),
    component("encoder", "weighty-colour", WeightyConfig, "fakes:ColourEncoder", provides=frozenset({"logits"})),
]
CLIP = component("encoder", "clip", Empty, "fakes:ClipShaped", provides=frozenset({"tokens", "text"}))


def plugin(*components, recipes=()):
    """An object with the hooks of a plugin."""

    @hookimpl
    def ferkit_components():
        return list(components)

    @hookimpl
    def ferkit_recipes():
        return [Path(folder) for folder in recipes]

    return SimpleNamespace(ferkit_components=ferkit_components, ferkit_recipes=ferkit_recipes)


def recipe(**changes):
    """A recipe of built-ins and fakes as a mapping."""
    base = {
        "ferkit": 1,
        "name": "test",
        "labels": LABELS,
        "detector": {"use": "everything" if changes.get("normalizer") else "whole-image"},
        "align": {"size": 16},
        "encoders": {"colour": {"use": "colour"}},
        "head": {"use": "average-probabilities"},
    }
    return base | changes


def install(folder, name, code, entry="plugin", version="1.0"):
    """Write a distribution with one module and one entry point into ``folder``, as pip would."""
    module = name.replace("-", "_")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ferkit]\n{entry} = {module}\n")
    (folder / f"{module}.py").write_text(code)
