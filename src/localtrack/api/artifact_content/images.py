"""PIL images and arrays as artifacts, by MLflow's rules for data types, ranges and names.

Source: `mlflow/tracking/client.py` (`log_image`) and `mlflow/tracking/multimedia.py` of MLflow 3.17.
"""

from __future__ import annotations

import io
import os
import re
import time
import uuid
import warnings
from typing import Any, Final

from localtrack.errors import ErrorCode, InvalidInputError, MissingPackageError
from localtrack.format.scalars import to_step

LOGGED_IMAGES_TAG: Final = "mlflow.loggedImages"
"""Set to "True" by MLflow on a run that has images under keys: its pages then show them."""
THUMBNAIL_PIXELS: Final = 256
"""Longest side of the small copy."""

_KEY: Final = re.compile(r"[a-zA-Z0-9_\-./ ]+")


def encode_images(
    image: Any,
    artifact_file: str | None = None,
    *,
    key: str | None = None,
    step: int | None = None,
    timestamp_ms: int | None = None,
) -> list[tuple[str, bytes]]:
    """Return (artifact path, bytes) of each file that an image becomes.

    Under a name it is one file, in the format of the name's ending. Under a key and step it is two, named as MLflow's
    pages expect: a PNG, and a WebP of at most 256 pixels a side.

    Args:
        image: A PIL image, something with `to_pil` (`mlflow.Image`), or a NumPy array of height x width, or that x 1, 3
            or 4 channels: bool, integers in 0 … 255, or floats in 0 … 1 (others are stretched from least to greatest,
            with a warning).
        artifact_file: The name; not together with the others.
        key: Name of the series: ASCII letters, digits, and `_ - . / space`.
        step: 0 by default.
        timestamp_ms: Now by default.

    Raises:
        InvalidInputError: The arguments do not go together, it is no such image, or the format cannot hold it, or
            Pillow is missing.
    """
    if artifact_file is not None and not (key is None and step is None and timestamp_ms is None):
        raise InvalidInputError("log_image takes either artifact_file, or key with step and timestamp, not both.")
    if artifact_file is not None:
        return [(artifact_file, encode_image(to_pil(image), artifact_file))]
    if key is None:
        raise InvalidInputError("log_image needs artifact_file (one file) or key (an image of a series).")
    if not _KEY.fullmatch(str(key)):
        raise InvalidInputError(
            f"{key!r} is not an image key: only ASCII letters and digits, and _ - . / and space are allowed.",
            code=ErrorCode.INVALID_NAME,
        )
    at_step = to_step(step or 0)
    at_ms = timestamp_ms or time.time_ns() // 1_000_000
    name = f"images/{key.replace('/', '~')}+step+{at_step}+timestamp+{at_ms}+{uuid.uuid4()}"
    return encode_pair(to_pil(image), f"{name}.png", f"{name}+compressed.webp")


def encode_pair(image: Any, path: str, thumbnail_path: str) -> list[tuple[str, bytes]]:
    """Return (artifact path, bytes) of a PIL image and of its small copy."""
    return [(path, encode_image(image, path)), (thumbnail_path, encode_image(shrink(image), thumbnail_path))]


def encode_image(image: Any, artifact_file: str) -> bytes:
    """Return a PIL image in the format of the name's ending."""
    from PIL import Image

    ending = os.path.splitext(artifact_file)[1].lower()
    form = Image.registered_extensions().get(ending)
    if form is None or form not in Image.SAVE:
        raise InvalidInputError(
            f"{artifact_file!r} does not end as an image does.",
            hint="Use .png, .jpg or another ending that Pillow writes.",
        )
    sink = io.BytesIO()
    try:
        image.save(sink, format=form)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"The image cannot be written as {form}: {error}.") from error
    return sink.getvalue()


def shrink(image: Any) -> Any:
    """Return a copy of a PIL image scaled so that its longer side has 256 pixels."""
    width, height = image.size
    if width > height:
        size = (THUMBNAIL_PIXELS, max(1, int(height * (THUMBNAIL_PIXELS / width))))
    else:
        size = (max(1, int(width * (THUMBNAIL_PIXELS / height))), THUMBNAIL_PIXELS)
    return image.resize(size)


def to_pil(image: Any) -> Any:
    """Return a PIL image of what `encode_images` takes."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError.of("Logging images", "Pillow", extra="images") from error
    if isinstance(image, Image.Image):
        return image
    if callable(getattr(image, "to_pil", None)):
        return image.to_pil()
    if type(image).__module__.partition(".")[0] == "numpy" and hasattr(image, "ndim"):
        return Image.fromarray(_to_uint8(_checked_pixels(image)))
    raise InvalidInputError(
        f"log_image needs a PIL image, a NumPy array or an mlflow.Image, not {type(image).__name__}."
    )


def _checked_pixels(array: Any) -> Any:
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(f"An image cannot be made of an array of {array.dtype}: use bool, integers or floats.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or array.size == 0:
        raise InvalidInputError(
            f"An image cannot be made of an array of shape {array.shape}: use height x width (x 1, 3 or 4 channels)."
        )
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _to_uint8(array: Any) -> Any:
    import numpy as np

    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu":
        if array.min() < 0 or array.max() > 255:
            raise InvalidInputError(
                f"Integer pixels must lie in 0 … 255; these reach from {array.min()} to {array.max()}."
            )
        return array.astype(np.uint8)
    if not np.isfinite(array).all():
        warnings.warn("The image holds NaN or infinite values: logged as 0, or 1 for +infinity.", stacklevel=2)
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0)
    least, greatest = array.min(), array.max()
    if least < 0 or greatest > 1:
        warnings.warn(
            f"Float pixels should lie in 0 … 1; these reach from {least} to {greatest} and were stretched to it.",
            stacklevel=2,
        )
        array = (array - least) / (greatest - least) if greatest > least else np.zeros_like(array)
    return (array * 255).astype(np.uint8)
