"""Which images are read, and which are refused because their colours would be guessed."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.data.sets import encode, photograph

from bnonly.data import decoding
from bnonly.data.decoding import read_rgb

RAMP = np.linspace(0, 65535, 32 * 32).reshape(32, 32)


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_16_bit_grey_is_scaled_not_clipped():
    content = saved(Image.fromarray(RAMP.astype(np.uint16)), "PNG")
    pixels = np.asarray(read_rgb(content)[0])
    assert (pixels == np.rint(RAMP.astype(np.uint16) / 257)[..., None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_of_every_format(kind):
    content = saved(Image.fromarray(np.full((4, 4), 0x8000, np.uint16)), kind)
    assert np.asarray(read_rgb(content)[0]).tolist() == [[[128] * 3] * 4] * 4


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (Image.fromarray(RAMP.astype(np.int32) * 1000), "TIFF", "mode I has no certain meaning"),
        (Image.fromarray(RAMP.astype(np.float32)), "TIFF", "mode F has no certain meaning"),
        (Image.new("LAB", (4, 4)), "TIFF", "mode LAB has no certain meaning"),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG", "transparent"),
        (Image.new("LA", (4, 4), (10, 0)), "PNG", "transparent"),
    ],
)
def test_what_would_be_guessed_is_refused_by_name(image, kind, words):
    with pytest.raises(ValueError, match=words):
        read_rgb(saved(image, kind))


def test_a_transparent_colour_of_a_palette_is_refused():
    with pytest.raises(ValueError, match="transparent"):
        read_rgb(saved(photograph(1).convert("P"), "PNG", transparency=photograph(1).convert("P").getpixel((0, 0))))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_refused(kind):
    first, second = photograph(1, 40, 40), photograph(2, 40, 40)
    with pytest.raises(ValueError, match="an animation of 2 images"):
        read_rgb(saved(first, kind, save_all=True, append_images=[second]))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    content = encode(photograph(1, 50, 40), "PNG")
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1_999)
    with pytest.raises(ValueError, match="50 x 40 pixels; at most 1,999 are read"):
        read_rgb(content)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_modes_with_one_meaning_are_read(mode):
    image = photograph(1).convert(mode)
    content = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    found, plain = read_rgb(content)
    assert not plain and np.array_equal(np.asarray(found), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_in_colour_or_grey_is_plain(mode):
    assert read_rgb(encode(photograph(1).convert(mode), "JPEG"))[1]
