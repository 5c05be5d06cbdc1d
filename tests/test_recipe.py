import math

import pytest
import yaml
from fakes import ColourConfig, component, plugin, recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from ferkit import Config, RecipeError, Weights, load_recipe
from ferkit.layers import from_mapping, merge


def write(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    return path


def problems(source, registry, overrides=None):
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides, registry=registry)
    return {problem.path: str(problem) for problem in caught.value.problems}


def test_a_file_is_validated_and_filled(tmp_path, registry):
    loaded = load_recipe(write(tmp_path, "r.yaml", recipe()), registry=registry)
    assert loaded.resolved()["encoders"]["colour"] == {"use": "colour", "scale": 10.0}
    assert loaded.resolved()["align"]["method"] == "landmarks"


def test_what_is_resolved_is_a_recipe_with_the_same_digest(registry):
    first = load_recipe(recipe(pose={"use": "fixed"}, normalizer={"use": "red", "keep": "both"}), registry=registry)
    again = load_recipe(yaml.safe_load(yaml.safe_dump(first.resolved())), registry=registry)
    assert again.resolved() == first.resolved()
    assert again.digest == first.digest


def test_every_problem_at_once_with_path_and_line(tmp_path, registry):
    path = write(
        tmp_path,
        "bad.yaml",
        "ferkit: 1\n"
        "name: bad\n"
        "lables: [a, b]\n"
        "detector: {use: whole-imgae}\n"
        "align:\n"
        "  size: 4\n"
        "encoders:\n"
        "  colour:\n"
        "    use: colour\n"
        "    sclae: 3\n"
        "head: {use: colour}\n"
        "on_no_face: maybe\n",
    )
    found = problems(path, registry)
    assert "bad.yaml:3): unknown key (did you mean labels?)" in found["lables"]
    assert "bad.yaml:4): there is no detector 'whole-imgae' (did you mean whole-image?)" in found["detector.use"]
    assert "bad.yaml:6): Input should be greater than or equal to 16, not 4" in found["align.size"]
    assert "bad.yaml:10): unknown key (did you mean scale?)" in found["encoders.colour.sclae"]
    assert "bad.yaml:11): 'colour' is of kind encoder, not head" in found["head.use"]
    assert "'skip', 'nan', 'whole_image' or 'raise', not 'maybe'" in found["on_no_face"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ferkit: 1\nname: x\nname: y\n", "bad.yaml:3): the key 'name' is written twice, first on line 2"),
        (
            "ferkit: 1\nname: !!python/object/apply:os.system [ls]\n",
            "bad.yaml:2): could not determine a constructor for the tag",
        ),
        ("ferkit: [1\nname", "bad.yaml:"),
        ("- a\n- b\n", "must be a mapping that starts with `ferkit: 1`"),
        ("", "must be a mapping"),
        ("ferkit: 2\nname: x\n", "format 2 is unknown: this ferkit reads format 1"),
    ],
)
def test_bad_yaml(tmp_path, registry, text, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "bad.yaml", text), registry=registry)
    assert message in str(caught.value)


def test_a_missing_file_and_missing_parts(tmp_path, registry):
    with pytest.raises(RecipeError, match="can't be read"):
        load_recipe(tmp_path / "none.yaml", registry=registry)
    found = problems({"ferkit": 1, "name": "x"}, registry)
    assert {"detector", "encoders", "head"} <= set(found)
    assert "is missing" in found["detector"]
    assert "add `use: …` (boxes, everything, given, whole-image)" in problems(recipe(detector={}), registry)["detector"]


def test_extends_merges_deep_and_null_removes(tmp_path, registry):
    write(
        tmp_path,
        "base/one.yaml",
        recipe(pose={"use": "fixed"}, encoders={"colour": {"use": "colour"}, "b": {"use": "colour"}}),
    )
    child = write(
        tmp_path,
        "child.yaml",
        {"extends": "base/one.yaml", "name": "child", "pose": None, "encoders": {"b": None, "colour": {"scale": 3}}},
    )
    loaded = load_recipe(child, registry=registry)
    assert loaded.name == "child"
    assert loaded.pose is None
    assert list(loaded.encoders) == ["colour"]
    assert loaded.encoders["colour"].config.scale == 3
    assert str(loaded.layer.origin(("align", "size"))).endswith("base/one.yaml:10")
    assert str(loaded.layer.origin(("encoders", "colour", "scale"))).endswith("child.yaml:7")


def test_null_does_not_hide_a_misspelt_key(registry):
    assert "unknown key (did you mean pose?)" in problems(recipe(poze=None), registry)["poze"]
    assert load_recipe(recipe(pose=None), {"normalizer": None}, registry=registry).pose is None


def test_a_misspelt_key_of_the_framework_beside_a_component_s_own(registry):
    given = {"use": "red", "above_yow": 45, "fails_no": [], "accept": {"identity": {"use": "colour", "min_cosin": 0.1}}}
    told = problems(recipe(normalizer=given), registry)
    assert told["normalizer.above_yow"].endswith("unknown key (did you mean above_yaw?)")
    assert told["normalizer.fails_no"].endswith("unknown key (did you mean fails_on?)")
    assert told["normalizer.accept.identity.min_cosin"].endswith("unknown key (did you mean min_cosine?)")
    told = problems(
        recipe(normalizer={"use": "red", "zzz": 1}, data={"use": "folder", "path": "x", "zzz": 1}), registry
    )
    assert "options: fails_on, above_yaw, above_pitch, no_pose, keep, accept, samples, cache" in told["normalizer.zzz"]
    assert "drop_labels" in told["data.zzz"]


def test_extends_by_name_and_in_a_circle(tmp_path, registry):
    write(tmp_path, "shipped/named.yaml", recipe())
    registry.register(plugin(recipes=[tmp_path / "shipped"]), "acme")
    assert load_recipe({"extends": "named", "name": "mine"}, registry=registry).name == "mine"
    write(tmp_path, "a.yaml", {"extends": "b.yaml"})
    write(tmp_path, "b.yaml", {"extends": "a.yaml"})
    with pytest.raises(RecipeError, match=r"in a circle: a.yaml → b.yaml → a.yaml"):
        load_recipe(tmp_path / "a.yaml", registry=registry)


def test_a_changed_use_drops_the_old_components_options_but_not_the_frameworks(registry):
    base = recipe(pose={"use": "fixed"}, normalizer={"use": "red", "fails_on": [0], "above_yaw": 45, "keep": "both"})
    changed = load_recipe(base, {"normalizer.use": "mirror"}, registry=registry)
    assert changed.resolved()["normalizer"] == {
        "use": "mirror",
        "margin": 0.5,
        "above_yaw": 45,
        "above_pitch": None,
        "no_pose": "keep",
        "keep": "both",
        "accept": {"max_yaw": None, "max_pitch": None, "identity": None, "expression": None},
        "samples": 1,
        "cache": None,
    }
    same = load_recipe(base, {"normalizer.use": "red", "normalizer.above_yaw": 10}, registry=registry)
    assert same.normalizer.config.fails_on == (0,)


@pytest.mark.parametrize("overrides", [{"align.size": 32}, {"align": {"size": 32}}])
def test_overrides_nested_or_dotted(registry, overrides):
    assert load_recipe(recipe(), overrides, registry=registry).framework.align.size == 32


def test_an_overrides_problem_names_the_override(registry):
    assert "(override): unknown key" in problems(recipe(), registry, {"align.sizes": 3})["align.sizes"]


class WithWeights(Config):
    weights: Weights | None = None


@pytest.fixture
def weighty(registry):
    registry.register(plugin(component("head", "weighty", WithWeights, "fakes:None")), "acme")
    return registry


def test_paths_are_relative_to_the_file_that_holds_them_and_overrides_to_the_working_folder(
    tmp_path, weighty, monkeypatch
):
    write(tmp_path, "base/one.yaml", recipe(head={"use": "weighty", "weights": "head.safetensors"}))
    child = write(tmp_path, "child.yaml", {"extends": "base/one.yaml"})
    assert load_recipe(child, registry=weighty).head.config.weights == str(tmp_path / "base/head.safetensors")
    monkeypatch.chdir(tmp_path)
    loaded = load_recipe(child, {"head.weights": "x/other.safetensors"}, registry=weighty)
    assert loaded.head.config.weights == str(tmp_path / "x/other.safetensors")


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ("model.pth", "pickled formats (.bin, .pt, .pth, .ckpt) can run code"),
        ("hf://a/b/model.bin@main", "only .safetensors and .onnx files are loaded"),
        ("hf://a/b/model.safetensors@main", "must be pinned: add #sha256=…"),
        ("pkg://a/model.safetensors", "must be pinned"),
        ("hf://b/model.safetensors#sha256=" + "0" * 64, "write hf://owner/name/file@revision"),
        ("https://x/y.safetensors", "not https://"),
        ("m.safetensors#sha256=123", "64 hexadecimal digits"),
    ],
)
def test_wrong_references_to_weights_are_recipe_problems(weighty, weights, text):
    assert text in problems(recipe(head={"use": "weighty", "weights": weights}), weighty)["head.weights"]


def test_digest_ignores_names_and_where_pinned_weights_lie(weighty):
    pin = "#sha256=" + "0" * 64

    def digest(**changes):
        return load_recipe(recipe(**changes), registry=weighty).digest

    one = digest(head={"use": "weighty", "weights": f"/one/head.safetensors{pin}"})
    assert one == digest(head={"use": "weighty", "weights": f"/two/head.safetensors{pin}"}, name="other")
    assert one != digest(head={"use": "weighty", "weights": f"/one/head.safetensors#sha256={'1' * 64}"})
    assert digest() != digest(seed=1)


def test_digest_follows_the_order_of_encoders_and_the_owner_of_a_component(registry):
    def digest(**changes):
        return load_recipe(recipe(**changes), registry=registry).digest

    a, b = {"use": "colour"}, {"use": "colour", "scale": 3.0}
    assert digest(encoders={"a": a, "b": b}) != digest(encoders={"b": b, "a": a})
    assert digest(encoders={"a": a}) == digest(encoders={"a": {"use": "ferkit-fakes:colour"}})
    registry.register(plugin(component("encoder", "colour", ColourConfig)), "acme")

    def owned(distribution):
        encoders = {"a": {"use": f"{distribution}:colour"}}
        return load_recipe(recipe(encoders=encoders, head={"use": "linear"}), registry=registry)

    assert owned("acme").digest != owned("ferkit-fakes").digest
    assert load_recipe(owned("acme").resolved(), registry=registry).digest == owned("acme").digest


class ManyWeights(Config):
    files: tuple[Weights, ...] = ()
    named: dict[str, Weights] = {}


def test_weights_inside_lists_and_mappings_are_checked_and_resolved(tmp_path, registry):
    registry.register(plugin(component("head", "many", ManyWeights, "fakes:None")), "acme")
    head = {"use": "many", "files": ["a.safetensors"], "named": {"b": "sub/b.onnx"}}
    loaded = load_recipe(write(tmp_path, "r.yaml", recipe(head=head)), registry=registry)
    assert loaded.head.config.files == (str(tmp_path / "a.safetensors"),)
    assert loaded.head.config.named == {"b": str(tmp_path / "sub/b.onnx")}
    found = problems(recipe(head={"use": "many", "files": ["x.bin"], "named": {"b": "hf://a/b/c.onnx@main"}}), registry)
    assert "pickled formats" in found["head.files"]
    assert "must be pinned" in found["head.named"]


BOMB = "ferkit: 1\na: &a {x: 1, y: 1}\n" + "".join(
    f"{after}: &{after} {{{', '.join(f'k{i}: *{before}' for i in range(10))}}}\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: " + "[" * 5000 + "]" * 5000,
        "a: " + "{b: " * 3000 + "1" + "}" * 3000,
        "seed: " + "9" * 5000,
        "name: a\0b",
        "a: &a {b: *a}",
    ],
    ids=["aliases", "lists", "mappings", "number", "nul", "itself"],
)
def test_hostile_yaml_is_a_problem_and_not_the_end(tmp_path, registry, text):
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, "bad.yaml", text), registry=registry)


def test_yaml_merge_keys_work(tmp_path, registry):
    text = yaml.safe_dump(recipe(encoders=None))
    text = text.replace("encoders: null", "encoders:\n  one: &c {use: colour}\n  two: {<<: *c, scale: 2}")
    assert load_recipe(write(tmp_path, "r.yaml", text), registry=registry).encoders["two"].config.scale == 2


def test_odd_overrides_and_sources(registry):
    assert "overrides must be a mapping, not int" in problems(recipe(), registry, 5)[""]
    assert "write keys as `normalizer.above_yaw`" in problems(recipe(), registry, {"align.": 1})["align."]
    assert "write detector: {use: whole-image}" in problems(recipe(), registry, {"detector": "whole-image"})["detector"]
    assert "must name recipes or their paths, not 5" in problems({"extends": 5}, registry)["extends"]
    assert load_recipe(recipe(), {"encoders.foo": None, "prompts": None, "align.margin": None}, registry=registry)
    assert "happy and happiness are one" in problems(recipe(labels=["happy", "happiness"]), registry)["labels"]


def test_wiring_is_checked_before_anything_is_built(registry):
    needy = component("pose", "needy", needs=frozenset({"landmarks:68"}), provides=frozenset({"pose"}))
    registry.register(plugin(needy, component("encoder", "mute")), "acme")
    found = problems(recipe(pose={"use": "needy"}, encoders={"mute": {"use": "mute"}}), registry)
    assert "'needy' needs landmarks:68; what comes before it gives nothing but boxes" in found["pose.use"]
    assert "'average-probabilities' needs logits; what comes before it gives pose" in found["head.use"]
    assert (
        "add, say, `pose: {use: landmark-pnp}`" in problems(recipe(normalizer={"use": "red"}), registry)["normalizer"]
    )


def test_a_normalizer_without_its_landmarks_is_told_who_gives_them(registry):
    dense = component("pose", "dense", provides=frozenset({"pose", "landmarks:mesh"}))
    registry.register(plugin(dense, component("normalizer", "turner", needs=frozenset({"landmarks:mesh"}))), "acme")
    found = problems(recipe(normalizer={"use": "turner"}), registry)
    assert "take `pose: {use: dense}`" in found["normalizer.use"]
    assert "add, say, `pose: {use: dense}`" in found["normalizer"]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_angles_and_options_are_finite(registry, number):
    made = recipe(pose={"use": "landmark-pnp"}, normalizer={"use": "red", "above_yaw": number})
    assert "finite" in problems(made, registry)["normalizer.above_yaw"]


@pytest.mark.parametrize(
    ("hidden", "where", "message"),
    [
        ([], "", "must have at least 1, not 0"),
        (["wide"], ".0", "Input should be a valid integer"),
        ([8, 0], ".1", "Input should be greater than or equal to 1, not 0"),
        (64, "", "must be a list, not 64"),
        ("ab", "", "must be a list, not 'ab'"),
    ],
)
def test_what_is_wrong_with_a_list_is_told_once(registry, hidden, where, message):
    found = problems(recipe(head={"use": "mlp", "weights": "w.safetensors", "hidden": hidden}), registry)
    assert list(found) == [f"head.hidden{where}"]
    assert message in found[f"head.hidden{where}"]


def test_labels_and_prompts_are_checked(registry):
    assert "two different names" in problems(recipe(labels=["a", "a"]), registry)["labels"]
    found = problems(recipe(prompts={"words": {"joy": ["joy"]}}), registry)
    assert "is none of the labels neutral, happiness, sadness" in found["prompts.words.joy"]
    assert "must hold {label}" in problems(recipe(prompts={"templates": ["a face"]}), registry)["prompts.templates"]


keys = st.sampled_from("abc")
trees = st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=8)
mappings = st.dictionaries(keys, trees, max_size=3)


@settings(max_examples=60)
@given(mappings, mappings)
def test_merging_is_idempotent_and_the_upper_layer_wins(low, high):
    once = merge(from_mapping(low), from_mapping(high))
    assert merge(once, from_mapping(high)).data == once.data

    def leaves(tree, path=()):
        for key, value in tree.items():
            yield from leaves(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]

    found = dict(leaves(once.data))
    assert all(found[path] == value for path, value in leaves(high))
