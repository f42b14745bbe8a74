"""What keys, values and paths may be: MLflow's rules, and what a file system can hold.

Source of the limits: `mlflow/utils/validation.py` of MLflow 3.17.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.ids import WINDOWS_DEVICES

MAX_KEY_CHARS: Final = 250
MAX_PARAM_VALUE_CHARS: Final = 6000
MAX_TAG_VALUE_CHARS: Final = 8000
MAX_EXPERIMENT_NAME_CHARS: Final = 500
MAX_EXPERIMENT_TAG_VALUE_CHARS: Final = 20000
MAX_PATH_PART_BYTES: Final = 255
"""Longest file name on the usual file systems (ext4, XFS, NTFS, APFS, NFS)."""
MIN_INT64: Final = -(2**63)
MAX_INT64: Final = 2**63 - 1

_MAX_KNOWN_KEYS_COUNT: Final = 20_000
_known_keys: set[str] = set()
"""Keys that were found good: a program logs the same few again and again."""

_KEY: Final = re.compile(r"[/\w.\- :]*")


def validate_key(key: object, kind: str) -> str:
    """Return a metric, param or tag key that MLflow would accept too, else raise.

    Args:
        key: The key.
        kind: What it is the key of, for the message.

    Raises:
        InvalidInputError: The key is no text, too long, holds other characters than letters, digits and `_ - . : /
            space`, or looks like a path
            that climbs (`..`), is absolute or has empty parts.
    """
    if type(key) is str and key in _known_keys:
        return key
    if not isinstance(key, str):
        raise _invalid_name(f"The key of a {kind} must be a text, not {_shown(key)}.")
    if len(key) > MAX_KEY_CHARS:
        raise _invalid_name(
            f"The {kind} key {_shown(key)} has {len(key)} characters; at most {MAX_KEY_CHARS} are allowed."
        )
    if not key or not _KEY.fullmatch(key):
        raise _invalid_name(f"{_shown(key)} is not a {kind} key: it may hold letters, digits, `_ - . : /` and spaces.")
    if posixpath.normpath(key) != key or key == "." or key.startswith(("/", "..")):
        raise _invalid_name(
            f"{_shown(key)} is not a {kind} key: it begins or ends with a slash, or has empty, '.' or '..' parts."
        )
    if len(_known_keys) >= _MAX_KNOWN_KEYS_COUNT:
        _known_keys.clear()
    _known_keys.add(key)
    return key


def validate_value(value: object, kind: str, key: str, max_chars: int, *, truncate: bool) -> str:
    """Return a param or tag value as text, cut to `max_chars` if `truncate`, else raise when longer."""
    text = value if type(value) is str else str(value)
    if len(text) > max_chars:
        if not truncate:
            raise InvalidInputError(
                f"The value of {kind} {key!r} has {len(text)} characters; at most {max_chars} are allowed.",
                hint="Log it as an artifact, for example with log_text.",
            )
        text = text[:max_chars]
    if not text.isascii():
        _require_utf8(text, f"The value of {kind} {key!r}")
    return text


def validate_experiment_name(name: object) -> str:
    """Return an experiment name in NFC, else raise. Workspace paths such as `/Shared/team/churn` are names too."""
    if not isinstance(name, str) or not name.strip():
        raise _invalid_name(f"An experiment name must be a non-empty text, not {_shown(name)}.")
    _require_utf8(name, "The experiment name")
    name = unicodedata.normalize("NFC", name)
    if len(name) > MAX_EXPERIMENT_NAME_CHARS:
        raise _invalid_name(
            f"The experiment name {_shown(name)} has {len(name)} characters; "
            f"at most {MAX_EXPERIMENT_NAME_CHARS} are allowed."
        )
    if "\0" in name:
        raise _invalid_name(f"The experiment name {_shown(name)} holds a NUL character.")
    return name


def validate_artifact_path(path: object, *, what: str = "artifact path") -> str:
    """Return a path relative to a run's artifact folder that means one file on every system, else raise."""
    if not isinstance(path, str):
        raise _invalid_path(path, f"an {what} must be a text")
    if not path:
        raise _invalid_path(path, f"an {what} must not be empty")
    if len(path) > 4 * MAX_PATH_PART_BYTES:
        raise _invalid_path(path, "it is longer than 1020 characters")
    for part in path.split("/"):
        problem = _path_part_problem(part)
        if problem:
            raise _invalid_path(path, problem)
    return path


def _path_part_problem(part: str) -> str | None:
    if part == "":
        return "it is absolute or has an empty part"
    if part in (".", ".."):
        return f"it holds the part {part!r}"
    if any(c < " " or c in "\\:\x7f" for c in part):
        return "it holds a control character, a backslash or a colon"
    if part[-1] in ". ":
        return f"its part {part!r} ends in a dot or a space, which Windows drops"
    if part.split(".")[0].rstrip(" ").lower() in WINDOWS_DEVICES:
        return f"its part {part!r} is the name of a device on Windows"
    if part.startswith(".tmp-"):
        return "names that begin with '.tmp-' are kept for unfinished files"
    try:
        encoded = part.encode()
    except UnicodeEncodeError:
        return "it holds a lone surrogate"
    return f"its part {part[:30]!r}… is longer than 255 bytes" if len(encoded) > MAX_PATH_PART_BYTES else None


def _require_utf8(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{what} holds a lone surrogate at position {error.start}, which is no text.") from None


def _invalid_name(message: str) -> InvalidInputError:
    return InvalidInputError(message, code=ErrorCode.INVALID_NAME)


def _invalid_path(path: object, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"{_shown(path)} is not an artifact path: {problem}.",
        code=ErrorCode.INVALID_PATH,
        hint="Give a path relative to the run's artifact folder, with forward slashes.",
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
