"""A server that misbehaves, and what becomes of the faces."""

import base64
import io
import json
import signal
import socket
import threading
import time
from email.utils import formatdate
from itertools import pairwise

import pytest
import torch
from PIL import Image

from ferkit import Faces, ImageBatch, StageError
from ferkit.testing import FACE_BOX, face_picture

FACES = ImageBatch((face_picture(),), ("portrait",)), Faces.of([0] * 8, [FACE_BOX] * 8)


def edited(content):
    """The picture, as the content of another file."""
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).save(file, "PNG")
    return file.getvalue()


def faces(n):
    return FACES[0], FACES[1].select(torch.arange(n))


def status(code, message="words of the server", **headers):
    return lambda handler: handler.answer(code, {"error": {"message": message}}, **headers)


def body(content, content_type="application/json", **options):
    return lambda handler: handler.answer(200, content, content_type, **options)


def truncated(handler):
    handler.answer(200, b'{"data": [', length=5000)
    handler.hang_up()


def trickle(handler):
    """A good answer, of which each part comes in time and the whole does not."""
    text = base64.b64encode(edited(handler.image)).decode()
    content = json.dumps({"data": [{"b64_json": text}]}).encode()
    handler.answer(200, b" ", length=51 + len(content))
    for _ in range(50):
        time.sleep(0.01)
        handler.wfile.write(b" ")
    handler.wfile.write(content)


def trickle_headers(handler):
    """A good answer, of which each header comes in time and all of them do not."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(50):
        time.sleep(0.01)
        handler.wfile.write(f"X-{number}: 0\r\n".encode())
    text = base64.b64encode(edited(handler.image)).decode()
    content = json.dumps({"data": [{"b64_json": text}]}).encode()
    handler.wfile.write(f"Content-Length: {len(content)}\r\n\r\n".encode() + content)


def keep_processing(handler):
    """A good answer after others that only say that it will come."""
    for _ in range(50):
        time.sleep(0.01)
        handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
    handler.good()


def not_gzip(handler):
    handler.answer(200, b"this is no gzip", Content_Encoding="gzip")


def picture_of(width, height):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    return lambda handler: handler.picture(b64_json=text)


def cut_picture(handler):
    handler.picture(b64_json=base64.b64encode(handler.image[: len(handler.image) // 2]).decode())


UNAVAILABLE = {
    "429": status(429),
    "502": status(502),
    "503": status(503),
    "hang up": lambda handler: handler.hang_up(),
    "truncated": truncated,
}
UNUSABLE = {
    "500": status(500),
    "html": body(b"<!DOCTYPE html><html>Sign in</html>", "text/html"),
    "no json": body(b'{"data": [{"b64_json": "iVBORw0'),
    "deep json": body(b"[" * 100_000),
    "not gzip": not_gzip,
    "list": body(b"[]"),
    "no data": body({"error": {"message": "out of memory"}}),
    "empty data": body({"data": []}),
    "null": body({"data": [{"b64_json": None, "url": None}]}),
    "broken base64": body({"data": [{"b64_json": "iVBORw0KGgo=="}]}),
    "no picture": body({"data": [{"b64_json": base64.b64encode(b"no picture").decode()}]}),
    "cut picture": cut_picture,
    "tiny picture": picture_of(64, 3),
    "huge picture": picture_of(8192, 8192),
    "no address": body({"data": [{"url": "http://[::1"}]}),
}


@pytest.mark.parametrize("fault", [*UNAVAILABLE.values(), *UNUSABLE.values()], ids=[*UNAVAILABLE, *UNUSABLE])
def test_what_may_pass_is_tried_again(server, build, fault):
    server.behaviours = [fault] * 5
    (turned,) = build()(*faces(1))
    assert turned is not None
    assert len(server.posts) == 6
    assert len({post.image for post in server.posts}) == 1


@pytest.mark.parametrize("fault", UNAVAILABLE.values(), ids=UNAVAILABLE)
def test_a_server_that_stays_away_ends_the_run(server, build, fault):
    server.always = fault
    with pytest.raises(StageError, match=rf"{server.url}/images/edits (answered|failed).* \(3 tries\)$"):
        build(retries=2)(*faces(1))
    assert len(server.posts) == 3


@pytest.mark.parametrize("fault", UNUSABLE.values(), ids=UNUSABLE)
def test_a_face_of_which_the_server_makes_nothing_is_none(server, build, fault, caplog):
    server.behaviours = [fault] * 3
    assert [result is None for result in build(retries=2, concurrency=1)(*faces(2))] == [True, False]
    assert "a face was not turned: " in caplog.text
    assert f"{server.url}/images/edits" in caplog.text
    assert "(3 tries)" in caplog.text


def test_a_server_that_makes_nothing_of_any_face_ends_the_run(server, build):
    server.always = status(500, "CUDA out of memory")
    normalizer = build(retries=0)
    assert normalizer(*faces(4)) == [None] * 4
    with pytest.raises(StageError, match=r"5 faces in a row, the last time so: .* answered 500: CUDA out of memory"):
        normalizer(*faces(1))


def test_one_good_answer_between_makes_it_hopeful_again(server, build):
    normalizer = build(retries=0, concurrency=1)
    for _ in range(2):
        server.behaviours = [status(500)] * 4
        assert [result is None for result in normalizer(*faces(5))] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (400, "Check `model`, `size`, and that the server takes every one of `fields`"),
        (401, "Name the environment variable that holds your key with `key_env`"),
        (403, "The key may not use this: check its rights, and `model`"),
        (404, "Check `url`, the base of the API such as http://127.0.0.1:8000/v1, and that `model` edits pictures"),
        (405, "Check `url`"),
        (413, "lower `size`"),
        (422, "Check `model`, `size`"),
    ],
)
def test_other_client_errors_end_the_run_at_once(server, build, code, advice):
    server.always = status(code)
    with pytest.raises(StageError) as caught:
        build()(*faces(1))
    assert f"POST {server.url}/images/edits answered {code}: words of the server" in str(caught.value)
    assert advice in str(caught.value)
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"error": {"message": "of OpenAI"}}, "of OpenAI"),
        ({"error": "of a gateway"}, "of a gateway"),
        ({"detail": "of FastAPI"}, "of FastAPI"),
        ({"detail": [{"loc": ["body", "size"], "msg": "is wrong"}]}, '[{"loc": ["body", "size"], "msg": "is wrong"}]'),
        (b"plain\n\x1b[31m words\x00", "plain [31m words"),
        (b"<html>no</html>", "an HTML page; is `url` the base of the API?"),
        (b"", "no message"),
        ({"error": {"message": "long " * 1000}}, "long " * 60),
    ],
)
def test_the_servers_own_words_are_told_on_one_short_line(server, build, content, words):
    server.always = lambda handler: handler.answer(400, content)
    with pytest.raises(StageError) as caught:
        build()(*faces(1))
    assert f"answered 400: {words.strip()}" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "error",
    [
        {
            "code": "moderation_blocked",
            "type": "image_generation_user_error",
            "message": "rejected by the safety system",
        },
        {"code": "content_policy_violation", "message": "no"},
        {"message": "This was stopped by Azure's content management policy"},
    ],
)
def test_a_refused_face_is_none_and_not_asked_twice(server, build, error, caplog):
    server.behaviours = [lambda handler: handler.answer(400, {"error": error})] * 7
    turned = build(concurrency=1)(*faces(8))
    assert [result is None for result in turned] == [True] * 7 + [False]
    assert len(server.posts) == 8
    assert "the server refuses this face" in caplog.text


def test_a_field_called_moderation_is_no_refusal(server, build):
    server.always = status(400, "Unknown parameter: 'moderation'")
    with pytest.raises(StageError, match=r"Unknown parameter: 'moderation'\. Check `model`"):
        build(fields={"moderation": "low"})(*faces(1))


def test_a_server_that_is_not_there_is_told(build):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(
        StageError, match=rf"POST {url}/images/edits failed \(.*\): is the server running\? \(2 tries\)"
    ):
        build(url=url, retries=1)(*faces(1))


@pytest.mark.parametrize(
    "slow",
    [lambda handler: time.sleep(0.5), trickle, trickle_headers, keep_processing],
    ids=["silent", "trickling", "trickling headers", "processing"],
)
def test_a_try_that_takes_too_long_is_tried_again(server, build, slow):
    server.behaviours = [slow]
    (turned,) = build(timeout=0.2)(*faces(1))
    assert turned is not None
    server.always = slow
    with pytest.raises(StageError, match=r"took more than 0.2 s: raise `timeout`.* \(2 tries\)"):
        build(timeout=0.2, retries=1)(*faces(1))


def test_an_endless_answer_is_cut_off(server, build, caplog, monkeypatch):
    def endless(handler):
        handler.answer(200, b"", length=2**40)
        while True:
            handler.wfile.write(b" " * 2**20)

    server.behaviours = [endless]
    caplog.set_level("INFO")
    monkeypatch.setattr("ferkit_image_api.client.LARGEST_ANSWER", 2**20)
    assert build()(*faces(1))[0] is not None
    assert len(server.posts) == 2
    assert "sent more than 1 MiB" in caplog.text


def gap(server):
    return server.posts[-1].time - server.posts[-2].time


def test_retry_after_is_honoured_and_capped(server, build):
    server.behaviours = [status(429, Retry_After="0.06")]
    build(max_wait=10)(*faces(1))
    assert gap(server) >= 0.06
    for asked in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        server.behaviours = [status(503, Retry_After=asked)]
        build(max_wait=0.08)(*faces(1))
        assert 0.08 <= gap(server) < 10
    for nonsense in ("soon", "-5", "inf", "nan", "1e9", formatdate(time.time() - 3600, usegmt=True)):
        server.behaviours = [status(503, Retry_After=nonsense)]
        build(max_wait=60)(*faces(1))
        assert gap(server) < 10


def test_waits_double_up_to_a_limit(server, build):
    def waits(**options):
        server.requests.clear()
        server.behaviours = [status(503)] * 3
        build(**options)(*faces(1))
        return [later - earlier for earlier, later in pairwise(post.time for post in server.posts)]

    for wait, least in zip(waits(backoff=0.04), (0.02, 0.04, 0.08), strict=True):
        assert wait >= least
    assert sum(waits(backoff=4, max_wait=0.005)) < 14  # the least without the limit


def test_no_more_is_asked_than_max_requests(server, build):
    server.behaviours = [status(503)]
    normalizer = build(max_requests=3)
    assert None not in normalizer(*faces(2))
    for n in (1, 4):
        with pytest.raises(StageError, match=r"3 edits were asked of .*, which is max_requests: raise it to go on"):
            normalizer(*faces(n))
    assert len(server.posts) == 3


def test_after_a_fatal_answer_nothing_more_is_sent(server, build):
    server.always = status(401)
    with pytest.raises(StageError):
        build(concurrency=2)(*faces(8))
    time.sleep(0.05)
    assert len(server.posts) <= 2  # one a thread


def test_a_picture_that_can_not_be_fetched_costs_no_second_edit(server, build):
    good, gets = server.on_get, [(404, b"not yet"), (200, b"\x89PNG\r\n\x1a\n cut")]

    def answer(handler):
        if gets:
            handler.answer(*gets.pop(0), "image/png")
        else:
            good(handler)

    server.always = lambda handler: handler.picture(url="/files/1")
    server.on_get = answer
    assert build()(*faces(1))[0] is not None
    assert [request.method for request in server.requests] == ["POST", "GET", "GET", "GET"]
    server.on_get = lambda handler: handler.answer(404, b"gone", "text/plain")
    assert build(retries=1)(*faces(1)) == [None]
    assert len(server.posts) == 2


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_at_once(server, build):
    release = threading.Event()

    def hold(handler):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        release.wait(20)
        handler.good()

    server.behaviours = [hold]
    server.always = status(503)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(backoff=15, concurrency=2)(*faces(8))
    assert time.monotonic() - started < 7  # less than the shortest wait
    left = [thread for thread in threading.enumerate() if thread.name == "image-api"]
    assert left
    assert all(thread.daemon for thread in left)  # or the interpreter would wait for them
    release.set()
    for thread in left:
        thread.join(10)
    assert len(server.posts) <= 2  # what the two threads had begun
