"""What learns, at what rate, and from what."""

import csv
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import ViTConfig, ViTImageProcessor, ViTModel

import ferkit
from ferkit import Context, FerkitError
from ferkit.cache import Cache
from ferkit.recipe import load_recipe
from ferkit.training.augment import Augmentation
from ferkit.training.gathering import gather
from ferkit.training.learner import Learner
from ferkit.training.objectives import BatchTargets, Objective, balanced_weights, contrastive, distillation
from ferkit.training.options import Augment, Training
from ferkit.training.source import FeatureSource, ViewSource
from ferkit.training.trainer import Trainer
from ferkit.types import EncoderFeatures, Features
from ferkit.weights import WeightsStore

LABELS = ["neutral", "happiness", "sadness"]
PIXELS = 2e-3
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train.md"


@pytest.fixture
def trainers(monkeypatch):
    """Every trainer, which goes on saying what its learner said when its training was over."""
    found, run = [], Trainer.run

    def recorded(self):
        found.append(self)
        rows = run(self)
        said = self.probabilities()
        self.probabilities = lambda: said
        return rows

    monkeypatch.setattr(Trainer, "run", recorded)
    return found


def learner(recipe):
    loaded = load_recipe(recipe)
    return Learner(loaded, Context(torch.device("cpu"), torch.float32, 0, loaded.labels, WeightsStore(), training=True))


def moved(run, name, weights):
    """Names of the tensors that are no longer those of ``weights``."""
    before, after = load_file(weights), load_file(run / f"encoder-{name}.safetensors")
    assert after.keys() <= before.keys()
    return {key for key, value in after.items() if not torch.equal(value, before[key])}


def test_only_the_last_stages_move_and_frozen_batch_norms_keep_their_statistics(recipe, train, checkpoints):
    resnet = checkpoints["test_resnet"]
    run, _ = train(recipe(encoders={"one": resnet}, training={"learn": {"one": 1}, "epochs": 1, "lr": 0.01}))
    every = set(load_file(resnet["weights"]))
    assert moved(run, "one", resnet["weights"]) == {name for name in every if name.startswith("layer4.")}
    assert load_file(run / "encoder-one.safetensors").keys() == moved(run, "one", resnet["weights"])


def test_everything_moves_statistics_too(recipe, train, checkpoints):
    resnet = checkpoints["test_resnet"]
    run, _ = train(recipe(encoders={"one": resnet}, training={"learn": "all", "epochs": 1, "lr": 0.01}))
    assert moved(run, "one", resnet["weights"]) == set(load_file(resnet["weights"]))


def test_adapters_change_linear_layers_by_matrices_of_low_rank(recipe, train, checkpoints):
    vit = checkpoints["test_vit"]
    learn = {"vit": {"lora": {"rank": 2, "alpha": 4}}}
    run, _ = train(recipe(training={"learn": learn, "epochs": 2, "lr": 0.01, "batch_size": 16}))
    before, after = load_file(vit["weights"]), load_file(run / "encoder-vit.safetensors")
    linear = {name for name, value in before.items() if name.startswith("blocks.") and value.ndim == 2}
    assert moved(run, "vit", vit["weights"]) == linear
    assert {int(torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3)) for name in linear} <= {1, 2}


def test_adapters_of_convolutions_are_merged(recipe, train, checkpoints, trainers, faces):
    resnet = checkpoints["test_resnet"]
    learn = {"one": {"lora": {"targets": ["layer4.0.conv1"]}}}
    run, _ = train(recipe(encoders={"one": resnet}, training={"learn": learn, "epochs": 1, "lr": 0.01}))
    assert moved(run, "one", resnet["weights"]) == {"layer4.0.conv1.weight"}
    found = ferkit.pipeline(run)(sorted((faces / "validation").rglob("*.png"))).probabilities
    torch.testing.assert_close(found, trainers[0].probabilities()[0], atol=PIXELS, rtol=0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["no_such_layer"], r"training\.learn\.clip\.lora: .*no_such_layer.* end in c_fc, c_proj, conv1, out_proj$"),
        (["attn"], "attn is of MultiheadAttention"),
    ],
)
def test_adapters_that_can_not_be_had_are_told(targets, message, recipe, clip):
    with pytest.raises(FerkitError, match=message):
        learner(recipe(encoders={"clip": clip}, training={"learn": {"clip": {"lora": {"targets": targets}}}}))


def test_the_targets_that_the_page_shows_are_there(recipe, clip, checkpoints, tmp_path):
    size = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "intermediate_size": 16}
    ViTModel(ViTConfig(**size, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    encoders = {
        "open-clip": clip,
        "transformers": {"use": "transformers", "folder": str(tmp_path / "vit")},
        "timm": checkpoints["test_vit"],
    }
    rows = re.findall(r"^\| `([\w-]+)` \| `\[([\w, ]+)\]`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == set(encoders)
    for name, targets in rows:
        learn = {"one": {"lora": {"targets": targets.split(", ")}}}
        made = learner(recipe(encoders={"one": encoders[name]}, training={"learn": learn}))
        opened = [key for key, parameter in made.parts.named_parameters() if parameter.requires_grad]
        assert {key.split(".lora_")[0].rpartition(".")[2] for key in opened} == set(targets.split(", "))


@pytest.mark.parametrize(("text", "targets"), [(False, []), (True, []), (False, ["c_fc"])])
def test_adapters_keep_to_the_towers_that_learn(text, targets, recipe, train, clip, trainers, faces):
    learn = {"clip": {"lora": {"targets": targets}, "text": text}}
    settings = {"learn": learn, "epochs": 1, "lr": 0.05, "batch_size": 16}
    run, _ = train(recipe(encoders={"clip": clip}, head={"use": "zero-shot"}, training=settings))
    towers = ("visual.", "text.") if text else ("visual.",)
    after = load_file(run / "encoder-clip.safetensors")
    assert {name.split(".")[0] + "." for name in after} == set(towers)
    layers = tuple(targets) or ("c_fc", "c_proj")
    assert all(name.endswith(tuple(f"{layer}.weight" for layer in layers)) for name in after)
    found = ferkit.pipeline(run)(sorted((faces / "validation").rglob("*.png"))).probabilities
    torch.testing.assert_close(found, trainers[0].probabilities()[0], atol=5 * PIXELS, rtol=0)


@pytest.mark.parametrize("learn", [1, "lora"])
def test_what_the_head_never_reads_can_not_learn(learn, recipe, train):
    """The last stage of nano, and its only linear layer, is its classifier."""
    made = recipe(encoders={"nano": {"use": "nano"}}, training={"learn": {"nano": learn}, "epochs": 1})
    with pytest.raises(FerkitError, match=r"encoders\.nano would not learn, .* the head linear reads pooled features;"):
        train(made)


def test_stages_without_a_gradient_are_told_and_not_written(recipe, train):
    made = recipe(encoders={"nano": {"use": "nano"}}, training={"learn": {"nano": 2}, "epochs": 1})
    with pytest.warns(UserWarning, match=r"^1 of 2 groups of parameters of encoders\.nano .* get no gradient"):
        run, _ = train(made)
    names = set(load_file(run / "encoder-nano.safetensors"))
    assert names and all(name.startswith("blocks.4.") for name in names)


def test_adapters_in_a_text_tower_that_is_not_read_are_told(recipe, train, clip):
    settings = {"learn": {"clip": {"lora": {"rank": 2}, "text": True}}, "epochs": 1, "lr": 0.05}
    with pytest.warns(UserWarning, match=r"^1 of 2 groups of parameters of encoders\.clip "):
        run, _ = train(recipe(encoders={"clip": clip}, training=settings))
    assert {name.split(".")[0] for name in load_file(run / "encoder-clip.safetensors")} == {"visual"}


def test_a_head_that_no_objective_reaches_is_told(recipe, train, clip):
    settings = {"learn": {"clip": 1}, "objectives": {"cross_entropy": 0, "image_text": 1}, "epochs": 1}
    with pytest.warns(UserWarning, match="the head linear gets no gradient, and stays as it is"):
        train(recipe(encoders={"clip": clip}, training=settings))


def test_rates_fall_from_stage_to_stage_and_only_matrices_decay(recipe):
    settings = {"learn": {"vit": 3}, "lr": 0.1, "encoder_lr": 0.01, "layer_decay": 0.5}
    made = learner(recipe(training=settings))
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    rates = {}
    for group in made.groups(0.2):
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.2 if parameter.ndim > 1 else 0.0)
            rates[names[id(parameter)]] = group["lr"]
    assert set(rates) == {name for name, p in made.named_parameters() if p.requires_grad}
    stage = {"parts.vit.blocks.5": 0.01, "parts.vit.blocks.4": 0.005, "parts.vit.blocks.3": 0.0025, "head": 0.1}
    for name, rate in rates.items():
        expected = next((value for key, value in stage.items() if name.startswith(f"{key}.")), 0.01)
        assert rate == pytest.approx(expected), name


def test_a_text_tower_learns_with_class_texts(recipe, train, clip, trainers, faces):
    settings = {
        "learn": {"clip": {"stages": 1, "text": True}},
        "objectives": {"cross_entropy": 1.0, "image_text": 0.5},
        "epochs": 2,
        "batch_size": 16,
        "ema": 0.5,
    }
    run, _ = train(recipe(encoders={"clip": clip}, head={"use": "zero-shot"}, training=settings))
    weights = f"{clip['local_dir']}/open_clip_model.safetensors"
    before, after = load_file(weights), load_file(run / "encoder-clip.safetensors")
    texts = {name for name in after if name.startswith("text.")}
    assert texts
    assert not torch.equal(after["text.token_embedding.weight"], before["token_embedding.weight"])
    assert "visual.conv1.weight" not in after
    found = ferkit.pipeline(run)(sorted((faces / "validation").rglob("*.png"))).probabilities
    torch.testing.assert_close(found, trainers[0].probabilities()[0], atol=5 * PIXELS, rtol=0)
    row = trainers[0].state.history[0]["train"]
    assert row["loss"] == pytest.approx(row["cross_entropy"] + 0.5 * row["image_text"], rel=1e-5)


def test_the_temperature_that_is_learnt_is_used(recipe, train, clip, trainers, faces):
    objectives = {"cross_entropy": 1.0, "image_text": 1.0}
    settings = {"learn": {"clip": 1}, "objectives": objectives, "epochs": 2, "batch_size": 16, "lr": 0.05}
    made = recipe(encoders={"clip": clip}, head={"use": "zero-shot"}, training=settings)
    run, _ = train(made)
    learnt = load_file(run / "encoder-clip.safetensors")["ferkit.logit_scale"]
    before = load_file(f"{clip['local_dir']}/open_clip_model.safetensors")["logit_scale"].exp()
    assert abs(learnt - before) > 0.1
    fer = ferkit.pipeline(run)
    found = fer(sorted((faces / "validation").rglob("*.png"))).probabilities
    torch.testing.assert_close(found, trainers[0].probabilities()[0], atol=5 * PIXELS, rtol=0)
    further = {"extends": str(run), "training": {"objectives": {"image_text": 0}, "epochs": 1}}
    train(further, "further")
    again = load_file(run.parent / "further" / "encoder-clip.safetensors")["ferkit.logit_scale"]
    assert again == learnt


def test_a_temperature_is_learnt_within_bounds(recipe, clip):
    settings = {"learn": {"clip": 1}, "objectives": {"image_text": 1.0}}
    made = learner(recipe(encoders={"clip": clip}, training=settings))
    opened = {id(parameter) for group in made.groups(0) for parameter in group["params"]}
    assert opened == {id(parameter) for parameter in made.parameters() if parameter.requires_grad}
    scale = made.scales["clip"]
    assert id(scale) in opened
    torch.nn.init.constant_(scale, 9)
    assert made.logit_scales()["clip"].item() == pytest.approx(100)


def test_a_face_counts_once_in_image_text_however_many_views_it_has():
    generator = torch.Generator().manual_seed(0)
    pooled, text = torch.randn(3, 8, generator=generator), torch.randn(2, 8, generator=generator)
    objective = Objective(Training(objectives={"cross_entropy": 0, "image_text": 1}), torch.ones(2))

    def loss(rows, owners, shares):
        encoders = {"clip": EncoderFeatures(pooled[rows], text=text, logit_scale=10.0)}
        features = Features(encoders, torch.tensor(owners), ("aligned",) * len(rows), torch.zeros(len(rows)) > 0)
        targets = BatchTargets(shares)
        return objective(torch.zeros(len(shares), 2), features, targets, {"clip": torch.tensor(10.0)}, {})["loss"]

    whole = loss([0, 1, 2], [0, 0, 1], torch.eye(2))
    parts = loss([0, 1], [0, 0], torch.eye(2)[:1]), loss([2], [0], torch.eye(2)[1:])
    torch.testing.assert_close(whole, sum(parts) / 2)


def manifest(faces, path, **columns):
    """A table of the training faces with more columns, each a function of label and number."""
    pictures = sorted((faces / "train").rglob("*.png"))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", *columns])
        for number, picture in enumerate(pictures):
            label = picture.parent.name
            writer.writerow([picture, label, *(make(label, number) for make in columns.values())])
    return {"use": "manifest", "path": str(path), "root": str(faces), "crops": True, "validation": 0.2}


@pytest.mark.filterwarnings("ignore:the head zero-shot gets no gradient")  # it has but a temperature
def test_pictures_learn_from_their_captions(recipe, train, clip, faces, tmp_path, history):
    data = manifest(faces, tmp_path / "t.csv", caption=lambda label, number: f"{label} {number}" if number % 4 else "")
    settings = {
        "learn": {"clip": {"stages": "all", "text": True}},
        "objectives": {"cross_entropy": 0, "contrastive": 1.0},
        "augment": {"flip": 0, "rotate": 0, "scale": 0, "shift": 0},
        "epochs": 12,
        "batch_size": 19,
        "lr": 0.005,
    }
    run, _ = train(recipe(encoders={"clip": clip}, head={"use": "zero-shot"}, data=data, training=settings))
    losses = [row["train"]["contrastive"] for row in history(run)]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize(
    ("captions", "owners"),
    [(("glad", "glad", "sad"), [0, 1, 2]), (("glad", "sad"), [0, 0, 1])],
    ids=["captions", "views"],
)
def test_equal_captions_and_views_of_one_face_are_no_negatives(captions, owners):
    """Two pictures that lie where their common caption does are left there; the third is told from them."""
    rows = torch.eye(2)[[0, 0, 1]]
    pooled, text = rows.clone().requires_grad_(), torch.eye(2)[[0, 0, 1] if len(captions) == 3 else [0, 1]]
    features = Features({"clip": EncoderFeatures(pooled)}, torch.tensor(owners), ("aligned",) * 3, torch.zeros(3) > 0)
    loss = contrastive(features, {"clip": text}, captions, {"clip": torch.tensor(20.0)})
    loss.backward()
    assert pooled.grad.abs().max() < 1e-4
    assert loss.item() == pytest.approx(2 / 3 * torch.tensor(2.0).log().item(), abs=1e-4)  # what two targets cost
    other = contrastive(features, {"clip": text.flip(0)}, captions, {"clip": torch.tensor(20.0)})
    assert other > loss + 1


def test_one_caption_for_all_tells_nothing():
    features = Features({"clip": EncoderFeatures(torch.eye(2))}, torch.arange(2), ("aligned",) * 2, torch.zeros(2) > 0)
    found = contrastive(features, {"clip": torch.eye(2)}, ("glad", "glad"), {"clip": torch.tensor(20.0)})
    assert found == 0


def test_no_captions_is_an_error(recipe, train, clip):
    settings = {"learn": {"clip": 1}, "objectives": {"contrastive": 1.0}}
    with pytest.raises(FerkitError, match="contrastive needs captions, and no sample has one"):
        train(recipe(encoders={"clip": clip}, training=settings))


def test_a_student_learns_what_its_teacher_says_label_by_label(recipe, train, write_recipe, trainers):
    permuted = ["sadness", "neutral", "happiness"]
    train(recipe(labels=permuted, training={"epochs": 20, "lr": 0.02, "batch_size": 16}), "teacher")
    settings = {
        "teacher": "teacher/",  # beside the recipe
        "objectives": {"cross_entropy": 0, "distillation": 1.0},
        "epochs": 40,
        "lr": 0.02,
        "batch_size": 16,
        "keep": "last",
    }
    train(str(write_recipe(recipe(training=settings))), "student")
    teacher, student = (trainer.probabilities()[0] for trainer in trainers)
    order = [permuted.index(label) for label in LABELS]
    assert (student - teacher[:, order]).abs().mean() < 0.06
    assert (student - teacher).abs().mean() > 0.1  # were columns not found by name


def test_a_teacher_sees_the_views_of_its_own_recipe(recipe, train, faces, monkeypatch):
    """It was trained on faces of 40 pixels, its student aligns to 32."""
    teacher, _ = train(recipe(align={"size": 40}, training={"epochs": 1}), "teacher")
    found, asked = [], ViewSource.__init__

    def recorded(self, prepared, shares, training, seed, taught=None):
        found.append((prepared, taught))
        asked(self, prepared, shares, training, seed, taught)

    monkeypatch.setattr(ViewSource, "__init__", recorded)
    settings = {"teacher": str(teacher), "objectives": {"distillation": 1.0}, "epochs": 1}
    _, metrics = train(recipe(training=settings), "student")
    prepared, soft = found[0]
    expected = ferkit.pipeline(teacher)([sample.source for sample in prepared.samples]).probabilities
    torch.testing.assert_close(soft.exp(), expected, atol=PIXELS, rtol=0)
    assert metrics["data"]["learnt_from"]["not_found_by_teacher"] == 0


def test_faces_without_a_teacher_learn_from_their_label_alone():
    logits, teacher = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.3, 0.7], [0.3, 0.7]]).log()
    both = distillation(logits, teacher, 2.0)
    teacher[1] = torch.nan
    torch.testing.assert_close(distillation(logits, teacher, 2.0), distillation(logits[:1], teacher[:1], 2.0) / 2)
    assert distillation(logits, teacher, 2.0) < both


def test_mixup_of_faces_with_two_views_is_refused(recipe, train):
    settings = {"learn": {"vit": 1}, "augment": {"mixup": 0.2}}
    made = recipe(pose={"use": "landmark-pnp"}, normalizer={"use": "mirror", "keep": "both"}, training=settings)
    with pytest.raises(FerkitError, match=r"mixup blends faces of one view each, and normalizer\.keep: both gives two"):
        train(made)


def test_votes_are_learnt_as_shares(recipe, train, faces, tmp_path, trainers):
    columns = {
        "votes:neutral": lambda label, _: 3 if label == "neutral" else 1,
        "votes:happiness": lambda label, _: 3 if label == "happiness" else 1,
        "votes:sadness": lambda label, _: 3 if label == "sadness" else 0,
    }
    data = manifest(faces, tmp_path / "t.csv", **columns)
    table = (tmp_path / "t.csv").read_text().splitlines()
    twice = [
        f"id,split,{table[0]}",
        *(f"{s} {n},{s},{row}" for s in ("train", "test") for n, row in enumerate(table[1:])),
    ]
    (tmp_path / "t.csv").write_text("\n".join(twice))  # the faces that were learnt from are looked at
    data["validation"] = "test"
    settings = {"epochs": 60, "batch_size": 48, "lr": 0.02, "weight_decay": 0, "keep": "last"}
    head = {"use": "mlp"}
    sure = []
    for soft in (True, False):
        train(recipe(data=data, head=head, training=settings | {"soft_labels": soft}), f"soft-{soft}")
        found, truth = trainers[-1].probabilities()
        assert (found.argmax(1) == truth).float().mean() > 0.95
        sure.append(float(found[truth == 0].amax(1).mean()))
    assert sure[0] == pytest.approx(0.75, abs=0.06)  # three votes of four
    assert sure[1] > 0.9


def test_balanced_weights_give_every_class_the_same_say():
    shares = torch.eye(2)[[0, 0, 0, 1]]
    weights = balanced_weights(shares)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))
    features = Features({}, torch.arange(4), ("aligned",) * 4, torch.zeros(4) > 0)
    logits = torch.tensor([[2.0, 0.0]]).expand(4, 2)
    terms = Objective(Training(), weights)(logits, features, BatchTargets(shares), {}, {})
    right, wrong = -logits.log_softmax(1)[0]
    torch.testing.assert_close(terms["loss"], (right + wrong) / 2)
    smooth = Objective(Training(label_smoothing=0.2), torch.ones(2))
    found = smooth(logits, features, BatchTargets(shares), {}, {})["loss"]
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, shares, label_smoothing=0.2))


def test_classes_weigh_in_a_run(recipe, train, trainers, write_faces):
    rare = write_faces("rare", train=[*range(0, 48, 3), 1, 4, 2, 5], validation=range(48, 64))
    found = []
    for weights in ("none", "balanced"):
        settings = {"class_weights": weights, "epochs": 25, "batch_size": 20, "lr": 0.02, "keep": "last"}
        train(recipe(data__path=str(rare), training=settings), weights)
        found.append(float(trainers[-1].probabilities()[0][:, 0].mean()))
    assert found[0] > found[1] + 0.1


def test_balanced_sampling_draws_classes_alike(recipe, train, write_faces, monkeypatch):
    rare = write_faces("rare", train=[*range(0, 64, 3), 1, 4, 2, 5], validation=range(48, 64))
    drawn, get = [], FeatureSource.__getitem__

    def recorded(self, index):
        batch = get(self, index)
        if len(self) == 26:
            drawn.append(batch.targets.shares)
        return batch

    monkeypatch.setattr(FeatureSource, "__getitem__", recorded)
    train(recipe(data__path=str(rare), training={"sampling": "balanced", "epochs": 20, "batch_size": 13}))
    shares = torch.cat(drawn).mean(0)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.08, rtol=0)


EVERYTHING = Augment(
    flip=0.5, rotate=20, scale=0.2, shift=0.1, hue=0.2, grey=0.5, blur=0.5, low_resolution=0.5, erase=0.5
)


def test_views_of_a_face_are_changed_alike_and_stay_pictures():
    face = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    augment = Augmentation(EVERYTHING)
    state = torch.get_rng_state()
    seen = set()
    for seed in range(30):
        pixels, flipped = augment(torch.cat([face, face]), seed)
        assert torch.equal(pixels[0], pixels[1])
        assert pixels.shape == (2, 3, 32, 32) and pixels.min() >= 0 and pixels.max() <= 1
        assert torch.equal(augment(torch.cat([face, face]), seed)[0], pixels)
        seen.add((flipped, float(pixels.mean())))
    assert {flipped for flipped, _ in seen} == {True, False}
    assert len({mean for _, mean in seen}) == 30
    assert torch.equal(torch.get_rng_state(), state)


def test_a_flip_mirrors_pixels_and_changes_the_signs_of_yaw_and_roll(recipe, registry):
    off = dict.fromkeys(Augment.model_fields, 0) | {"flip": 0.5}
    loaded = load_recipe(recipe(pose={"use": "fixed"}, training={"augment": off}), registry=_with_timm(registry))
    context = Context(torch.device("cpu"), torch.float32, 0, loaded.labels, WeightsStore())
    learn, _ = gather(loaded, context, Cache(), lambda *_: lambda _: None)
    source = ViewSource(learn.prepared, learn.shares, loaded.framework.training, 0)
    index = list(range(16))
    clean = source[index]
    assert clean.faces.pose[3].tolist() == [120, 0, 0]
    source.draw = 0
    drawn = source[index]
    mirrored = [torch.equal(drawn.views.pixels[i], clean.views.pixels[i].flip(-1)) for i in index]
    assert 3 < sum(mirrored) < 13
    for i in index:
        assert mirrored[i] or torch.equal(drawn.views.pixels[i], clean.views.pixels[i])
        assert drawn.faces.pose[i, 0] == (-1 if mirrored[i] else 1) * clean.faces.pose[i, 0]
    assert torch.equal(source[index[::-1]].views.pixels.flip(0), drawn.views.pixels)  # whatever the batch


def _with_timm(registry):
    import ferkit_timm

    registry.register(ferkit_timm, "ferkit-timm", "0.1.0")
    return registry


def test_mixup_blends_faces_and_targets_alike(recipe):
    loaded = load_recipe(recipe(training={"augment": dict.fromkeys(Augment.model_fields, 0) | {"mixup": 1.0}}))
    context = Context(torch.device("cpu"), torch.float32, 0, loaded.labels, WeightsStore())
    learn, _ = gather(loaded, context, Cache(), lambda *_: lambda _: None)
    source = ViewSource(learn.prepared, learn.shares, loaded.framework.training, 0)
    index = [0, 20, 40]
    clean, source.draw = source[index], 1
    mixed = source[index]
    before = clean.views.pixels.roll(1, 0)
    share = ((mixed.views.pixels - before) * (clean.views.pixels - before)).sum() / (
        clean.views.pixels - before
    ).square().sum()
    assert 0 < share < 1
    torch.testing.assert_close(mixed.views.pixels, share * clean.views.pixels + (1 - share) * before)
    expected = share * clean.targets.shares + (1 - share) * clean.targets.shares.roll(1, 0)
    torch.testing.assert_close(mixed.targets.shares, expected)


def test_the_moving_average_is_what_is_kept(recipe, train, trainers):
    settings = {"ema": 0.9, "epochs": 1, "batch_size": 16, "keep": "last", "lr": 0.05}
    run, _ = train(recipe(training=settings), "ema")
    plain, _ = train(recipe(training=settings | {"ema": None}), "plain")
    kept = load_file(run / "head.safetensors")
    for name, value in trainers[0].state.average.items():
        assert torch.equal(kept[name.removeprefix("head.")], value)
    assert not torch.allclose(kept["classifier.weight"], load_file(plain / "head.safetensors")["classifier.weight"])


@pytest.mark.parametrize("monitor", ["uar", "loss"])
def test_the_best_epoch_is_kept(monitor, recipe, train, history, trainers):
    settings = {"monitor": monitor, "epochs": 8, "batch_size": 16, "lr": 0.05}
    run, metrics = train(recipe(head={"use": "mlp"}, training=settings))
    rows = [row["validation"] for row in history(run)]
    figures = [-row["loss"] if monitor == "loss" else row[monitor] for row in rows]
    best = figures.index(max(figures))
    assert len(set(figures)) > 0 and best < 7  # it overfits: the last is not the best
    assert metrics["epoch"] == best + 1
    assert metrics["validation"] == rows[best]
    probabilities, truth = trainers[0].probabilities()
    assert float((probabilities.argmax(1) == truth).float().mean()) == pytest.approx(rows[best]["accuracy"])


def test_rates_warm_up_and_fall_to_nothing(recipe, train, monkeypatch, trainers):
    rates = []
    monkeypatch.setattr(
        "ferkit.training.live.Quiet.step", lambda self, _: rates.append(trainers[0].optimizer.param_groups[0]["lr"])
    )
    train(recipe(training={"epochs": 4, "batch_size": 12, "warmup": 0.25, "lr": 0.1}))
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.005


def test_parts_of_a_batch_add_up_to_the_whole(recipe, train, history):
    runs = []
    for parts in (1, 2):
        settings = {"learn": {"vit": 1}, "epochs": 2, "batch_size": 16, "accumulate": parts}
        runs.append(train(recipe(training=settings), f"parts-{parts}")[0])
    for name in ("head.safetensors", "encoder-vit.safetensors"):
        torch.testing.assert_close(load_file(runs[0] / name), load_file(runs[1] / name), atol=1e-4, rtol=1e-3)
    losses = [[row["train"]["loss"] for row in history(run)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_change_of_precision_asks_for_another_process(recipe, train):
    """accelerate keeps the one of the first training."""
    with pytest.raises(FerkitError, match="precision can't change within one Python process"):
        train(recipe())
        train(recipe(training={"precision": "bf16"}), "other")
