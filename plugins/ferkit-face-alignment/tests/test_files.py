"""Which files are read, that they are the right ones, and what is said where they are not."""

import pickle
import re
import urllib.request

import pytest
import torch
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from ferkit import ComponentError, WeightsError, WeightsStore
from ferkit.cli import app
from ferkit_face_alignment import DetectorConfig, PoseConfig, ferkit_components
from ferkit_face_alignment.detector import FaceAlignmentDetector
from ferkit_face_alignment.files import BACKENDS, FAN, PUBLISHED
from ferkit_face_alignment.pose import FaceAlignmentPose

SFD = BACKENDS["sfd"][0]


def test_names_that_hold_digits_of_a_digest_agree_with_the_digest():
    pinned = {name: file.sha256 for name, file in PUBLISHED.items() if file.sha256}
    assert set(pinned) == {SFD, FAN}
    for name, digest in pinned.items():
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert re.search(r"-([0-9a-f]{10})\.", name)[1] == digest[:10]


def test_addresses_are_those_of_the_library():
    from face_alignment.api import models_urls as fan
    from face_alignment.detection.blazeface.blazeface_detector import models_urls as blazeface
    from face_alignment.detection.sfd.sfd_detector import models_urls as sfd

    theirs = {fan["2DFAN-4"], *blazeface.values(), *sfd.values()}
    assert {file.address for file in PUBLISHED.values()} == theirs


def test_missing_files_are_named_at_once_with_digest_and_place(tmp_path, monkeypatch, context):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as error:
        FaceAlignmentPose(PoseConfig(), context())
    for text in (
        f"{tmp_path / 'hub' / 'checkpoints' / FAN}  (SHA-256 {PUBLISHED[FAN].sha256})",
        PUBLISHED[FAN].address,
    ):
        assert text in str(error.value)
    assert "ferkit weights fetch RECIPE" in str(error.value)
    digests = {"blazeface.pth": "a" * 64, "anchors.npy": "b" * 64}
    config = DetectorConfig(backend="blazeface", weights_dir=str(tmp_path), sha256=tuple(digests.values()))
    with pytest.raises(WeightsError) as error:
        FaceAlignmentDetector(config, context())
    for name, digest in digests.items():
        assert f"{tmp_path / name}  (SHA-256 {digest})" in str(error.value)


def test_the_weights_command_sees_every_file():
    detector, pose = ferkit_components()
    assert list(pose.weights(PoseConfig())) == [f"{PUBLISHED[FAN].address}#sha256={PUBLISHED[FAN].sha256}"]
    config = DetectorConfig(backend="blazeface", weights_dir="w", sha256=("a" * 64, "b" * 64))
    assert list(detector.weights(config)) == [f"w/blazeface.pth#sha256={'a' * 64}", f"w/anchors.npy#sha256={'b' * 64}"]


def test_files_are_recorded_and_part_of_the_version(folder, options_for, context):
    store, options = WeightsStore(), options_for(folder, [SFD])
    built = FaceAlignmentDetector(DetectorConfig(**options), context(store=store))
    digest = options["sha256"][0]
    assert store.used == {f"{folder}/{SFD}#sha256={digest}": digest}
    assert digest in built.version


def test_an_altered_file_is_refused_before_it_is_read(tmp_path, folder, options_for, context):
    options = {**options_for(folder, [FAN]), "weights_dir": str(tmp_path)}
    (tmp_path / FAN).write_bytes(b"altered")
    with pytest.raises(WeightsError, match="is not the file that was pinned"):
        FaceAlignmentPose(PoseConfig(**options), context())


class Malicious:
    def __reduce__(self):
        return (RAN.append, (1,))


RAN = []


@pytest.mark.parametrize(("name", "config", "target"), [
    (SFD, DetectorConfig, FaceAlignmentDetector),
    (FAN, PoseConfig, FaceAlignmentPose),
])  # fmt: skip
@pytest.mark.parametrize("what", ["code", "no pickle", "another network's", "no state"])
def test_files_of_something_else_are_a_clear_error_and_run_nothing(
    tmp_path, options_for, context, name, config, target, what
):
    if what == "code":
        torch.save({"l0.weight": Malicious()}, tmp_path / name)
    elif what == "no pickle":
        (tmp_path / name).write_bytes(b"no weights at all")
    else:
        torch.save({"l0.weight": torch.zeros(2)} if what == "another network's" else 3, tmp_path / name)
    with pytest.raises(WeightsError, match=rf"{re.escape(name)}: no weights of "):
        target(config(**options_for(tmp_path, [name])), context())
    assert RAN == []


def test_anchors_may_hold_no_objects(tmp_path, folder, options_for, context):
    weights, anchors = BACKENDS["blazeface"]
    (tmp_path / weights).write_bytes((folder / weights).read_bytes())
    (tmp_path / anchors).write_bytes(pickle.dumps(Malicious()))
    config = DetectorConfig(backend="blazeface", **options_for(tmp_path, [weights, anchors]))
    with pytest.raises(WeightsError, match="no weights of blazeface"):
        FaceAlignmentDetector(config, context())
    assert RAN == []


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (DetectorConfig, {"backend": "blazeface"}, "give sha256: [… of blazeface.pth, … of anchors.npy]"),
        (DetectorConfig, {"sha256": ["0" * 64] * 2}, f"sha256 has 2 digests: give sha256: [… of {SFD}]"),
        (DetectorConfig, {"sha256": ["619a316812"]}, "should match pattern"),
        (DetectorConfig, {"backend": "dlib"}, "'sfd', 'blazeface' or 'blazeface-back'"),
        (PoseConfig, {"scale": 0.5}, "greater than or equal to 1"),
    ],
)
def test_options_that_can_not_be_are_refused(config, options, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        config(**options)


def test_a_device_that_the_library_does_not_know_is_an_error(context):
    for target, config in ((FaceAlignmentDetector, DetectorConfig()), (FaceAlignmentPose, PoseConfig())):
        with pytest.raises(ComponentError, match="can't compute on meta: choose cpu, cuda or mps"):
            target(config, context(device="meta"))


@pytest.fixture
def recipe(tmp_path, folder, options_for):
    """The embedded recipe with this detector and pose; their files are where torch.hub keeps them."""
    parts = {"detector": SFD, "pose": FAN}
    files = {
        part: {"use": "face-alignment", "sha256": options_for(folder, [name])["sha256"]} for part, name in parts.items()
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"ferkit": 1, "name": "by-face-alignment", "extends": "default", **files}))
    return str(path)


def test_the_weights_commands_list_fetch_and_verify(recipe, tmp_path, folder, monkeypatch):
    def command(name):
        return CliRunner().invoke(app, ["weights", name, recipe], env={"COLUMNS": "500"})

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    monkeypatch.setattr(
        torch.hub,
        "urlopen",
        lambda request, **_: urllib.request.urlopen((folder / request.full_url.rpartition("/")[2]).as_uri()),
    )
    missing = command("list").stdout
    assert all(name in missing for name in (SFD, FAN)) and missing.count("missing") == 2
    assert command("verify").exit_code == 1
    assert command("fetch").stdout.split()[:2] == [str(cache / SFD), str(cache / FAN)]
    verified = command("verify")
    assert verified.exit_code == 0 and verified.stdout.count(" ok") == 3  # nano's, too
    (cache / FAN).write_bytes(b"altered")
    assert "altered" in command("verify").stdout
