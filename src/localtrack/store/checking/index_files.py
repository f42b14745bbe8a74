"""Looks at the search index, which is a cache: damage of it changes no answer, and is a piece of information."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from typing import Final

from localtrack.errors import DamagedIndexError
from localtrack.format.index_rows import unpack_row
from localtrack.format.layout import INDEX
from localtrack.storage.base import Storage
from localtrack.store.checking.report import Findings
from localtrack.store.index.directory import BLOCK_ROWS, Directory, Span, file_names, parse_directory
from localtrack.store.index.manifest import MANIFEST, SegmentEntry, parse_manifest

_MANIFEST_KEY: Final = f"{INDEX}/{MANIFEST}"
_MAGIC: Final = b"PAR1"
_REMEDY: Final = (
    "Searches do without it and make it anew; `localtrack check --repair` sets the file aside, so that they do so now."
)


def check_index(storage: Storage, findings: Findings, *, store_id: str) -> None:
    """Look at every file of the index that its manifest names."""
    data = _read(storage, _MANIFEST_KEY)
    if data is None:
        return  # there is none
    try:
        manifest = parse_manifest(data, store_id=store_id, where=_MANIFEST_KEY)
    except DamagedIndexError:
        _note(findings, _MANIFEST_KEY, "it is damaged")
        return
    for entry in manifest.segments if manifest is not None else ():
        mine = Findings()
        _check_segment(storage, entry, mine)
        if _read(storage, _MANIFEST_KEY) != data:
            return  # somebody compacts: what was missing may have been removed
        for finding in mine.merged():
            findings.add(finding.key, finding.what, "M5", severity="info", remedy=_REMEDY, is_repairable=True)


def _check_segment(storage: Storage, entry: SegmentEntry, findings: Findings) -> None:
    keys = {kind: f"{INDEX}/{name}" for kind, name in file_names(entry.name).items()}
    directory = _read(storage, keys["directory"])
    if directory is None or zlib.crc32(directory) != entry.directory_crc:
        _note(findings, keys["directory"], "it is missing" if directory is None else "it is damaged")
        return
    content = parse_directory(directory)
    for kind, table in content.tables.items():
        spans = [table.footer, *(group.span for group in table.groups)]
        _check_spans(storage, keys[kind], spans, findings, bytes_count=table.bytes_count)
    rows = _check_spans(storage, keys["rows"], content.spans.values(), findings)
    if keys["rows"] not in findings and not _can_read_rows(rows, content):
        _note(findings, keys["rows"], "it is damaged")


def _check_spans(
    storage: Storage, key: str, spans: Iterable[Span], findings: Findings, *, bytes_count: int | None = None
) -> bytes:
    data = _read(storage, key)
    if data is None:
        _note(findings, key, "it is missing")
    elif (bytes_count is not None and (len(data) != bytes_count or {data[:4], data[-4:]} != {_MAGIC})) or any(
        zlib.crc32(data[span.offset : span.offset + span.size]) != span.crc for span in spans
    ):
        _note(findings, key, "it is damaged")
    return data or b""


def _can_read_rows(rows: bytes, directory: Directory) -> bool:
    """Return whether each whole row is what was written: it has a checksum of its own."""
    parts = {name: rows[span.offset : span.offset + span.size] for name, span in directory.spans.items()}
    blocks = array("Q", parts["blocks"])
    dictionary, offset = parts.get("dictionary", b""), 0
    for number, length in enumerate(array("I", parts["lengths"])[: directory.rows_count]):
        if number % BLOCK_ROWS == 0:
            offset = blocks[number // BLOCK_ROWS]
        try:
            unpack_row(rows[offset : offset + length], dictionary)
        except ValueError:
            return False
        offset += length
    return True


def _note(findings: Findings, key: str, what: str) -> None:
    what = f"{what}; it belongs to the search index"
    findings.add(key, what, "M5", severity="info", remedy=_REMEDY, is_repairable=True)


def _read(storage: Storage, key: str) -> bytes | None:
    try:
        return storage.read(key)
    except FileNotFoundError:
        return None
