"""One face to the server and back: what is sent, what is tried again, what ends the run."""

import asyncio
import logging
import os
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from threading import Event, Lock
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr
from torch import Tensor

from ferkit import ComponentError, StageError
from ferkit_image_api import ROUTE, ImageApiConfig
from ferkit_image_api.addresses import check_address, is_loopback, may_fetch, origin, shown
from ferkit_image_api.answers import (
    UnusableError,
    is_refusal,
    message,
    picture,
    picture_or_address,
    seconds_asked_for,
    shortened,
)

log = logging.getLogger(__name__)

LARGEST_ANSWER = 64 * 2**20
"""Most bytes an answer may have, unpacked."""
LONGEST_CONNECT = 30.0

ADVICE = {
    401: "Name the environment variable that holds your key with `key_env`",
    403: "The key may not use this: check its rights, and `model`",
    404: "Check `url`, the base of the API such as http://127.0.0.1:8000/v1, and that `model` edits pictures",
    405: "Check `url`, the base of the API such as http://127.0.0.1:8000/v1",
    413: "Send smaller pictures: lower `size`",
    429: "Lower `concurrency`, or raise `retries` and `max_wait`",
}
ADVICE_ELSE = {
    4: "Check `model`, `size`, and that the server takes every one of `fields`",
    5: "Look into the server's log",
}
"""By status, or else its first digit."""

T = TypeVar("T")


class _TryError(Exception):
    """A try that failed.

    Args:
        reason: What happened, and what to do.
        again: Whether another try may succeed.
        ends: Whether it ends the run if no try does; else the face alone fails.
        wait: Seconds the server asks to wait.
    """

    def __init__(self, reason: str, *, again: bool = False, ends: bool = True, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.ends, self.wait = again, ends, wait


class _StoppedError(Exception):
    """The run has ended while this face waited."""


class TroubleError(Exception):
    """The server failed on a face, and may do better another day."""


class EditClient:
    """A client of ``POST {url}/images/edits``. Any number of threads may use it.

    Args:
        config: Where to send what.

    Raises:
        ComponentError: If faces would leave this machine unasked, or the key is missing.
    """

    def __init__(self, config: ImageApiConfig) -> None:
        try:
            self._url = httpx.URL(config.url.rstrip("/") + ROUTE)
        except httpx.InvalidURL as error:
            raise ComponentError(f"url is no address: {error}") from error
        check_address(self._url, config.allow_remote)
        self._config = config
        self._key = _key(config.key_env)
        self._trusted = httpx.create_ssl_context()  # which takes longer to build than a client
        self._lock = Lock()
        self._requests = 0

    def edit(self, png: bytes, seed: int, stop: Event) -> Tensor | None:
        """The edited picture, uint8 RGB ``[3, h, w]``, or None where the server refuses this one.

        Args:
            png: What to edit.
            seed: Sent where the configuration says so; decides the jitter of waits.
            stop: Set when the run has ended: nothing more is sent.

        Raises:
            StageError: If the server can't be used; naming address, status and what it said.
            TroubleError: If it failed on this picture, likewise.
        """
        jitter = random.Random(seed)
        try:
            found = self._persist(partial(self._ask, png, seed), jitter, stop)
            if isinstance(found, httpx.URL):
                found = self._persist(partial(self._fetch, found), jitter, stop)
        except _TryError as failure:
            reason = self._without_key(str(failure))
            if failure.again:
                reason += f" ({self._config.retries + 1} tries)"
            if failure.ends:
                raise StageError(reason) from None
            if failure.again:
                raise TroubleError(reason) from None
            log.warning("a face was not turned: %s", reason)
            return None
        return found

    def _persist(self, attempt: Callable[[], T], jitter: random.Random, stop: Event) -> T:
        """``attempt()``, again and again while that may help, with waits that double."""
        tries = 0
        while True:
            if stop.is_set():
                raise _StoppedError
            try:
                return attempt()
            except _TryError as failure:
                if not failure.again or tries == self._config.retries:
                    raise
                wait = max(failure.wait, self._config.backoff * 2**tries * jitter.uniform(0.5, 1))
                tries += 1
                log.info("try %d: %s", tries, self._without_key(str(failure)))
            stop.wait(min(wait, self._config.max_wait))

    def _ask(self, png: bytes, seed: int) -> Tensor | httpx.URL:
        """Send a face; the picture, or where it lies."""
        with self._lock:
            if self._requests == self._config.max_requests:
                raise _TryError(
                    f"{self._requests} edits were asked of {shown(self._url)}, which is max_requests: raise it to go on"
                )
            self._requests += 1
        files = {"image": ("face.png", png, "image/png")}
        body = self._send("POST", self._url, data=self._form(seed), files=files)
        found = self._usable(self._url, picture_or_address, body)
        return self._allowed(found) if isinstance(found, str) else found

    def _form(self, seed: int) -> dict[str, str]:
        """The fields that are configured, and no others: some servers refuse what they do not know."""
        config = self._config
        own = {"prompt": config.prompt, "model": config.model, "negative_prompt": config.negative_prompt}
        form = {name: value for name, value in own.items() if value is not None}
        if config.seed:
            form["seed"] = str(seed)
        more = {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in config.fields.items()
        }
        return form | more

    def _allowed(self, address: str) -> httpx.URL:
        """The address that the server gave, if a picture may be fetched from there."""
        try:
            url = self._url.join(address)
        except httpx.InvalidURL:
            raise _TryError(f"{shown(self._url)} sent no address of a picture", again=True, ends=False) from None
        if not may_fetch(url, self._url, self._config.allow_remote):
            raise _TryError(
                f"{shown(self._url)} says that the picture lies at {origin(url)}, from where none is fetched: ask for the "
                "picture itself with fields: {response_format: b64_json}, or set allow_remote: true"
            )
        return url

    def _fetch(self, url: httpx.URL) -> Tensor:
        """The picture that lies there."""
        return self._usable(url, picture, self._send("GET", url))

    def _usable(self, url: httpx.URL, read: Callable[[bytes], T], body: bytes) -> T:
        try:
            return read(body)
        except UnusableError as error:
            raise _TryError(f"{shown(url)} sent {self._told(str(error))}", again=True, ends=False) from None

    def _send(self, method: str, url: httpx.URL, **content: Any) -> bytes:
        """The body of a good answer."""
        headers = {}
        if self._key and origin(url) == origin(self._url):
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        try:
            response, body = asyncio.run(self._exchange(method, url, headers, content))
        except (httpx.TimeoutException, TimeoutError):
            raise _TryError(
                f"{method} {shown(url)} took more than {self._config.timeout:g} s: raise `timeout`, or lower `concurrency`",
                again=True,
            ) from None
        except httpx.DecodingError:
            raise _TryError(f"{shown(url)} sent a body that can't be unpacked", again=True, ends=False) from None
        except httpx.RequestError as error:
            cause = shortened(str(error)) or type(error).__name__
            raise _TryError(f"{method} {shown(url)} failed ({cause}): is the server running?", again=True) from None
        if response.is_success:
            return body
        raise self._failure(method, response, body)

    async def _exchange(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: Mapping[str, Any]
    ) -> tuple[httpx.Response, bytes]:
        """One request and its answer with its body, all within the time of a try, however slowly its parts come."""
        client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=LONGEST_CONNECT),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=False,
            trust_env=not is_loopback(self._url.host),  # a proxy would be another machine
            verify=self._trusted,
        )
        answer = client.stream(method, url, headers=headers, **content)
        async with asyncio.timeout(self._config.timeout), client, answer as response:
            return response, await _read(response)

    def _failure(self, method: str, response: httpx.Response, body: bytes) -> _TryError:
        """What an answer that is not good means."""
        status, wait = response.status_code, seconds_asked_for(response.headers.get("Retry-After"))
        said = f"{method} {shown(response.url)} answered {status}: {self._told(message(body))}"
        if method == "GET":
            hint = "ask for the picture itself with fields: {response_format: b64_json}"
            return _TryError(f"{said}; {hint}", again=True, ends=False, wait=wait)
        if is_refusal(status, body):
            return _TryError(f"{said} (the server refuses this face)", ends=False)
        if response.has_redirect_location:
            text = f"{method} {shown(response.url)} answered {status}, a redirect to {_target(response)}"
            return _TryError(f"{text}, which is not followed: write that address into `url` if you trust it")
        advice = ADVICE.get(status) or ADVICE_ELSE.get(status // 100, "")
        if status == HTTPStatus.UNAUTHORIZED and self._key:
            advice = f"Correct the key in the environment variable {self._config.key_env}"
        again = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        ends = status != HTTPStatus.INTERNAL_SERVER_ERROR  # which may be a bug that this one picture meets
        return _TryError(f"{said}. {advice}", again=again, ends=ends, wait=wait)

    def _told(self, text: str) -> str:
        """What a server said, without the key, should it repeat that, and not too long."""
        return shortened(self._without_key(text))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key.get_secret_value(), "***") if self._key else text


async def _read(response: httpx.Response) -> bytes:
    """The body, as long as it is not too long."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            text = f"{shown(response.url)} sent more than {LARGEST_ANSWER >> 20} MiB"
            raise _TryError(text, again=True, ends=False)
    return bytes(body)


def _target(response: httpx.Response) -> str:
    try:
        return shown(response.url.join(response.headers["Location"]))
    except httpx.InvalidURL:
        return "no address"


def _key(variable: str | None) -> SecretStr | None:
    """The key in an environment variable.

    Raises:
        ComponentError: If there is none that can be sent. It does not show the value.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ComponentError(f"key_env names the environment variable {variable}, which is not set: export it")
    if not re.fullmatch(r"[!#-\[\]-~]+", value):
        raise ComponentError(
            f"the environment variable {variable} holds no key: it has spaces, quotes or unusual characters"
        )
    return SecretStr(value)
