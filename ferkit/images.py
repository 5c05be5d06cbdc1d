"""From what people have (paths, file content, PIL pictures, arrays, tensors) to uint8 RGB tensors, safely."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin
from torch import Tensor

from ferkit.errors import ImageError
from ferkit.text import shown as shown  # noqa: PLC0414 - data sets take it from here

Source: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray | Tensor
)
"""What :func:`decode` reads."""
Pixels: TypeAlias = NDArray[np.uint8]

MAX_PIXELS = 178_956_970
"""Most pixels a picture may have by default: where Pillow, too, refuses a file as a decompression bomb."""

# Formats of photographs whose readers are in Pillow itself and call no other program (EPS would start Ghostscript);
# HEIF is there where pillow-heif registered it. A multi-picture file (MPO) opens as the JPEG it starts with.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    suffix.lower() for suffix, name in Image.registered_extensions().items() if name in (*_FORMATS, "MPO")
)
"""Suffixes, in lower case with their dot, that make a file in a folder a picture; AVIF where Pillow has it."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""

# Pillow's modes I and F do not say what white is: the smallest of these that holds the values is taken for it.
# Files of 16 bits arrive as I where Pillow is older.
_WHITE_OF_MODE = {"I": (255, 65535), "F": (1, 255, 65535)}
_WHITE_OF_16_BITS = (65535,)
_CHANNELS = (1, 3, 4)
ROUNDING = 1e-3  # by which floats may lie outside their range, as resampling leaves them


def decode(source: Source, *, color: Literal["rgb", "bgr"] = "rgb", max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read a picture, whatever it comes as, into memory of its own; ``source`` is not changed.

    EXIF orientation is applied. Of several pictures in a file (animations, MPO) the first is taken. Transparent pixels
    are shown on white, as a viewer would: what is hidden under them is often another picture or noise. 16 bits are
    rounded to 8. Colour profiles are ignored.

    Args:
        source: A path, the content of a file, a binary file object (read from where it stands), a PIL picture, a numpy
            array ``[H, W]`` or ``[H, W, 1, 3 or 4]``, or a torch tensor ``[H, W]`` or ``[1, 3 or 4, H, W]``. Arrays and
            tensors hold floats in 0..1, bools, uint16 over its whole range, or other integers in 0..255.
        color: Order of the channels of arrays and tensors; files and PIL pictures know theirs.
        max_pixels: Most pixels a picture may have. A file is refused by its header, before its pixels are decoded.

    Returns:
        uint8 RGB ``[3, H, W]``, contiguous.

    Raises:
        ImageError: If there is no picture to be had: ``unreadable`` (missing, forbidden, no regular file), ``empty``,
            ``not_an_image`` (also arrays of another shape, type or range), ``corrupt`` (broken or cut short) or
            ``too_large``.
        ValueError: If ``color`` is neither ``"rgb"`` nor ``"bgr"``.
    """
    if color not in ("rgb", "bgr"):
        raise ValueError(f"color must be 'rgb' or 'bgr', not {color!r}")
    try:
        if isinstance(source, np.ndarray):
            pixels = _from_array(source, "the array", color, max_pixels)
        elif isinstance(source, Tensor):
            pixels = _from_tensor(source, color, max_pixels)
        else:
            pixels = _from_picture(source, max_pixels)
        # copy, not ascontiguousarray: that would hand out the caller's own memory where the layout fits already
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    except MemoryError as error:
        raise ImageError("too_large", "the picture does not fit into memory: make it smaller") from error


def source_name(source: object, index: int) -> str:
    """What to call the ``index``-th input: its path or file name, else ``bytes[3]``, ``array[3]`` and the like."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"bytes[{index}]"
    if isinstance(source, np.ndarray):
        return f"array[{index}]"
    if isinstance(source, Tensor):
        return f"tensor[{index}]"
    is_picture = isinstance(source, Image.Image)
    name = getattr(source, "filename" if is_picture else "name", None)
    if isinstance(name, str | os.PathLike) and os.fspath(name):
        return os.fsdecode(name)
    return f"{'image' if is_picture else 'file' if hasattr(source, 'read') else type(source).__name__}[{index}]"


def _from_picture(source: object, max_pixels: int) -> Pixels:
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(os.fsdecode(source)), max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(bytes(source)), "the data", max_pixels)
    if isinstance(source, Image.Image):
        with _explained("the PIL picture", "decode it before its file is closed"):
            return _from_image(source, "the PIL picture", max_pixels)
    if hasattr(source, "read"):
        return _from_file(io.BytesIO(_content(source)), "the file object's content", max_pixels)
    raise ImageError(
        "not_an_image",
        f"an object of type {type(source).__name__} is no picture: give a path, bytes, a binary file object, a PIL "
        "picture, a numpy array or a torch tensor",
    )


def _from_path(path: Path, max_pixels: int) -> Pixels:
    name = shown(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("unreadable", f"{name} is a folder: name a picture in it")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise ImageError("unreadable", f"{name} is a pipe, socket or device: save what it holds to a file first")
        with path.open("rb") as file:
            return _from_file(file, name, max_pixels)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _content(file: object) -> bytes:
    try:
        data = file.read()  # type: ignore[attr-defined]
    except Exception as error:  # any object may call itself a file
        raise ImageError("unreadable", f"the file object can't be read ({_cause(error)}): open it again") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(
            "unreadable",
            f"the file object's read() gave {type(data).__name__}, not bytes: open it in binary mode, 'rb'",
        )
    if not data:
        raise ImageError("empty", "the file object has nothing left to read: rewind it with seek(0), or check its file")
    return bytes(data)


def _from_file(file: BinaryIO, name: str, max_pixels: int) -> Pixels:
    with _explained(name):
        return _from_image(_open(file, name), name, max_pixels)


def _open(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Read the header.

    Not by ``Image.open``: it tries formats we do not want, its pixel limit is a global of the process, and it warns
    about large pictures before one could look at their size.
    """
    prefix = file.read(16)
    if not prefix:
        raise ImageError("empty", f"{name} is empty (0 bytes): copy or download it again")
    failure = None
    for format_ in _FORMATS:
        factory, accept = Image.OPEN.get(format_, (None, None))
        accepted = accept(prefix) if accept else False
        if factory is None or not accepted or isinstance(accepted, str):  # a str says why this Pillow can't read it
            continue
        file.seek(0)
        try:
            # the factory registered for JPEG also parses the index of multi-picture files, and fails on broken ones
            return JpegImagePlugin.JpegImageFile(file, "") if format_ == "JPEG" else factory(file, "")
        except SyntaxError as error:  # Pillow's "not my format"
            failure = failure or error
    if failure:
        raise failure
    formats = ", ".join(format_ for format_ in _FORMATS if format_ in Image.OPEN)
    raise ImageError("not_an_image", f"{name} is no picture that can be read here: convert it to one of {formats}")


@contextmanager
def _explained(name: str, advice: str = "copy or download it again, or save it anew") -> Iterator[None]:
    """Turn whatever Pillow raises into an :class:`ImageError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            "too_large", f"{name} is over Pillow's limit ({_cause(error)}): scale it down first"
        ) from error
    except Exception as error:  # broken files make Pillow raise almost anything
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            raise ImageError("unreadable", f"{name} can't be read ({_cause(error)}): check the disk") from error
        raise ImageError("corrupt", f"{name} is broken or cut short ({_cause(error)}): {advice}") from error


def _from_image(image: Image.Image, name: str, max_pixels: int) -> Pixels:
    _check_size(*image.size, name, max_pixels)
    image.load()
    image = _upright(image)
    if white := _WHITE_OF_16_BITS if image.mode.startswith("I;16") else _WHITE_OF_MODE.get(image.mode):
        return _three_channels(_to_8_bits(np.asarray(image), white, name)[..., None])
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        return _three_channels(np.asarray(image.convert("RGBA")))
    if image.mode in ("1", "L"):
        return _three_channels(np.asarray(image.convert("L"))[..., None])
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - broken EXIF does not spoil a picture
        return image
    return image if turn is None else image.transpose(turn)


def _from_tensor(tensor: Tensor, color: str, max_pixels: int) -> Pixels:
    if tensor.is_nested:
        raise ImageError("not_an_image", "a nested tensor is many: give its pictures one by one")
    if (tensor.ndim == 3 and tensor.shape[0] not in _CHANNELS) or tensor.ndim not in (2, 3):
        hint = ""
        if tensor.ndim == 3 and tensor.shape[2] in _CHANNELS:
            hint = "; this one looks channels-last: give tensor.permute(2, 0, 1)"
        elif tensor.ndim == 4:
            hint = "; give the pictures of a batch one by one: list(tensor)"
        raise ImageError(
            "not_an_image", f"a tensor must be [H, W] or [1, 3 or 4, H, W], not {list(tensor.shape)}{hint}"
        )
    try:
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy(force=True)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, meta, …
        raise ImageError("not_an_image", f"the tensor has no pixels ({_cause(error)}): give a dense tensor") from error
    return _from_array(array if array.ndim == 2 else array.transpose(1, 2, 0), "the tensor", color, max_pixels)


def _from_array(array: np.ndarray, name: str, color: str, max_pixels: int) -> Pixels:
    if (array.ndim == 3 and array.shape[2] not in _CHANNELS) or array.ndim not in (2, 3):
        hint = ""
        if array.ndim == 3 and array.shape[0] in _CHANNELS:
            hint = "; this one looks channels-first: give array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; give the pictures of a batch one by one: list(array)"
        elif array.ndim == 1 and array.dtype == np.uint8:
            hint = "; if it is the content of a file, give array.tobytes()"
        raise ImageError("not_an_image", f"an array must be [H, W] or [H, W, 1, 3 or 4], not {list(array.shape)}{hint}")
    height, width = array.shape[:2]
    _check_size(width, height, name, max_pixels)
    pixels = _to_8_bits(np.asarray(array), _white_of_dtype(array.dtype, name), name)
    if color == "bgr" and array.ndim == 3 and array.shape[2] >= 3:
        pixels = pixels[..., [2, 1, 0, 3][: array.shape[2]]]
    return _three_channels(pixels.reshape(height, width, -1))


def _white_of_dtype(dtype: np.dtype, name: str) -> tuple[int, ...]:
    if dtype.kind not in "biuf":
        raise ImageError("not_an_image", f"{name} holds {dtype}, not numbers of brightness: convert it to uint8")
    if dtype.kind in "bf":
        return (1,)
    return _WHITE_OF_16_BITS if dtype.kind == "u" and dtype.itemsize == 2 else (255,)


def _to_8_bits(values: np.ndarray, whites: tuple[int, ...], name: str) -> Pixels:
    """Scale so that white, the first of ``whites`` (ascending) not below any value, becomes 255; rounds to nearest."""
    if values.dtype == np.uint8:
        return values
    low, high = values.min(), values.max()
    if np.isnan(low):
        raise ImageError("not_an_image", f"{name} holds NaN: replace it")
    slack = ROUNDING if values.dtype.kind == "f" else 0
    if low < -slack or high > whites[-1] + slack:
        raise ImageError(
            "not_an_image",
            f"{name} has {values.dtype} values from {low:g} to {high:g}, not in 0..{whites[-1]}: scale them, or "
            "convert to uint8",
        )
    white = next(white for white in whites if high <= white + slack)
    if values.dtype.kind == "f":
        scaled = np.rint(values.astype(np.float32) * (255 / white)).clip(0, 255)
    else:
        scaled = (values.astype(np.uint32) * 255 + white // 2) // white
    pixels: Pixels = scaled.astype(np.uint8)
    return pixels


def _three_channels(pixels: Pixels) -> Pixels:
    """Grey ``[H, W, 1]``, RGB ``[H, W, 3]`` or RGBA ``[H, W, 4]`` to RGB, on white."""
    if pixels.shape[2] == 1:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height == 0:
        raise ImageError("empty", f"{name} has no pixels ({width} x {height}): give a picture of at least 1 x 1")
    if width * height > max_pixels:
        raise ImageError(
            "too_large", f"{name} has {width} x {height} pixels, over the limit of {max_pixels:,}: scale it down first"
        )


def unreadable(path: Path, error: Exception) -> ImageError:
    """What to say of a path that the system would not open."""
    name = shown(path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ImageError("unreadable", f"there is no file {name}: check the path")
    if isinstance(error, PermissionError):
        return ImageError("unreadable", f"{name} may not be read (permission denied): change its permissions")
    return ImageError("unreadable", f"{name} can't be read ({_cause(error)}): check the path")


def _cause(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shown(" ".join(text.split())[:200]) or type(error).__name__
