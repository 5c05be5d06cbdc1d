"""The conformance kit catches what it says: a sound fake of every kind passes, a broken one fails its check."""

import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import Field, model_validator
from torch import nn

import ferkit
from ferkit import (
    Component,
    Config,
    EncoderOutput,
    Faces,
    FerkitError,
    Frontal,
    Sample,
    Weights,
    WeightsError,
    hookimpl,
)
from ferkit.registry import Registry
from ferkit.testing import (
    DatasetSuite,
    DetectorSuite,
    EncoderSuite,
    HeadSuite,
    NormalizerSuite,
    PoseSuite,
    face_picture,
)

pytest_plugins = ["pytester"]
torch.set_num_threads(1)
ANY_OTHER = None
LIGHT = "test_entry_module_is_light"  # starts an interpreter, so it runs only where it is what is tested


class FakeConfig(Config):
    weights: Weights | None = None


class Fake:
    """What the sound fakes share."""

    def __init__(self, config, context):
        self.config, self.context = config, context
        self.calls = 0
        if config.weights:
            tensors, _ = context.weights.load(config.weights)
            self.use(tensors)

    def use(self, tensors):
        if "scale" not in tensors:
            raise WeightsError("there is no tensor 'scale'")


# Detectors: the sound one knows the portrait by its pixels.


class SoundDetector(Fake):
    box = (35.0, 23.0, 130.0, 140.0)

    def __call__(self, batch):
        self.calls += 1
        found = [
            (index, x, y)
            for index, image in enumerate(batch.images)
            for y in range(0, image.shape[1] - 159, 160)
            for x in range(0, image.shape[2] - 159, 160)
            if torch.equal(image[:, y : y + 160, x : x + 160], face_picture())
        ]
        corners = torch.tensor([[x, y, x, y] for _, x, y in found], dtype=torch.float32).reshape(-1, 4)
        points = torch.tensor([[60.0, 62], [105, 66], [80, 92], [58, 101], [100, 105]])
        return Faces.of(
            [index for index, _, _ in found],
            corners + torch.tensor(self.box),
            scores=torch.full((len(found),), 0.5),
            landmarks={"5": corners[:, None, :2] + points},
        )


class RaisesOnNothing(SoundDetector):
    def __call__(self, batch):
        torch.stack([image.float().mean() for image in batch.images])
        return super().__call__(batch)


class RaisesOnOne(SoundDetector):
    def __call__(self, batch):
        if len(batch) == 1:
            raise IndexError("squeezed away")
        return super().__call__(batch)


class ScoresShared(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, scores=faces.scores / max(len(batch), 1))


class SortsBySize(SoundDetector):
    def __call__(self, batch):
        images = sorted(batch.images, key=lambda image: image.numel())
        return super().__call__(replace(batch, images=tuple(images)))


class WritesIntoPictures(SoundDetector):
    def __call__(self, batch):
        for image in batch.images:
            image[:, 0, 0] = face_picture()[:, 0, 0]  # changes no portrait
        return super().__call__(batch)


class Tired(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, scores=faces.scores - 1e-5 * self.calls)


class Unseeded(SoundDetector):
    def __init__(self, config, context):
        super().__init__(config, context)
        self.score = torch.rand(()).item()

    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, scores=torch.full_like(faces.scores, self.score))


class HoldsAGraph(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, boxes=faces.boxes * nn.Parameter(torch.ones(1)))


class Elsewhere(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, pose=faces.pose.to("meta"))


class DoubleLandmarks(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, landmarks={"5": faces.landmarks["5"].double()})


class KeyErrorForWeights(SoundDetector):
    def use(self, tensors):
        tensors["scale"]


class SizesForCorners(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        boxes = faces.boxes
        return replace(faces, boxes=torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1))


class Percentages(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        return replace(faces, scores=faces.scores * 100)


class SeesGhosts(SoundDetector):
    def __call__(self, batch):
        ghosts = [i for i, image in enumerate(batch.images) if image.shape[2] < 160]
        ghost = Faces.of(ghosts, [[0.0, 0, 1, 1]] * len(ghosts) or torch.zeros(0, 4), scores=[0.9] * len(ghosts))
        return Faces.concat([super().__call__(batch), ghost])


class SmallBoxes(SoundDetector):
    box = (70.0, 70.0, 90.0, 90.0)


class FirstFaceOnly(SoundDetector):
    def __call__(self, batch):
        faces = super().__call__(batch)
        first = [
            index for index, image in enumerate(faces.image_index.tolist()) if image not in faces.image_index[:index]
        ]
        return faces.select(torch.tensor(first, dtype=torch.int64))


# Pose estimators: the sound one has the roll of the eyes.


class SoundPose(Fake):
    sign, pitch = 1.0, 0.0

    def __call__(self, batch, faces):
        if "5" not in faces.landmarks:
            return faces
        across = faces.landmarks["5"][:, 1] - faces.landmarks["5"][:, 0]
        roll = self.sign * torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
        level = torch.where(torch.isnan(roll), torch.nan, 0.0)
        return faces.with_pose(torch.stack([level, level + self.pitch, roll], 1), level + 0.5)


class NeedsLandmarks(SoundPose):
    def __call__(self, batch, faces):
        return super().__call__(batch, faces.with_landmarks(**{"5": faces.landmarks["5"]}))


class ClipsBoxes(SoundPose):
    def __call__(self, batch, faces):
        return replace(super().__call__(batch, faces), boxes=faces.boxes.clamp(min=0))


class PitchFromTheVertical(SoundPose):
    pitch = 90.0


class Anticlockwise(SoundPose):
    sign = -1.0


# Normalizers: the sound one crops and mirrors.


class SoundNormalizer(Fake):
    def __call__(self, batch, faces):
        return [self.turn(batch.images[image], box) for image, box in zip(faces.image_index, faces.boxes, strict=True)]

    def turn(self, image, box):
        x0, y0, x1, y1 = box.long().clamp(min=0).tolist()
        return Frontal(image[:, y0:y1, x0:x1].flip(2))


class NeverTurns(SoundNormalizer):
    def turn(self, image, box):
        return None


class PointsOfTheScene(SoundNormalizer):
    def turn(self, image, box):
        return Frontal(super().turn(image, box).image, torch.full((5, 2), 150.0))


class DemandingConfig(FakeConfig):
    must: int


# Encoders: the sound one is linear, and has all there is to have.


class SoundEncoder(Fake):
    dim, token_dim, logit_scale = 5, 6, 10.0

    def __init__(self, config, context):
        super().__init__(config, context)
        layers = {"stem": nn.Linear(3, 6), "pool": nn.Linear(6, 5), "classifier": nn.Linear(5, len(context.labels))}
        self.module = nn.ModuleDict(layers)
        self.draw(torch.Generator().manual_seed(context.seed))
        self.module.to(context.dtype)
        if not context.training:
            self.freeze()

    def draw(self, generator):
        for parameter in self.module.parameters():
            parameter.data.normal_(generator=generator)

    def freeze(self):
        self.module.requires_grad_(False)

    def stages(self):
        return [list(layer.parameters()) for layer in self.module.values()]

    def __call__(self, pixels):
        self.calls += 1
        cells = nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(2).transpose(1, 2).to(self.context.dtype)
        tokens = self.module["stem"](cells)
        pooled = self.module["pool"](tokens.mean(1))
        logits = self.module["classifier"](pooled)
        return EncoderOutput(pooled.float(), tokens.float(), logits.float())

    def encode_text(self, texts):
        lengths = torch.tensor([[len(text) / 10] for text in texts])
        return torch.cat([lengths**power for power in range(self.dim)], 1)


class NoTokenDim(Fake):
    dim = 5

    def __call__(self, pixels):
        return EncoderOutput(torch.zeros(len(pixels), 5))


class StacksViews(SoundEncoder):
    def __call__(self, pixels):
        return super().__call__(torch.stack(list(pixels)))


class Squeezes(SoundEncoder):
    def __call__(self, pixels):
        output = super().__call__(pixels)
        return EncoderOutput(output.pooled.squeeze(0), output.tokens, output.logits)


class BatchNormalizes(SoundEncoder):
    def __call__(self, pixels):
        output = super().__call__(pixels)
        return replace(output, pooled=output.pooled - output.pooled.mean(0))


class SortsViews(SoundEncoder):
    def __call__(self, pixels):
        return super().__call__(pixels[pixels.mean((1, 2, 3)).argsort()])


class ClampsInPlace(SoundEncoder):
    def __call__(self, pixels):
        return super().__call__(pixels.clamp_(0, 0.9))


class Drifts(SoundEncoder):
    def __call__(self, pixels):
        output = super().__call__(pixels)
        return replace(output, pooled=output.pooled + 1e-5 * self.calls)


class DrawsGlobally(SoundEncoder):
    def draw(self, generator):
        pass


class StaysTrainable(SoundEncoder):
    def freeze(self):
        pass


class HalfPrecision(SoundEncoder):
    def __call__(self, pixels):
        output = super().__call__(pixels)
        return EncoderOutput(output.pooled.to(self.context.dtype), output.tokens, output.logits)


class ForgetsClassifier(SoundEncoder):
    def stages(self):
        return super().stages()[:2]


class NeverLearns(SoundEncoder):
    @torch.no_grad()
    def __call__(self, pixels):
        return super().__call__(pixels)

    @torch.no_grad()
    def encode_text(self, texts):
        return super().encode_text(texts)


class TokensOfAnotherWidth(SoundEncoder):
    token_dim = 5


class Stretches(SoundEncoder):
    def __call__(self, pixels):
        return super().__call__(pixels / pixels.amax((1, 2, 3), keepdim=True))


class OneSizeOnly(SoundEncoder):
    def __call__(self, pixels):
        return super().__call__(pixels.reshape(len(pixels), 3, 96, 96))


class NarrowText(SoundEncoder):
    def encode_text(self, texts):
        return super().encode_text(texts)[:, :3]


# Heads: the sound one is linear on pooled features.


class SoundHead(Fake):
    def __init__(self, config, context):
        super().__init__(config, context)
        generator = torch.Generator().manual_seed(context.seed)
        width = sum(spec.dim for spec in context.inputs.values())
        self.matrix = torch.randn(width, len(context.labels), generator=generator).to(context.device)

    def __call__(self, features, faces):
        pooled = torch.cat([encoder.pooled for encoder in features.encoders.values()], 1)
        return features.mean_over_views(pooled, len(faces)) @ self.matrix


class TakesPoseAsKnown(SoundHead):
    def __call__(self, features, faces):
        return super().__call__(features, faces) + faces.pose[:, :1].to(features.failed.device)


class Probabilities(SoundHead):
    def __call__(self, features, faces):
        return super().__call__(features, faces).softmax(-1)


# Data sets: the sound one lists a folder.


class FolderConfig(Config):
    path: str = ""


class SoundDataset:
    splits, is_crop = ("train", "test"), True

    def __init__(self, config, context):
        self.folder = Path(config.path)

    def samples(self, split):
        if split not in self.splits:
            raise FerkitError(f"there is no split {split!r}: choose {', '.join(self.splits)}")
        for file in sorted((self.folder / split).glob("*.png")):
            yield self.sample(split, file)

    def sample(self, split, file):
        return Sample(f"{split}/{file.name}", str(file), "happiness", votes={"happiness": 3.0, "fear": 1.0})


class ListsWhatIsNotThere(SoundDataset):
    splits = ("train", "test", "validation")


class KeyErrorForSplit(SoundDataset):
    def samples(self, split):
        return super().samples({"train": "train", "test": "test"}[split])


class FileNamesForIds(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), id=file.name)


class PathsForIds(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), id=str(file))


class IndicesForLabels(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), label=3)


class NegativeVotes(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), votes={"fear": -1.0, "anger": 2.0})


class SourcesWithoutFolder(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), source=f"gone/{file.name}")


class ContentThatIsNoPicture(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), image=b"no picture")


class WidthsForCorners(SoundDataset):
    def sample(self, split, file):
        return replace(super().sample(split, file), box=(80.0, 70.0, 30.0, 40.0))


# Configurations


class Lenient(FakeConfig):
    @model_validator(mode="before")
    @classmethod
    def drop(cls, data):
        return {name: value for name, value in data.items() if name in cls.model_fields}


class ForgetsInJson(FakeConfig):
    scale: float = Field(default=1.0, exclude=True)


@dataclass
class Broken:
    """A fake, the check that must catch it, and the others that may."""

    suite: type
    fake: type
    check: str
    others: set[str] | None = field(default_factory=set)
    component: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self):
        return f"{self.check}-{self.fake.__name__}"


CASES = [
    Broken(DetectorSuite, SoundDetector, "test_is_registered_under_its_name", component={"summary": ""}),
    Broken(DetectorSuite, SoundDetector, LIGHT, attributes={"entry_module": "heavy_entry_module"}),
    Broken(NormalizerSuite, SoundNormalizer, "test_config_is_valid", ANY_OTHER, component={"config": DemandingConfig}),
    Broken(DetectorSuite, SoundDetector, "test_config_typo_is_refused", component={"config": Lenient}),
    Broken(DetectorSuite, SoundDetector, "test_config_survives_json", component={"config": ForgetsInJson},
           attributes={"config": {"scale": 2.0}}),
    Broken(EncoderSuite, NoTokenDim, "test_meets_its_protocol", ANY_OTHER),
    Broken(DetectorSuite, RaisesOnNothing, "test_nothing_in_nothing_out"),
    Broken(DetectorSuite, RaisesOnOne, "test_one", ANY_OTHER),
    Broken(DetectorSuite, ScoresShared, "test_batch_equals_singles"),
    Broken(DetectorSuite, SortsBySize, "test_order_is_kept", ANY_OTHER),
    Broken(DetectorSuite, WritesIntoPictures, "test_inputs_are_not_changed"),
    Broken(DetectorSuite, Tired, "test_is_repeatable"),
    Broken(DetectorSuite, Unseeded, "test_seed_decides"),
    Broken(DetectorSuite, HoldsAGraph, "test_no_gradient_outside_training"),
    Broken(DetectorSuite, Elsewhere, "test_device_is_honoured", ANY_OTHER),
    Broken(DetectorSuite, DoubleLandmarks, "test_results_are_float32"),
    Broken(DetectorSuite, KeyErrorForWeights, "test_wrong_weights_are_a_clear_error"),
    Broken(DetectorSuite, SizesForCorners, "test_boxes_are_corners_in_pixels",
           {"test_finds_one_face", "test_finds_many_faces"}),
    Broken(DetectorSuite, Percentages, "test_scores_are_shares"),
    Broken(DetectorSuite, SeesGhosts, "test_no_face_where_none_is"),
    Broken(DetectorSuite, SmallBoxes, "test_finds_one_face"),
    Broken(DetectorSuite, FirstFaceOnly, "test_finds_many_faces"),
    Broken(DetectorSuite, SoundDetector, "test_gives_what_it_provides",
           component={"provides": frozenset({"landmarks:68"})}),
    Broken(DetectorSuite, SoundDetector, "test_gives_what_it_provides", component={"provides": frozenset({"pose"})}),
    Broken(PoseSuite, NeedsLandmarks, "test_faces_without_landmarks", {"test_nothing_in_nothing_out"}),
    Broken(PoseSuite, ClipsBoxes, "test_faces_stay_the_same"),
    Broken(PoseSuite, PitchFromTheVertical, "test_pose_is_in_degrees"),
    Broken(PoseSuite, Anticlockwise, "test_roll_is_clockwise"),
    Broken(PoseSuite, SoundPose, "test_gives_what_it_provides", component={"provides": frozenset()}),
    Broken(NormalizerSuite, NeverTurns, "test_turns_the_portrait"),
    Broken(NormalizerSuite, PointsOfTheScene, "test_landmarks_lie_in_its_picture"),
    Broken(EncoderSuite, StacksViews, "test_nothing_in_nothing_out", {"test_widths_are_those_declared"}),
    Broken(EncoderSuite, Squeezes, "test_one", {"test_batch_equals_singles"}),
    Broken(EncoderSuite, BatchNormalizes, "test_batch_equals_singles"),
    Broken(EncoderSuite, SortsViews, "test_order_is_kept", {"test_batch_equals_singles"}),
    Broken(EncoderSuite, ClampsInPlace, "test_inputs_are_not_changed"),
    Broken(EncoderSuite, Drifts, "test_is_repeatable"),
    Broken(EncoderSuite, DrawsGlobally, "test_seed_decides"),
    Broken(EncoderSuite, StaysTrainable, "test_no_gradient_outside_training"),
    Broken(EncoderSuite, HalfPrecision, "test_results_are_float32"),
    Broken(EncoderSuite, ForgetsClassifier, "test_stages_cover_every_parameter_once"),
    Broken(EncoderSuite, NeverLearns, "test_gradients_reach_every_stage"),
    Broken(EncoderSuite, TokensOfAnotherWidth, "test_widths_are_those_declared"),
    Broken(EncoderSuite, SoundEncoder, "test_gives_what_it_provides", component={"provides": frozenset({"tokens"})}),
    Broken(EncoderSuite, Stretches, "test_features_are_finite"),
    Broken(EncoderSuite, OneSizeOnly, "test_any_view_size"),
    Broken(EncoderSuite, NarrowText, "test_text_shares_the_space"),
    Broken(HeadSuite, TakesPoseAsKnown, "test_logits_are_finite"),
    Broken(HeadSuite, Probabilities, "test_logits_are_not_probabilities"),
    Broken(DatasetSuite, ListsWhatIsNotThere, "test_listed_splits_have_samples"),
    Broken(DatasetSuite, KeyErrorForSplit, "test_unknown_split_is_a_clear_error"),
    Broken(DatasetSuite, FileNamesForIds, "test_ids_are_unique"),
    Broken(DatasetSuite, PathsForIds, "test_ids_are_stable"),
    Broken(DatasetSuite, IndicesForLabels, "test_labels_are_names"),
    Broken(DatasetSuite, NegativeVotes, "test_votes_are_shares_or_counts"),
    Broken(DatasetSuite, SourcesWithoutFolder, "test_sources_exist"),
    Broken(DatasetSuite, ContentThatIsNoPicture, "test_sources_exist"),
    Broken(DatasetSuite, WidthsForCorners, "test_boxes_have_an_area"),
]  # fmt: skip

SOUND = {
    DetectorSuite: (SoundDetector, {"landmarks:5"}),
    PoseSuite: (SoundPose, {"pose"}),
    NormalizerSuite: (SoundNormalizer, set()),
    EncoderSuite: (SoundEncoder, {"tokens", "logits", "text"}),
    HeadSuite: (SoundHead, set()),
    DatasetSuite: (SoundDataset, set()),
}


class Plugin:
    def __init__(self, component):
        self.component = component

    @hookimpl
    def ferkit_components(self):
        return [self.component]


def suite_of(base, fake, folder, component=None, attributes=None):
    """A suite for ``fake``, as a plugin author would write it, with a registry of its own."""
    provides = frozenset(SOUND[base][1])
    config = FolderConfig if base is DatasetSuite else FakeConfig
    described = {"config": config, "summary": "a fake", "provides": provides, **(component or {})}
    registry = Registry()
    target = f"{__name__}:{fake.__name__}"
    registry.register(Plugin(Component(kind=base.kind, name="fake", target=target, **described)), "fakes")
    options = {"path": str(folder)} if base is DatasetSuite else {}
    own = {"component": "fake", "distribution": "fakes", "entry_module": "ferkit.builtin", "config": options}
    return type("Suite", (base,), {**own, "registry": lambda self: registry, **(attributes or {})})


def checks(suite):
    return {name for name, _ in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")}


def failing(suite, without=()):
    """The checks that fail, with what they say."""
    found = {}
    for name in sorted(checks(suite) - set(without)):
        try:
            getattr(suite(), name)()
        except pytest.skip.Exception:
            pass
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001, which one it is does not matter
            found[name] = f"{type(error).__name__}: {error}"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two pictures a split, and a heavy plugin module that can be imported from it."""
    root = tmp_path_factory.mktemp("kit")
    for split in ("train", "test"):
        (root / split).mkdir()
        for name in ("a.png", "b.png"):
            Image.fromarray(face_picture().permute(1, 2, 0).numpy()).save(root / split / name)
    (root / "heavy_entry_module.py").write_text("import torch\n")
    return root


@pytest.fixture(autouse=True)
def importable(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize("base", SOUND, ids=lambda base: base.__name__)
def test_sound_fake_passes(base, folder):
    assert failing(suite_of(base, SOUND[base][0], folder)) == {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_fake_is_caught(case, folder):
    suite = suite_of(case.suite, case.fake, folder, case.component, case.attributes)
    found = failing(suite, without=() if case.check == LIGHT else {LIGHT})
    assert case.check in found
    assert case.others is ANY_OTHER or found.keys() <= {case.check} | case.others, found


def test_every_check_has_a_broken_fake():
    def definition(suite, name):
        return next(owner for owner in suite.__mro__ if name in vars(owner)), name

    every = {definition(suite, name) for suite in SOUND for name in checks(suite)}
    assert every == {definition(case.suite, case.check) for case in CASES}


def test_not_a_component_of_ours(folder):
    suite = suite_of(DetectorSuite, SoundDetector, folder, attributes={"component": "fak"})
    assert "did you mean" in failing(suite)["test_is_registered_under_its_name"]


def test_distribution_without_entry_point_is_said(folder):
    suite = suite_of(DetectorSuite, SoundDetector, folder, attributes={"entry_module": None})
    assert "fakes has no entry point" in failing(suite)[LIGHT]


def test_misnamed_expected_failure_is_refused(folder):
    with pytest.raises(FerkitError, match="test_bacth"):
        suite_of(DetectorSuite, SoundDetector, folder, attributes={"expected_failures": {"test_bacth": "typo"}})


def test_expected_failures_are_strict(pytester):
    """Under pytest an expected failure is one, an unexpected pass fails, and other suites keep their checks."""
    pytester.makepyfile(
        """
        from ferkit.testing import DetectorSuite

        class BuiltIn(DetectorSuite):
            component, distribution, entry_module = "whole-image", "ferkit", "ferkit.builtin"
            finds_faces = True

        class TestExpected(BuiltIn):
            expected_failures = {"test_no_face_where_none_is": "it takes every picture as a face"}

        class TestPasses(BuiltIn):
            expected_failures = {"test_one": "wrong"}

        class TestPlain(BuiltIn):
            pass
        """
    )
    wanted = "test_no_face_where_none_is or test_one"
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", wanted, "-rA")
    result.assert_outcomes(xfailed=1, failed=3, passed=2)
    result.stdout.fnmatch_lines(["*XPASS(strict)*wrong*"])


def test_public_names():
    assert sorted(ferkit.testing.__all__) == ferkit.testing.__all__
    assert all(hasattr(ferkit.testing, name) for name in ferkit.testing.__all__)
