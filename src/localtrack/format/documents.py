"""The two documents that are not logs: the store's and an experiment's. FORMAT.md sections 4.1 and 9.1."""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple

from localtrack.errors import ErrorCode, FormatError
from localtrack.format.lines import FORMAT


class StoreDocument(NamedTuple):
    """What `localtrack.json` says."""

    store_id: str
    created_ms: int
    created_by: str


class ExperimentDocument(NamedTuple):
    """What `experiments/<id>.json` says: a function of name and generation, so everybody writes the same bytes."""

    experiment_id: str
    name: str
    generation: int = 0


def encode_store(document: StoreDocument) -> bytes:
    """Return the bytes of `localtrack.json`."""
    fields = {
        "format": FORMAT,
        "store": document.store_id,
        "created_ms": document.created_ms,
        "created_by": document.created_by,
    }
    return _encode({**fields, "crc": _crc(fields)})


def is_store_crc_sound(data: bytes) -> bool:
    """Return whether the checksum of a store's document fits it; True if it has none. The document has to be sound."""
    fields = json.loads(data)
    told = fields.pop("crc", None)
    return told is None or told == _crc(fields)


def parse_store(data: bytes, *, where: str) -> StoreDocument:
    """Return what `localtrack.json` says.

    Raises:
        FormatError: It is damaged, or of a newer format.
    """
    fields = _parse(data, where=where)
    try:
        store_id, created_ms = fields["store"], fields["created_ms"]
        if type(store_id) is not str or type(created_ms) is not int:
            raise TypeError("a field has another type than it should")
        return StoreDocument(store_id, created_ms, str(fields.get("created_by", "")))
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{where} is damaged: {error!r}.", hint="Restore it from a copy of the store.") from error


def encode_experiment(document: ExperimentDocument) -> bytes:
    """Return the bytes of `experiments/<id>.json`."""
    return _encode(
        {
            "format": FORMAT,
            "generation": document.generation,
            "id": document.experiment_id,
            "name": document.name,
        }
    )


def parse_experiment(data: bytes, *, where: str) -> ExperimentDocument:
    """Return what `experiments/<id>.json` says.

    Raises:
        FormatError: It is damaged, or of a newer format.
    """
    fields = _parse(data, where=where)
    try:
        experiment_id, name, generation = fields["id"], fields["name"], fields["generation"]
        if type(experiment_id) is not str or type(name) is not str or type(generation) is not int:
            raise TypeError("a field has another type than it should")
    except (KeyError, TypeError) as error:
        raise FormatError(f"{where} is damaged: {error!r}.") from error
    return ExperimentDocument(experiment_id, name, generation)


def _crc(fields: dict[str, Any]) -> str:
    return f"{zlib.crc32(_encode(fields)):08x}"


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _parse(data: bytes, *, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise FormatError(f"{where} is not JSON: {error}.", hint="Restore it from a copy of the store.") from error
    version = fields.get("format") if isinstance(fields, dict) else None
    if type(version) is not int:
        raise FormatError(f"{where} has no format number.", hint="Is this a localtrack store?")
    if version > FORMAT:
        raise FormatError(
            f"{where} has format {version}; this version of localtrack reads format {FORMAT}.",
            code=ErrorCode.NEWER_FORMAT,
            hint="Update localtrack: pip install -U localtrack.",
        )
    assert isinstance(fields, dict)
    return fields
