"""A real HTTP server on loopback that edits pictures, or misbehaves on purpose."""

import base64
import io
import json
import threading
import time
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageOps

from ferkit import Context
from ferkit.weights import WeightsStore
from ferkit_image_api import ImageApiConfig
from ferkit_image_api.normalizer import ImageApiNormalizer


def edited(content, format_="PNG"):
    """The picture mirrored, as the content of a file."""
    file = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(content))).save(file, format_)
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = list(BytesParser(policy=HTTP).parsebytes(header + body).iter_parts()) if body else []
        form = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
        image = form.pop("image", b"")
        self.seen(image, {name: value.decode() for name, value in form.items()})
        behaviour = self.server.owner.next(image)
        behaviour(self)

    def do_GET(self):
        self.seen(b"", {})
        self.server.owner.on_get(self)

    def seen(self, image, form):
        self.image = image
        request = SimpleNamespace(
            method=self.command, path=self.path, headers=self.headers, image=image, form=form, time=time.monotonic()
        )
        self.server.owner.requests.append(request)

    def answer(self, status, body, content_type="application/json", length=None, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def picture(self, **entry):
        self.answer(200, {"created": 0, "data": [entry]})

    def good(self):
        self.picture(b64_json=base64.b64encode(edited(self.image)).decode())

    def hang_up(self):
        self.close_connection = True
        self.connection.close()

    def log_message(self, *arguments):
        pass


class EditServer(ThreadingHTTPServer):
    """``behaviours`` are what the next requests meet, in order; ``always`` what all others do."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner = self
        self.requests, self.behaviours = [], []
        self.always = Handler.good
        self.on_get = lambda handler: handler.answer(200, edited(self.posts[-1].image), "image/png")
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def posts(self):
        return [request for request in self.requests if request.method == "POST"]

    def next(self, image):
        with self.lock:
            return self.behaviours.pop(0) if self.behaviours else self.always

    def handle_error(self, request, address):  # broken pipes are what some tests are about
        pass


def running():
    server = EditServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def server():
    server = running()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def another(server):
    """A second server, at which no face may arrive."""
    other = running()
    yield other
    other.shutdown()
    other.server_close()


LABELS = ("neutral", "happiness", "sadness")


@pytest.fixture
def build(server):
    """A normalizer for the server, quick to try again."""

    def build(labels=LABELS, run_seed=0, **options):
        config = ImageApiConfig(**{"url": server.url, "size": 64, "backoff": 0.001, "timeout": 20, **options})
        return ImageApiNormalizer(
            config, Context(torch.device("cpu"), torch.float32, run_seed, tuple(labels), WeightsStore())
        )

    return build


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)
