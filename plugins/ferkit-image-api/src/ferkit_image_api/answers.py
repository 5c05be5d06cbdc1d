"""What a server answers: a picture, where one lies, or what went wrong."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from torch import Tensor

from ferkit import ImageError
from ferkit.images import decode

MOST_PIXELS = 4096 * 4096
LEAST_SIDE = 32
LONGEST_MESSAGE = 300  # characters of the server's own words in an error

_REFUSAL = re.compile(
    r"moderation.?(blocked|failed|flagged)|content.?(policy|filter|safety|management|moderation)|safety.?system"
    r"|data.?inspection",
    re.IGNORECASE,
)


class UnusableError(Exception):
    """An answer without a picture that can be used."""


def picture(content: bytes) -> Tensor:
    """The picture in a file's content, uint8 RGB ``[3, h, w]``.

    Raises:
        UnusableError: If it can't be decoded, or is larger or smaller than an edited face can be.
    """
    try:
        image = decode(content, max_pixels=MOST_PIXELS)
    except ImageError as error:
        raise UnusableError(f"a picture that can't be read ({error})") from error
    height, width = image.shape[1:]
    if min(height, width) < LEAST_SIDE:
        raise UnusableError(f"a picture of {width} x {height} pixels, less than {LEAST_SIDE}")
    return image


def picture_or_address(body: bytes) -> Tensor | str:
    """The picture of an answer in the format of ``POST /v1/images/edits``, or the address where it lies.

    Raises:
        UnusableError: If the answer has neither.
    """
    item = _first(_parsed(body))
    for name in ("b64_json", "url"):
        text = item.get(name)
        if isinstance(text, str) and text:
            if name == "url" and not text.startswith("data:"):
                return text
            return picture(_from_base64(text))
    raise UnusableError(f"no picture: {message(body)}")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableError(f"no JSON: {message(body)}") from None


def _first(answer: Any) -> Mapping[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    return data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}


def _from_base64(text: str) -> bytes:
    """The content of base64, which may stand in a data URL and have line ends."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnusableError("base64 that is broken or cut short") from None


def message(body: bytes) -> str:
    """The server's own words, on one line of printable characters."""
    text = body[:100_000].decode("utf-8", "replace")
    if re.match(r"\s*<(!doctype\s+html|html)", text, re.IGNORECASE):
        return "an HTML page; is `url` the base of the API?"
    with suppress(ValueError, RecursionError):
        text = _words(json.loads(body))
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "no message"


def _words(answer: Any) -> str:
    """What is meant for people in a JSON answer: OpenAI's ``error.message``, FastAPI's ``detail``, or all of it."""
    for name in ("error", "detail", "message"):
        if isinstance(answer, dict) and answer.get(name):
            return _words(answer[name])
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def shortened(text: str) -> str:
    """``text``, cut where it is longer than an error needs."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"


def is_refusal(status: int, body: bytes) -> bool:
    """Whether the server refuses to edit this one picture, by the codes and words of content policies."""
    return status in (400, 422) and bool(_REFUSAL.search(body[:100_000].decode("utf-8", "replace")))


def seconds_asked_for(retry_after: str | None) -> float:
    """What a header ``Retry-After``, in seconds or as a date, asks to wait; 0 where there is none that can be read."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
