"""The data: 1,797 images of handwritten digits, 8 by 8 pixels, that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DIGITS = np.arange(10)
_VALID_SHARE = 0.3
_MAX_PIXEL = 16


@dataclass(frozen=True, slots=True)
class Digits:
    """Images as rows of 64 numbers from 0 to 1, with the digit that each shows, in two parts."""

    train_pixels: np.ndarray
    train_labels: np.ndarray
    valid_pixels: np.ndarray
    valid_labels: np.ndarray


def read_digits() -> Digits:
    """Return the images. The two parts are the same in every call, so that runs of all sweeps compare."""
    pixels, labels = load_digits(return_X_y=True)
    train_pixels, valid_pixels, train_labels, valid_labels = train_test_split(
        pixels / _MAX_PIXEL, labels, test_size=_VALID_SHARE, stratify=labels, random_state=0
    )
    return Digits(train_pixels, train_labels, valid_pixels, valid_labels)
