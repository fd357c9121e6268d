"""Decode images to RGB pixels; ambiguous modes of Pillow are rejected, not guessed."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

#: Larger images are rejected before decoding: 50 million pixels take 150 MB.
MOST_PIXELS = 50_000_000
#: Modes with 8 bits per channel and one meaning in RGB.  CMYK is converted without a colour profile,
#: as is usual for ImageNet's few CMYK images.
_EXACT = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
#: Modes with an alpha channel, which is dropped if the image is opaque.
_ALPHA = ("LA", "PA", "RGBA")


def read_rgb(content: bytes) -> tuple[Image.Image, bool]:
    """Decode an image with Pillow.

    Returns
    -------
    image : PIL.Image.Image
        In mode RGB.
    plain : bool
        Whether it is a colour or grey JPEG, which a faster decoder also reads.

    Raises
    ------
    ValueError
        If the image is ambiguous in 8-bit RGB.
    Exception
        Any error of Pillow on damaged bytes.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are read")
        # A camera's MPO file is a photograph followed by smaller copies.
        frames = getattr(image, "n_frames", 1)
        if image.format != "MPO" and frames > 1:
            raise ValueError(f"an animation of {frames} images")
        return to_rgb(image), image.format == "JPEG" and image.mode in ("L", "RGB")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to mode RGB; raise ValueError if it is ambiguous there."""
    mode = image.mode
    if mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise ValueError("has transparent pixels, whose colour is not known")
        return image.convert("RGB")
    # Pillow's conversion clips 16-bit grey at 255, so almost every pixel would be white.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image, np.uint32) * 255 + 32767) // 65535
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if mode not in _EXACT:
        raise ValueError(f"mode {mode} has no certain meaning in 8-bit RGB")
    return image.convert("RGB")


def decode_plain(content: bytearray) -> torch.Tensor:
    """Decode a JPEG in colour or grey by the fast decoder, to a uint8 tensor (3, height, width).

    Raises
    ------
    RuntimeError
        If the decoder finds it damaged.
    """
    return decode_jpeg(torch.frombuffer(content, dtype=torch.uint8), mode=ImageReadMode.RGB)
