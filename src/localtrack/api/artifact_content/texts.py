"""Texts and dicts as artifacts."""

from __future__ import annotations

import json
import os
from typing import Any

from localtrack.errors import InvalidInputError, MissingPackageError


def encode_text(text: str) -> bytes:
    """Return a text in UTF-8.

    Raises:
        InvalidInputError: It is no text, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"log_text needs a text, not {type(text).__name__}.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"The text holds a lone surrogate at position {error.start}.") from None


def encode_dict(dictionary: Any, artifact_file: str) -> bytes:
    """Return a dict or list as YAML if the name ends in `.yaml` or `.yml`, else as JSON, in MLflow's layout.

    In JSON, objects that it has no form for are written as their text.

    Raises:
        InvalidInputError: There is no such form of it (keys that are no texts or numbers, a circle), or PyYAML is
            missing.
    """
    if os.path.splitext(artifact_file)[1] in (".yml", ".yaml"):
        return _encode_yaml(dictionary)
    try:
        return json.dumps(dictionary, indent=2, default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{artifact_file!r} cannot be written as JSON: {error}.") from error


def _encode_yaml(dictionary: Any) -> bytes:
    try:
        import yaml  # type: ignore[import-untyped]  # ships no types
    except ImportError as error:
        raise MissingPackageError.of(
            "Writing YAML", "PyYAML", extra="mlruns", otherwise="give a name that ends in .json"
        ) from error
    try:
        text: str = yaml.dump(dictionary, indent=2, default_flow_style=False)
        return text.encode()
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"The dict cannot be written as YAML: {error}.") from error
