import io
import os
import signal
import socket
import struct
import tempfile
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ExifTags, Image, ImageOps, features

from ferkit.errors import ImageError
from ferkit.images import MAX_PIXELS, decode, source_name

PHOTO = np.ascontiguousarray(skimage.data.astronaut()[40:187:3, 150:303:3])  # [49, 51, 3], a face
ALPHA = np.tile(np.linspace(0, 255, PHOTO.shape[1]).astype(np.uint8), (len(PHOTO), 1))
posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX file types")


def pixels(source, **options):
    """Decoded, as [H, W, 3]."""
    image = decode(source, **options)
    assert image.dtype == torch.uint8 and image.shape[0] == 3 and image.is_contiguous()
    return image.permute(1, 2, 0).numpy()


def encoded(picture, format_, **options):
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file, format_, **options)
    return file.getvalue()


def failure(source, **options):
    with pytest.raises(ImageError) as caught:
        decode(source, **options)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return caught.value


def on_white(rgb, alpha):
    share = alpha[..., None] / 255
    return np.rint(rgb * share + 255 * (1 - share))


# --- what a picture may come as


def test_every_kind_of_source_gives_the_same_picture(tmp_path):
    data = encoded(PHOTO, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    planes = np.ascontiguousarray(PHOTO.transpose(2, 0, 1))
    sources = [
        str(path),
        path,
        data,
        bytearray(data),
        memoryview(data),
        memoryview(b"".join(bytes([byte, 0]) for byte in data))[::2],
        io.BytesIO(data),
        Image.fromarray(PHOTO),
        Image.open(path),
        PHOTO,
        np.asfortranarray(PHOTO),
        planes.transpose(1, 2, 0),
        torch.from_numpy(planes),
        torch.from_numpy(PHOTO).permute(2, 0, 1),
    ]
    for source in sources:
        np.testing.assert_array_equal(pixels(source), PHOTO, err_msg=str(type(source)))


def test_a_file_object_is_read_from_where_it_stands():
    file = io.BytesIO(b"header" + encoded(PHOTO, "PNG"))
    file.seek(6)
    np.testing.assert_array_equal(pixels(file), PHOTO)
    assert failure(file).kind == "empty"


def test_a_file_object_needs_nothing_but_read():
    class Stream:
        def read(self):
            return bytearray(encoded(PHOTO, "PNG"))

    np.testing.assert_array_equal(pixels(Stream()), PHOTO)


@pytest.mark.parametrize("make", [np.copy, lambda a: torch.from_numpy(a.transpose(2, 0, 1).copy()), Image.fromarray])
def test_the_result_owns_its_memory(make):
    source = make(PHOTO)
    image = decode(source)
    before = image.clone()
    image.zero_()
    np.testing.assert_array_equal(pixels(source), PHOTO)
    if not isinstance(source, Image.Image):
        again = decode(source)
        source[:] = 7
        assert torch.equal(again, before)


def test_a_read_only_array_is_no_matter():
    array = PHOTO.copy()
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(array), PHOTO)


# --- formats


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
    ],
)
def test_lossless_formats_keep_every_pixel(format_, options):
    np.testing.assert_array_equal(pixels(encoded(PHOTO, format_, **options)), PHOTO)


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_close(format_):
    if format_ == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    difference = np.abs(pixels(encoded(PHOTO, format_, quality=95)).astype(int) - PHOTO)
    assert difference.mean() < 6


def test_a_progressive_jpeg_equals_the_baseline_one():
    baseline, progressive = (encoded(PHOTO, "JPEG", progressive=flag) for flag in (False, True))
    assert baseline != progressive
    np.testing.assert_array_equal(pixels(baseline), pixels(progressive))


def png(size, bits, colour_type, scanlines, interlace=0):
    """A PNG file by hand, for what Pillow reads but does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b"")
    )


def test_an_interlaced_png():
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in PHOTO[y::dy, x::dx])
    np.testing.assert_array_equal(pixels(png(PHOTO.shape[1::-1], 8, 2, lines, interlace=1)), PHOTO)


def test_a_png_of_16_bits_a_channel():
    wide = (PHOTO.astype(">u2") * 257).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in wide)
    np.testing.assert_array_equal(pixels(png(PHOTO.shape[1::-1], 16, 2, lines)), PHOTO)


@pytest.mark.parametrize(("format_", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("MPO", {})])
def test_the_first_of_several_pictures_is_taken(format_, options):
    first = Image.fromarray(PHOTO).convert("L").convert("RGB")
    several = encoded(first, format_, save_all=True, append_images=[ImageOps.invert(first)], **options)
    with Image.open(io.BytesIO(several)) as image:
        assert image.n_frames == 2
    alone = encoded(first, "JPEG" if format_ == "MPO" else format_, **options)
    np.testing.assert_array_equal(pixels(several), pixels(alone))


def test_a_broken_index_of_several_pictures_leaves_the_first():
    several = encoded(PHOTO, "MPO", save_all=True, append_images=[Image.fromarray(PHOTO)])
    at = several.index(b"MPF\0") + 4
    broken = several[:at] + b"\xff" * 40 + several[at + 40 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(broken), pixels(several))


# --- colour modes

GREY = np.asarray(Image.fromarray(PHOTO).convert("L"))
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
RGBA = np.dstack([PHOTO, ALPHA])


def mode_cases():
    photo, grey = Image.fromarray(PHOTO), Image.fromarray(GREY)
    palette = photo.quantize(64)
    index = np.asarray(palette)
    colours = np.asarray(palette.convert("RGB"))
    yield "L", grey, GREY_RGB
    yield "1", Image.fromarray(GREY > 100), np.where(GREY_RGB > 100, 255, 0)
    yield "RGBX", photo.convert("RGBX"), PHOTO
    yield "RGBA", Image.fromarray(RGBA), on_white(PHOTO, ALPHA)
    yield "RGBA opaque", Image.fromarray(np.dstack([PHOTO, np.full_like(ALPHA, 255)])), PHOTO
    yield "LA", Image.fromarray(np.dstack([GREY, ALPHA])), on_white(GREY_RGB, ALPHA)
    yield "P", palette, colours
    see_through = palette.copy()
    see_through.info["transparency"] = int(index[0, 0])
    yield "P with a transparent index", see_through, np.where((index == index[0, 0])[..., None], 255, colours)
    graded = palette.copy()
    graded.info["transparency"] = bytes(range(0, 256, 4))
    yield "P with alpha by index", graded, on_white(colours, 4 * index)
    with_alpha = palette.convert("PA")
    with_alpha.putalpha(Image.fromarray(ALPHA))
    yield "PA", with_alpha, on_white(colours, ALPHA)
    keyed = photo.copy()
    keyed.info["transparency"] = tuple(PHOTO[0, 0].tolist())
    yield "RGB with a transparent colour", keyed, np.where((PHOTO[0, 0] == PHOTO).all(2, keepdims=True), 255, PHOTO)
    keyed = grey.copy()
    keyed.info["transparency"] = int(GREY[0, 0])
    yield "L with a transparent shade", keyed, np.where(GREY[0, 0] == GREY_RGB, 255, GREY_RGB)
    yield "CMYK", photo.convert("CMYK"), PHOTO
    yield "I;16", Image.fromarray(GREY.astype(np.uint16) * 257), GREY_RGB
    yield "I;16B", Image.frombytes("I;16B", grey.size, (GREY.astype(">u2") * 257).astype(">u2").tobytes()), GREY_RGB
    yield "I of 16 bits", Image.fromarray(GREY.astype(np.int32) * 257), GREY_RGB
    yield "I of 8 bits", Image.fromarray(GREY.astype(np.int32)), GREY_RGB
    yield "F to 1", Image.fromarray(GREY.astype(np.float32) / 255), GREY_RGB
    yield "F to 255", Image.fromarray(GREY.astype(np.float32)), GREY_RGB


@pytest.mark.parametrize(("picture", "expected"), [pytest.param(*case[1:], id=case[0]) for case in mode_cases()])
def test_modes_exactly(picture, expected):
    before = picture.mode, picture.size, picture.tobytes()
    np.testing.assert_array_equal(pixels(picture), expected)
    assert (picture.mode, picture.size, picture.tobytes()) == before


@pytest.mark.parametrize(("mode", "straight", "rgb"), [("RGBa", "RGBA", PHOTO), ("La", "LA", GREY_RGB)])
def test_premultiplied_alpha(mode, straight, rgb):
    opaque = Image.fromarray(PHOTO).convert(straight).convert(mode)
    np.testing.assert_array_equal(pixels(opaque), rgb)
    clear = Image.new(straight, (4, 3), 0).convert(mode)
    assert (pixels(clear) == 255).all()


@pytest.mark.parametrize(("mode", "tolerance"), [("YCbCr", 3), ("HSV", 5)])
def test_modes_that_round(mode, tolerance):
    picture = Image.fromarray(PHOTO).convert(mode)
    assert picture.mode == mode
    assert np.abs(pixels(picture).astype(int) - PHOTO).max() <= tolerance


def test_lab():
    from PIL import ImageCms

    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.applyTransform(Image.fromarray(PHOTO), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert np.abs(pixels(lab).astype(int) - PHOTO).mean() < 2


def test_a_cmyk_jpeg_is_not_inverted():
    cmyk = encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in cmyk
    assert np.abs(pixels(cmyk).astype(int) - PHOTO).mean() < 6


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_files_are_scaled_not_clipped(format_):
    shades = np.linspace(0, 65535, 500).astype(np.uint16).reshape(20, 25)
    found = pixels(encoded(shades, format_))
    np.testing.assert_array_equal(found, np.repeat(np.rint(shades / 257)[..., None], 3, axis=2))


def test_32_bit_float_files():
    np.testing.assert_array_equal(pixels(encoded(GREY.astype(np.float32) / 255, "TIFF")), GREY_RGB)
    error = failure(encoded(GREY.astype(np.float32) * 1e6, "TIFF"))
    assert error.kind == "not_an_image" and "from" in str(error) and "0..65535" in str(error)


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_the_same_from_files_pictures_arrays_and_tensors(format_):
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    tensor = torch.from_numpy(RGBA.transpose(2, 0, 1).copy())
    for source in (encoded(RGBA, format_, **options), Image.fromarray(RGBA), RGBA, tensor):
        np.testing.assert_array_equal(pixels(source), on_white(PHOTO, ALPHA))


def test_a_transparent_gif_is_on_white():
    index = np.zeros((6, 5), np.uint8)
    index[2:4] = 1
    picture = Image.frombytes("P", (5, 6), index.tobytes())
    picture.putpalette([200, 0, 0, 0, 0, 200])
    found = pixels(encoded(picture, "GIF", transparency=0))
    np.testing.assert_array_equal(found[2:4], np.broadcast_to([0, 0, 200], (2, 5, 3)))
    assert (found[[0, 1, 4, 5]] == 255).all()


# --- orientation

# How a camera stores an upright picture, by the orientation it writes (EXIF 2.3, tag 0x0112).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def exif(orientation):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
def test_orientation_exactly(format_, orientation):
    stored = np.ascontiguousarray(STORED[orientation](PHOTO))
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encoded(stored, format_, exif=exif(orientation), **options)
    np.testing.assert_array_equal(pixels(data), PHOTO)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(pixels(picture), PHOTO)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_orientation_of_jpeg(mode, orientation):
    picture = Image.fromarray(PHOTO).convert(mode)
    plain, turned = encoded(picture, "JPEG"), encoded(picture, "JPEG", exif=exif(orientation))
    np.testing.assert_array_equal(STORED[orientation](pixels(turned)), pixels(plain))


def test_orientation_of_16_bit_grey():
    stored = np.rot90(GREY.astype(np.uint16) * 257).copy()
    np.testing.assert_array_equal(pixels(encoded(stored, "PNG", exif=exif(6))), GREY_RGB)


@pytest.mark.parametrize(
    "tail", [b"", b"\xff" * 30, b"II*\0" + b"\xff" * 40, b"MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40]
)
def test_broken_exif_does_not_spoil_a_picture(tail):
    for format_, options in [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pixels(encoded(PHOTO, format_, exif=b"Exif\0\0" + tail, **options))
        np.testing.assert_array_equal(found, pixels(encoded(PHOTO, format_, **options)))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    np.testing.assert_array_equal(pixels(encoded(PHOTO, "PNG", exif=exif(orientation))), PHOTO)


# --- arrays and tensors


def test_bgr_swaps_arrays_and_tensors_only():
    bgr = np.ascontiguousarray(PHOTO[..., ::-1])
    np.testing.assert_array_equal(pixels(bgr, color="bgr"), PHOTO)
    np.testing.assert_array_equal(pixels(torch.from_numpy(bgr.transpose(2, 0, 1).copy()), color="bgr"), PHOTO)
    bgra = np.dstack([bgr, ALPHA])
    np.testing.assert_array_equal(pixels(bgra, color="bgr"), on_white(PHOTO, ALPHA))
    np.testing.assert_array_equal(pixels(GREY, color="bgr"), GREY_RGB)
    np.testing.assert_array_equal(pixels(GREY[..., None], color="bgr"), GREY_RGB)
    np.testing.assert_array_equal(pixels(encoded(PHOTO, "PNG"), color="bgr"), PHOTO)
    np.testing.assert_array_equal(pixels(Image.fromarray(PHOTO), color="bgr"), PHOTO)


def test_another_color_order_is_refused():
    with pytest.raises(ValueError, match="'rgb' or 'bgr', not 'hsv'"):
        decode(PHOTO, color="hsv")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats(dtype):
    np.testing.assert_array_equal(pixels((PHOTO / 255).astype(dtype)), PHOTO)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_integers_of_8_bits(dtype):
    np.testing.assert_array_equal(pixels(PHOTO.astype(dtype)), PHOTO)


@pytest.mark.parametrize("dtype", [np.uint16, ">u2"])
def test_integers_of_16_bits(dtype):
    np.testing.assert_array_equal(pixels(PHOTO.astype(dtype) * np.uint16(257)), PHOTO)
    assert (pixels(np.full((2, 2), 255, dtype)) == 1).all()  # the whole range counts, whatever values it holds


def test_bools():
    np.testing.assert_array_equal(pixels(GREY > 100), np.where(GREY_RGB > 100, 255, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_float_tensors(dtype):
    tensor = (torch.from_numpy(PHOTO).permute(2, 0, 1) / 255).to(dtype).requires_grad_()
    np.testing.assert_array_equal(pixels(tensor), PHOTO)


def test_bfloat16_tensors():
    tensor = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.bfloat16)
    assert decode(tensor).tolist() == [[[0, 128, 255]]] * 3


@pytest.mark.parametrize("shape", [(49, 51), (1, 49, 51)])
def test_grey_tensors(shape):
    np.testing.assert_array_equal(pixels(torch.from_numpy(GREY.copy()).reshape(shape)), GREY_RGB)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=40)
def test_any_pixels_survive_every_way(array):
    ways = [
        array,
        array / 255,
        array.astype(np.uint16) * 257,
        torch.from_numpy(array).permute(2, 0, 1),
        Image.fromarray(array),
        encoded(array, "PNG"),
        encoded(array, "TIFF", compression="tiff_lzw"),
    ]
    for way in ways:
        np.testing.assert_array_equal(pixels(way), array)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (PHOTO.transpose(2, 0, 1), "[3, 49, 51]; this one looks channels-first: give array.transpose(1, 2, 0)"),
        (PHOTO[None], "[1, 49, 51, 3]; give the pictures of a batch one by one"),
        (np.zeros((5, 6, 2), np.uint8), "an array must be [H, W] or [H, W, 1, 3 or 4], not [5, 6, 2]"),
        (np.frombuffer(encoded(PHOTO, "PNG"), np.uint8), "if it is the content of a file, give array.tobytes()"),
        (np.array(3, np.uint8), "not []"),
        (
            np.array([[0, 255]], np.float32),
            "float32 values from 0 to 255, not in 0..1: scale them, or convert to uint8",
        ),
        (np.array([[-0.5, 0.5]]), "float64 values from -0.5 to 0.5, not in 0..1"),
        (np.full((4, 4), np.nan), "holds NaN: replace it"),
        (np.array([[0, np.inf]]), "values from 0 to inf, not in 0..1"),
        (np.array([[-1, 255]]), "int64 values from -1 to 255, not in 0..255"),
        (np.array([[0, 256]]), "int64 values from 0 to 256, not in 0..255"),
        (np.zeros((4, 4), complex), "the array holds complex128, not numbers of brightness"),
        (np.zeros((4, 4), object), "the array holds object, not numbers of brightness"),
        (torch.from_numpy(PHOTO), "[49, 51, 3]; this one looks channels-last: give tensor.permute(2, 0, 1)"),
        (torch.zeros(2, 3, 8, 8), "[2, 3, 8, 8]; give the pictures of a batch one by one"),
        (torch.zeros(2, 8, 8), "a tensor must be [H, W] or [1, 3 or 4, H, W], not [2, 8, 8]"),
        (torch.full((3, 8, 8), 2.0), "the tensor has float32 values from 2 to 2, not in 0..1"),
        (torch.zeros(3, 8, 8, device="meta"), "the tensor has no pixels"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), "the tensor holds complex64"),
        (None, "an object of type NoneType is no picture: give a path, bytes,"),
        ([[1, 2], [3, 4]], "an object of type list is no picture"),
    ],
)
def test_what_is_no_picture_in_memory(source, text):
    error = failure(source)
    assert error.kind == "not_an_image"
    assert text in str(error)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 0)])
def test_pictures_without_pixels(shape):
    error = failure(np.zeros(shape, np.uint8))
    assert error.kind == "empty" and f"no pixels ({shape[1]} x {shape[0]})" in str(error)


def test_a_pil_picture_without_pixels():
    assert failure(Image.new("RGB", (0, 4))).kind == "empty"


# --- limits


def test_the_limit_lets_large_photographs_pass():
    assert MAX_PIXELS >= 50_000_000


@pytest.mark.parametrize("make", [np.copy, Image.fromarray, lambda a: encoded(a, "PNG"), lambda a: encoded(a, "JPEG")])
def test_the_limit_is_exact_and_named(make):
    count = PHOTO.shape[0] * PHOTO.shape[1]
    assert decode(make(PHOTO), max_pixels=count).shape[1:] == PHOTO.shape[:2]
    error = failure(make(PHOTO), max_pixels=count - 1)
    assert error.kind == "too_large"
    assert "51 x 49 pixels, over the limit of 2,498: scale it down first" in str(error)


def bombs():
    yield "PNG", png((100_000, 100_000), 8, 2, b""), "100000 x 100000"
    gif = bytearray(encoded(PHOTO, "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    yield "GIF", bytes(gif), "65535 x 65535"
    bmp = bytearray(encoded(PHOTO, "BMP"))
    bmp[18:26] = struct.pack("<ii", 99_999, 99_999)
    yield "BMP", bytes(bmp), "99999 x 99999"
    yield "PPM", b"P6 80000 80000 255\n" + b"\0" * 9, "80000 x 80000"
    jpeg = bytearray(encoded(PHOTO, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    yield "JPEG", bytes(jpeg), "65500 x 65500"


@pytest.mark.parametrize(("data", "size"), [pytest.param(*case[1:], id=case[0]) for case in bombs()])
def test_bombs_are_refused_by_their_header(data, size):
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = failure(data)
    assert time.perf_counter() - start < 1
    assert error.kind == "too_large"
    assert f"{size} pixels, over the limit of 178,956,970" in str(error)


def test_pillows_own_limit_neither_warns_nor_decides(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # of the process; a picture of 100 pixels is a bomb to it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for format_ in ("PNG", "JPEG", "GIF", "BMP"):
            assert pixels(encoded(PHOTO, format_)).shape == PHOTO.shape
        error = failure(encoded(PHOTO, "TIFF"))  # whose reader asks Pillow's limit itself
    assert error.kind == "too_large" and "over Pillow's limit" in str(error)


def test_global_state_is_left_alone():
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    decode(encoded(PHOTO, "JPEG"))
    failure(b"nothing")
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


# --- what can go wrong with files


def test_missing_file(tmp_path):
    error = failure(tmp_path / "none.jpg")
    assert error.kind == "unreadable" and str(error) == f"there is no file {tmp_path / 'none.jpg'}: check the path"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(PHOTO, "JPEG"))
    assert "there is no file" in str(failure(tmp_path / "a.jpg" / "b.jpg"))


def test_folder(tmp_path):
    error = failure(tmp_path)
    assert error.kind == "unreadable" and "is a folder: name a picture in it" in str(error)


@pytest.mark.parametrize("path", ["", "a\0b.jpg", "x" * 5000, "\ud800.jpg"])
def test_names_no_file_can_have(path):
    assert failure(path).kind == "unreadable"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_permission_denied(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(PHOTO, "PNG"))
    path.chmod(0)
    error = failure(path)
    assert error.kind == "unreadable" and "permission denied" in str(error)


@pytest.fixture
def alarm():
    """Ends a test that hangs."""

    def ring(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@posix_only
def test_pipes_sockets_and_devices_are_refused_without_waiting(alarm):
    with tempfile.TemporaryDirectory() as folder:  # short: the name of a socket may have 108 bytes
        pipe, name = Path(folder, "pipe.jpg"), Path(folder, "socket.jpg")
        os.mkfifo(pipe)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(name))
            for path in (pipe, name, Path("/dev/zero")):
                error = failure(path)
                assert error.kind == "unreadable" and "a pipe, socket or device" in str(error)


def test_empty_files(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    for source in (path, b"", io.BytesIO()):
        error = failure(source)
        assert error.kind == "empty"
    assert str(failure(path)) == f"{path} is empty (0 bytes): copy or download it again"


@pytest.mark.parametrize("data", [b"\0", b"<html><body>404</body></html>", b"hello " * 100, b"RIFF\0\0\0\0WAVEfmt "])
def test_other_files(tmp_path, data):
    path = tmp_path / "page.jpg"
    path.write_bytes(data)
    error = failure(path)
    assert error.kind == "not_an_image"
    assert f"{path} is no picture that can be read here: convert it to one of JPEG, PNG" in str(error)


def test_postscript_is_not_handed_to_an_interpreter():
    assert failure(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n").kind == "not_an_image"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_cut_short_is_no_half_grey_picture(tmp_path, format_):
    data = encoded(PHOTO, format_)
    path = tmp_path / "photo"
    path.write_bytes(data[: len(data) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = failure(path)
    assert error.kind == "corrupt"
    assert str(error).startswith(f"{path} is broken or cut short (")
    assert str(error).endswith("): copy or download it again, or save it anew")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_no_cut_anywhere_shows(format_):
    data = encoded(PHOTO, format_)
    whole = decode(data)
    for end in range(0, len(data), 1 + len(data) // 150):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = decode(data[:end])
            except ImageError:
                continue
        assert torch.equal(found, whole)


def test_a_pil_picture_whose_file_is_closed(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(PHOTO, "PNG"))
    with Image.open(tmp_path / "a.png") as picture:
        pass
    error = failure(picture)
    assert error.kind == "corrupt" and "decode it before its file is closed" in str(error)


def test_text_and_closed_file_objects(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with path.open() as file:
        error = failure(file)
    assert error.kind == "unreadable" and "read() gave str, not bytes: open it in binary mode" in str(error)
    error = failure(file)
    assert error.kind == "unreadable" and "closed file" in str(error)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_files_are_closed(tmp_path):
    whole, broken = tmp_path / "a.jpg", tmp_path / "b.jpg"
    whole.write_bytes(encoded(PHOTO, "JPEG"))
    broken.write_bytes(whole.read_bytes()[:-50])
    gif = tmp_path / "c.gif"
    gif.write_bytes(encoded(PHOTO, "GIF", save_all=True, append_images=[Image.fromarray(PHOTO[::-1])]))

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    kept = [decode(whole), failure(broken), decode(gif)]
    assert open_files() == before, kept


def test_threads_do_not_disturb_each_other():
    data = [encoded(np.full((40, 30, 3), shade, np.uint8), "PNG") for shade in range(8)]
    results = {}

    def work(shade):
        results[shade] = [int(decode(data[shade]).float().mean()) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(shade,)) for shade in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {shade: [shade] * 20 for shade in range(8)}


# --- fuzz: any bytes give a picture or an ImageError

SEEDS = [
    encoded(PHOTO[:12, :14], format_, **options)
    for format_, options in [
        ("JPEG", {"exif": exif(6)}),
        ("JPEG", {"progressive": True}),
        ("PNG", {"exif": exif(3)}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True, "exif": exif(8)}),
        ("BMP", {}),
        ("PPM", {}),
        *([("AVIF", {})] if features.check("avif") else []),
    ]
]
MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"P6 ", b"P3 ", b"Pf "]
fuzz = settings(max_examples=300, suppress_health_check=list(HealthCheck))


def assert_picture_or_image_error(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = decode(data, max_pixels=1_000_000)
        except ImageError as error:
            assert error.kind in ("empty", "not_an_image", "corrupt", "too_large")
            assert str(error).isprintable()
        else:
            assert image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3


@given(st.sampled_from(MAGIC), st.binary(max_size=200))
@fuzz
def test_random_bytes(magic, data):
    assert_picture_or_image_error(magic + data)


@given(st.data())
@fuzz
def test_mutated_pictures(data):
    picture = bytearray(data.draw(st.sampled_from(SEEDS)))
    places = st.one_of(st.integers(0, min(120, len(picture) - 1)), st.integers(0, len(picture) - 1))
    for _ in range(data.draw(st.integers(1, 6))):
        picture[data.draw(places)] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(picture)), st.integers(0, len(picture))))
    assert_picture_or_image_error(bytes(picture[:end]))


# --- names


def test_source_names(tmp_path):
    path = tmp_path / "grün\n.png"
    path.write_bytes(encoded(PHOTO, "PNG"))
    assert source_name(path, 3) == source_name(str(path), 3) == str(path)
    assert source_name(b"", 3) == source_name(bytearray(), 3) == source_name(memoryview(b""), 3) == "bytes[3]"
    assert source_name(PHOTO, 0) == "array[0]"
    assert source_name(torch.zeros(2, 2), 12) == "tensor[12]"
    assert source_name(Image.fromarray(PHOTO), 1) == "image[1]"
    assert source_name(io.BytesIO(), 1) == "file[1]"
    assert source_name(None, 1) == "NoneType[1]"
    with Image.open(path) as picture, path.open("rb") as file, tempfile.TemporaryFile() as nameless:
        assert source_name(picture, 1) == source_name(file, 1) == str(path)
        assert source_name(nameless, 1) == "file[1]"
