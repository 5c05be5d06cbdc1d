"""Faces stay here, and keys secret, unless told otherwise."""

import logging
import traceback

import pytest

from ferkit import ComponentError, Faces, ImageBatch, RecipeError, StageError, load_recipe
from ferkit.testing import FACE_BOX, face_picture

KEY = "sk-very-secret-0123456789"


def portrait():
    return ImageBatch((face_picture(),), ("portrait",)), Faces.of([0], [FACE_BOX])


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "http://10.0.0.7:8000/v1",
        "http://0.0.0.0:8000/v1",
        "http://[2001:db8::1]:8000/v1",
        "http://[::ffff:10.0.0.7]/v1",
        "http://localhost.example.com/v1",
        "http://2130706433/v1",
        "http://gpu-box/v1",
        "http://169.254.169.254/v1",
    ],
)
def test_another_machine_is_refused_and_named(build, url):
    with pytest.raises(ComponentError) as caught:
        build(url=url)
    assert f"faces would be sent to {url.removesuffix('/v1')}, which is not this machine" in str(caught.value)
    assert "set allow_remote: true" in str(caught.value)
    build(url=url, allow_remote=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_not_remote(build, host):
    build(url=f"http://{host}:8000/v1")


def test_localhost_that_means_something_else_is_remote(build, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments: [(0, 0, 0, "", ("10.0.0.7", 0))])
    with pytest.raises(ComponentError, match="faces would be sent to http://localhost:8000"):
        build(url="http://localhost:8000/v1")


@pytest.mark.parametrize("allow_remote", [False, True])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server, another, build, code, allow_remote):
    server.always = lambda handler: handler.answer(code, b"", Location=f"{another.url}/images/edits?token=abc")
    with pytest.raises(StageError) as caught:
        build(allow_remote=allow_remote)(*portrait())
    assert f"answered {code}, a redirect to {another.url}/images/edits, which is not followed" in str(caught.value)
    assert "token" not in str(caught.value)
    assert another.requests == []
    assert len(server.requests) == 1


def test_proxies_of_the_environment_get_no_face_meant_for_this_machine(server, another, build, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, another.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert build()(*portrait())[0] is not None
    assert another.requests == []


@pytest.mark.parametrize(
    "address", ["http://pictures.example.com/1.png?token=abc", "http://10.0.0.7/1.png", "file:///etc/hostname"]
)
def test_pictures_are_not_fetched_from_elsewhere(server, build, address):
    server.always = lambda handler: handler.picture(url=address)
    with pytest.raises(
        StageError, match=r"the picture lies at .*from where none is fetched: .*response_format: b64_json"
    ) as caught:
        build()(*portrait())
    assert "token" not in str(caught.value)
    assert len(server.requests) == 1


def test_the_key_goes_to_the_server_and_to_no_other(server, another, build, monkeypatch):
    monkeypatch.setenv("EDITOR_KEY", KEY)
    server.always = lambda handler: handler.picture(url=f"{another.url}/1.png")
    another.on_get = server.on_get
    normalizer = build(key_env="EDITOR_KEY")
    assert normalizer(*portrait())[0] is not None
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in another.requests[0].headers
    server.always = lambda handler: handler.picture(url="/1.png")
    assert normalizer(*portrait())[0] is not None
    assert server.requests[-1].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("before", [0, 285])
@pytest.mark.parametrize("code", [200, 400, 401, 403, 429, 500, 503])
def test_a_key_is_shown_nowhere(server, build, monkeypatch, caplog, code, before):
    """Not even where the server repeats it, at a place where a message is cut."""
    monkeypatch.setenv("EDITOR_KEY", KEY)
    words = "x" * before + f"{KEY} was sent as Bearer {KEY}"
    server.always = lambda handler: handler.answer(code, {"error": {"message": words}})
    caplog.set_level(logging.DEBUG)
    normalizer = build(key_env="EDITOR_KEY", retries=1)
    told = (
        repr(normalizer)
        + repr(vars(normalizer))
        + repr([vars(value) for value in vars(normalizer).values() if hasattr(value, "__dict__")])
    )
    try:
        told += repr(normalizer(*portrait()))
    except StageError as error:
        told += "".join(traceback.format_exception(error)) + repr(error)
    told += caplog.text
    assert f"answered {code}" in told if code != 200 else "sent no picture" in told
    for start in range(len(KEY) - 8):
        assert KEY[start : start + 8] not in told


def test_a_key_that_is_not_there_or_can_not_be_sent_is_told_without_it(build, monkeypatch):
    monkeypatch.delenv("EDITOR_KEY", raising=False)
    with pytest.raises(ComponentError, match="the environment variable EDITOR_KEY, which is not set: export it"):
        build(key_env="EDITOR_KEY")
    monkeypatch.setenv("EDITOR_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(ComponentError, match="EDITOR_KEY holds no key") as caught:
        build(key_env="EDITOR_KEY")
    assert KEY not in "".join(traceback.format_exception(caught.value))


def recipe(**options):
    part = {"use": "image-api", "url": "http://127.0.0.1:8000/v1", **options}
    return load_recipe("default", {"normalizer": part})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"key_env": KEY}, "key_env must be the name of an environment variable"),
        ({"url": f"https://user:{KEY}@api.example.com/v1"}, "url holds a user or password"),
        ({"url": f"https://api.example.com/v1?key={KEY}"}, "remove what follows"),
        ({"fields": {"api_key": KEY}}, "fields may not hold 'api_key': set `key_env`"),
    ],
)
def test_a_key_in_the_recipe_is_refused_without_showing_it(options, problem):
    with pytest.raises(RecipeError, match=problem) as caught:
        recipe(**options)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["prompt", "Prompt", "model", "image", "image[]", "seed", "n", "stream", "negative_prompt", "url"]
)
def test_reserved_fields_are_refused(name):
    with pytest.raises(RecipeError, match=r"fields may not hold"):
        recipe(fields={name: "1"})


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/v1", "ftp://127.0.0.1/v1", "http://", "http://[::1", "http://a b/v1", "http://a:x/v1"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(RecipeError, match="url must be an address with http:// or https://"):
        recipe(url=url)


def test_an_address_with_the_route_is_refused():
    with pytest.raises(RecipeError, match="url must be the base of the API: remove /images/edits from its end"):
        recipe(url="http://127.0.0.1:8000/v1/images/edits")
