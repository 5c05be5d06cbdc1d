"""The weights that the face-alignment package reads: where they are published, and what they must be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FAN = "2DFAN4-11f355bf06.pth.tar"
BACKENDS = {
    "sfd": ("s3fd-619a316812.pth",),
    "blazeface": ("blazeface.pth", "anchors.npy"),
    "blazeface-back": ("blazefaceback.pth", "anchorsback.npy"),
}
"""By detector, its files: weights, and anchors where they are in a file."""

_AUTHOR = "https://www.adrianbulat.com/downloads/python-fan"
_BLAZEFACE = "https://github.com/hollance/BlazeFace-PyTorch/blob/master"


@dataclass(frozen=True)
class Published:
    """Where a file is published, and its SHA-256 where that is known."""

    address: str
    sha256: str | None = None


# The author's file names hold the first ten digits of the SHA-256. The rest is what users of these files have recorded
# (the same in every place found); nobody has recorded digests of BlazeFace's, and their names hold none.
PUBLISHED = {
    FAN: Published(f"{_AUTHOR}/{FAN}", "11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa"),
    "s3fd-619a316812.pth": Published(
        f"{_AUTHOR}/s3fd-619a316812.pth", "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543"
    ),
    **{name: Published(f"{_BLAZEFACE}/{name}?raw=true") for pair in list(BACKENDS.values())[1:] for name in pair},
}


def references(names: Sequence[str], folder: str | None, digests: Sequence[str]) -> Iterator[str]:
    """References for the weights store: in ``folder``, or where they are published; ``digests`` go before the known."""
    known = [PUBLISHED[name].sha256 for name in names]
    for name, digest in zip(names, digests or known, strict=True):
        yield f"{folder}/{name}#sha256={digest}" if folder else f"{PUBLISHED[name].address}#sha256={digest}"


def check_digests(names: Sequence[str], digests: Sequence[str]) -> None:
    """Raise a ValueError unless each of ``names`` has a digest, given or known."""
    files = ", ".join(f"… of {name}" for name in names)
    if digests and len(digests) != len(names):
        raise ValueError(f"sha256 has {len(digests)} digests: give sha256: [{files}]")
    if not digests and not all(PUBLISHED[name].sha256 for name in names):
        raise ValueError(
            f"give sha256: [{files}]: their publisher names no digest, and none is read without. `sha256sum` tells those of "
            "copies you trust"
        )
