"""Ids of runs, experiments, writers and stores. Pure: time and randomness are arguments."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError

WRITER_RANDOM_BYTES: Final = 10
RUN_RANDOM_BYTES: Final = 10

_YEAR_2000_MS: Final = 946_684_800_000
_YEAR_2200_MS: Final = 7_258_118_400_000
_MADE_RUN_ID: Final = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
_SAFE_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MODEL_PREFIX: Final = "m-"
_WRITER_ID: Final = re.compile(r"[0-9a-f]{20}")
WINDOWS_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)

MAX_RUN_ID_CHARS: Final = 1024
"""Longer ids of runs and models are refused: no tracker makes them, and each log's header repeats the id."""


def encode_run_id(time_ms: int, random: bytes) -> str:
    """Return a new run id: a UUIDv7 in 32 lower-case hex digits (RFC 9562, section 5.7).

    Args:
        time_ms: Milliseconds since 1970, UTC.
        random: 10 random bytes.
    """
    number = time_ms << 80 | int.from_bytes(random, "big")
    number &= ~(0xF << 76) & ~(0x3 << 62)
    number |= 0x7 << 76 | 0x2 << 62
    return f"{number:032x}"


def parse_run_time_ms(run_id: str) -> int | None:
    """Return the time inside a run id that localtrack made, or None for an id from elsewhere."""
    if not _MADE_RUN_ID.fullmatch(run_id):
        return None
    time_ms = int(run_id[:12], 16)
    return time_ms if _YEAR_2000_MS <= time_ms < _YEAR_2200_MS else None


def encode_model_id(time_ms: int, random: bytes) -> str:
    """Return a new model id: `m-` and what a run id is made of. See `encode_run_id`."""
    return _MODEL_PREFIX + encode_run_id(time_ms, random)


def parse_model_time_ms(model_id: str) -> int | None:
    """Return the time inside a model id that localtrack made, or None for an id from elsewhere."""
    return parse_run_time_ms(model_id[len(_MODEL_PREFIX) :]) if model_id.startswith(_MODEL_PREFIX) else None


def is_safe_id(text: str) -> bool:
    """Return whether an id from elsewhere can be a file name on every system."""
    return bool(_SAFE_ID.fullmatch(text)) and text not in WINDOWS_DEVICES


def is_writer_id(text: str) -> bool:
    """Return whether `text` has the form of a writer id."""
    return bool(_WRITER_ID.fullmatch(text))


def encode_experiment_id(name: str, generation: int) -> str:
    """Return the id of the experiment that is made under `name`: the same on every machine.

    Args:
        name: The original name; normalised to NFC here.
        generation: 0 for the first experiment of that name, counted up when one was removed or renamed.
    """
    import hashlib

    text = f"{generation}:{unicodedata.normalize('NFC', name)}"
    return str(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))


def parse_experiment_id(experiment_id: object) -> str:
    """Return the id as text, or raise `InvalidInputError` if it can be no experiment's id."""
    text = str(experiment_id)
    if not is_safe_id(text):
        raise InvalidInputError(
            f"{text[:80]!r} is not an experiment id.",
            code=ErrorCode.INVALID_VALUE,
            hint="Give the digits that create_experiment returned, or use the experiment's name.",
        )
    return text


def parse_run_id(run_id: object) -> str:
    """Return the run id, or raise `InvalidInputError` if it can be no run's id."""
    if not isinstance(run_id, str) or not run_id or len(run_id) > MAX_RUN_ID_CHARS or not _is_utf8(run_id):
        raise InvalidInputError(
            f"{str(run_id)[:80]!r} is not a run id.", hint="A run id is a non-empty text, usually 32 hex digits."
        )
    return run_id


def parse_model_id(model_id: object) -> str:
    """Return the model id, or raise `InvalidInputError` if it can be no logged model's id."""
    if not isinstance(model_id, str) or not model_id or len(model_id) > MAX_RUN_ID_CHARS or not _is_utf8(model_id):
        raise InvalidInputError(
            f"{str(model_id)[:80]!r} is not a model id.", hint="A model id is a non-empty text such as m-0199…"
        )
    return model_id


def encode_job_run_id(experiment_id: str, job: str) -> str:
    """Return the run id that every start of one batch job in one experiment comes to."""
    import hashlib

    return hashlib.sha256(f"{experiment_id}\n{job}".encode()).hexdigest()[:32]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
