"""Encoded images to RGB pixels: what every mode of Pillow means, and which of them are refused instead of guessed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

#: An image of more pixels is refused before it is decoded: 50 million take 150 MB.
MOST_PIXELS = 50_000_000
#: Modes of 8 bits a channel that have one meaning in RGB.  CMYK is converted without a colour profile, as everybody who
#: trains on ImageNet's few CMYK images does.
_EXACT = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
#: Modes with an alpha channel, which is dropped if it hides nothing.
_ALPHA = ("LA", "PA", "RGBA")


def read_rgb(content: bytes) -> tuple[Image.Image, bool]:
    """Decode an image by Pillow.

    Returns
    -------
    image : PIL.Image.Image
        In mode RGB.
    plain : bool
        Whether it is a JPEG in colour or grey, which a faster decoder reads as well.

    Raises
    ------
    ValueError
        If the image has no certain meaning in 8-bit RGB.
    Exception
        Whatever Pillow raises on damaged bytes.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are read")
        # A camera's MPO file is a photograph with smaller copies of itself behind it.
        frames = getattr(image, "n_frames", 1)
        if image.format != "MPO" and frames > 1:
            raise ValueError(f"an animation of {frames} images")
        return _to_rgb(image), image.format == "JPEG" and image.mode in ("L", "RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise ValueError("has transparent pixels, whose colour is not known")
        return image.convert("RGB")
    # Pillow clips 16-bit grey at 255 when it converts, which makes almost every pixel white.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image, np.uint32) * 255 + 32767) // 65535
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if mode not in _EXACT:
        raise ValueError(f"mode {mode} has no certain meaning in 8-bit RGB")
    return image.convert("RGB")
