"""Image editing servers as ferkit normalizers."""

import re
from collections.abc import Sequence
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ferkit import OPERATIONAL, Component, Config, hookimpl
from ferkit.editing import FRONTAL_PROMPT

ROUTE = "/images/edits"
RESERVED = {
    "prompt": "set the option `prompt`",
    "negative_prompt": "set the option `negative_prompt`",
    "model": "set the option `model`",
    "seed": "set `seed: true`",
    "image": "it is the face",
    "image[]": "it is the face",
    "mask": "the whole face is edited",
    "url": "it is a picture to edit, and the face is sent itself",
    "url[]": "it is a picture to edit, and the face is sent itself",
    "n": "one picture a face is asked for",
    "stream": "answers are read whole",
}
"""Form fields that `fields` may not set, and what to do instead."""
KEY_HINT = "keys stay out of recipes, results and caches: name the environment variable that holds it with `key_env`"
KEY_NAME = re.compile(
    r"(.*(apikey|accesskey|secretkey|privatekey|authorization|password|passwd|secret|bearer|credentials?)"
    r"|(x|hf|api|auth|access|bearer|refresh|security|session|user)*(token|auth|key))"
)
"""Names of fields that are keys, in lower case and without what is no letter."""
KEY_VALUE = re.compile(r"(?i:bearer)\s+\S+|(sk|pk|rk)[-_][\w-]{8,}|(hf|ghp|gho|nvapi)[-_][\w-]{20,}")


class ImageApiConfig(Config):
    """Options of the normalizer ``image-api``."""

    url: str = Field(description="base address of the API, as in the OpenAI client: http://127.0.0.1:8000/v1")
    model: str | None = Field(default=None, min_length=1, description="the server's name of the model; null: not sent")
    prompt: str = Field(
        default=FRONTAL_PROMPT, min_length=1, description="the instruction, one for all faces; it may name no label"
    )
    negative_prompt: str | None = Field(default=None, description="what the picture should not show; null: not sent")
    margin: float = Field(default=0.5, ge=0, le=3, description="around the face, in units of its side")
    size: int = Field(default=1024, ge=64, le=2048, description="side in pixels of the square that is sent")
    seed: bool = Field(
        default=False,
        description="send a `seed` made of the recipe's and the face's content; not every server takes one",
    )
    fields: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="more form fields, sent as they are: {num_inference_steps: 4}"
    )
    key_env: Annotated[str | None, OPERATIONAL] = Field(
        default=None, description="name of the environment variable that holds the key; null: none is sent"
    )
    allow_remote: Annotated[bool, OPERATIONAL] = Field(
        default=False, description="whether faces may be sent to another machine"
    )
    timeout: Annotated[float, OPERATIONAL] = Field(
        default=300.0, gt=0, le=86400, description="seconds that one try may take"
    )
    concurrency: Annotated[int, OPERATIONAL] = Field(
        default=4, ge=1, le=64, description="faces that are sent at a time"
    )
    retries: Annotated[int, OPERATIONAL] = Field(
        default=5, ge=0, le=100, description="further tries after one that failed"
    )
    backoff: Annotated[float, OPERATIONAL] = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="seconds before the second try; doubled for each further one, with jitter",
    )
    max_wait: Annotated[float, OPERATIONAL] = Field(
        default=60.0, ge=0, le=86400, description="most seconds between two tries, whatever the server asks for"
    )
    max_requests: Annotated[int | None, OPERATIONAL] = Field(
        default=None, ge=1, description="most edits that are asked for, further tries included; the next is an error"
    )

    # After all fields, because what a field's validator complains of is told with its value, which may hold a key.
    @model_validator(mode="after")
    def _sound(self) -> Self:
        _check_url(self.url)
        if self.key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            raise ValueError(
                "key_env must be the name of an environment variable, such as OPENAI_API_KEY, not the key itself"
            )
        for name, value in self.fields.items():
            if hint := RESERVED.get(name.lower()):
                raise ValueError(f"fields may not hold {name!r}: {hint}")
            if KEY_NAME.fullmatch(re.sub(r"[^a-z]", "", name.lower())) or KEY_VALUE.fullmatch(str(value).strip()):
                raise ValueError(f"fields may not hold a key, as {name!r} seems to: {KEY_HINT}")
        return self


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\\]", url):
        raise ValueError("url must be an address with http:// or https:// and a host: http://127.0.0.1:8000/v1")
    if "@" in parts.netloc:
        raise ValueError("url holds a user or password: name the environment variable that holds the key with key_env")
    if "?" in url or "#" in url:
        raise ValueError("url must end with its path: remove what follows ? or #")
    if parts.path.rstrip("/").endswith(ROUTE):
        raise ValueError(f"url must be the base of the API: remove {ROUTE} from its end")


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The normalizer ``image-api``."""
    return [
        Component(
            kind="normalizer",
            name="image-api",
            config=ImageApiConfig,
            target="ferkit_image_api.normalizer:ImageApiNormalizer",
            summary="an editor behind a server that speaks POST /v1/images/edits",
            weights_licence="that of the server's model",
            uses=frozenset({"pose"}),
        )
    ]
