"""Made-up points that look like those of a training."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from random import Random

STEP_MS = 10
JITTER_MS = 3


def float32_loss(random: Random, step: int) -> float:
    """Return a falling, noisy loss, as a float32 tensor gives it."""
    loss = 0.05 + 2.5 * math.exp(-step / 50_000) + random.gauss(0.0, 0.02)
    return float(struct.unpack("f", struct.pack("f", abs(loss)))[0])


def full_entropy(random: Random, step: int) -> float:
    """Return a double of which sign and every bit of the mantissa are chance."""
    return random.gauss(0.0, 1.0)


def four_decimals(random: Random, step: int) -> float:
    """Return a rising accuracy, rounded to four decimals."""
    return round(min(0.9 * (1 - math.exp(-step / 50_000)) + random.uniform(0.0, 0.05), 1.0), 4)


KINDS: dict[str, Callable[[Random, int], float]] = {
    "float32 loss": float32_loss,
    "full-entropy doubles": full_entropy,
    "four decimals": four_decimals,
}


def make_values(kind: str, count: int, random: Random) -> list[float]:
    """Return `count` values of one kind."""
    return [KINDS[kind](random, step) for step in range(count)]


def make_timestamps_ms(count: int, random: Random) -> list[int]:
    """Return rising times from now on, one about every 10 ms, each off by up to 3 ms.

    From now on, because a log counts the time of a point from its own beginning: times of long ago would be longer.
    """
    start_ms = time.time_ns() // 1_000_000
    return [start_ms + step * STEP_MS + random.randint(-JITTER_MS, JITTER_MS) for step in range(count)]
