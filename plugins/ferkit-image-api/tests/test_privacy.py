"""Faces stay here, and keys secret, unless told otherwise."""

import logging
import socket
import traceback

import httpx
import pytest

from ferkit import ComponentError, Faces, ImageBatch, RecipeError, StageError, load_recipe
from ferkit.testing import FACE_BOX, face_picture
from ferkit_image_api.addresses import may_fetch

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


NEAR = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]"]
PRIVATE = ["10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fd00::1]"]
LOCAL = ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1"]
FAR = ["93.184.216.34", "[2606:2800:220:1::1]"]


def allowed(base, hosts, allow_remote=True):
    return [
        host
        for host in hosts
        if may_fetch(httpx.URL(f"http://{host}:9/1.png"), httpx.URL(f"http://{base}:8/v1"), allow_remote)
    ]


def test_a_picture_is_fetched_from_nowhere_nearer_than_the_server():
    assert allowed("93.184.216.35", [*NEAR, *PRIVATE, *LOCAL, *FAR]) == FAR
    assert allowed("10.0.0.9", [*NEAR, *PRIVATE, *LOCAL, *FAR]) == [*PRIVATE, *FAR]
    assert allowed("127.0.0.2", [*NEAR, *PRIVATE, *LOCAL, *FAR]) == [*NEAR, *PRIVATE, *FAR]
    assert allowed("127.0.0.2", [*NEAR, *PRIVATE, *LOCAL, *FAR], allow_remote=False) == NEAR
    assert allowed("10.0.0.9", ["10.0.0.9"], allow_remote=False) == ["10.0.0.9"], "the server itself"


def test_names_are_looked_up_before_a_picture_is_fetched(monkeypatch):
    book = {
        "api.example.com": ["93.184.216.34"],
        "pictures.example.com": ["93.184.216.35", "2606:2800:220:1::1"],
        "rebound.example.com": ["93.184.216.35", "127.0.0.1"],
        "inside.example.com": ["10.0.0.7"],
        "zone.example.com": ["fe80::1%eth0"],
    }

    def getaddrinfo(host, *_):
        if host not in book:
            raise socket.gaierror("no such host")
        return [(0, 0, 0, "", (address, 0)) for address in book[host]]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    assert allowed("api.example.com", [*book, "gone.example.com"]) == ["api.example.com", "pictures.example.com"]
    assert allowed("inside.example.com", ["api.example.com", "rebound.example.com"]) == ["api.example.com"]


def test_a_remote_server_has_nothing_fetched_from_this_machine(server, another, build, monkeypatch):
    """The server is on loopback, and taken for one on the internet."""
    book = {"editor.example.com": "93.184.216.34", "files.example.com": "127.0.0.1"}
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if host in book:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (book[host], 0))]
        return look_up(host, *arguments, **options)

    port = another.server_address[1]
    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    monkeypatch.setenv("NO_PROXY", "files.example.com")
    server.always = lambda handler: handler.picture(url=f"http://files.example.com:{port}/1.png")
    normalizer = build(url="http://editor.example.com/v1", allow_remote=True)
    with pytest.raises(StageError, match=r"lies at http://files.example.com:\d+, from where none is fetched"):
        normalizer(*portrait())
    assert len(server.posts) == 1
    assert another.requests == []


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
        ({"fields": {"api_key": KEY}}, "fields may not hold a key, as 'api_key' seems to: .*`key_env`"),
        *(
            ({"fields": {name: "0123456789"}}, "fields may not hold a key, as .*`key_env`")
            for name in (
                "Authorization",
                "token",
                "apikey",
                "X-API-Key",
                "key",
                "client_secret",
                "access_token",
                "AUTH",
            )
        ),
        *(
            ({"fields": {"x": value}}, "fields may not hold a key, as 'x' seems to")
            for value in (KEY, f"Bearer {KEY}", "bearer 0123", "hf_" + "a" * 34)
        ),
    ],
)
def test_a_key_in_the_recipe_is_refused_without_showing_it(options, problem):
    with pytest.raises(RecipeError, match=problem) as caught:
        recipe(**options)
    assert KEY not in str(caught.value)
    assert not any(str(value) in str(caught.value) for value in options.get("fields", {}).values())


def test_fields_that_are_no_keys_are_taken():
    fields = {
        "max_tokens": 5,
        "keyframes": 2,
        "style": "basic light",
        "monkey": True,
        "sampler": "sk",
        "tokenizer": "qwen",
    }
    assert recipe(fields=fields).normalizer.config.fields == fields


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
