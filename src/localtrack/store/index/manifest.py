"""The manifest of an index: which segments count, and what they cover."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from localtrack.errors import DamagedIndexError
from localtrack.format.layout import COVERED_SUFFIX
from localtrack.store.index.directory import INDEX_VERSION, encode_sealed, parse_sealed

MANIFEST: str = "manifest.json"


class SegmentEntry(NamedTuple):
    """A segment that counts."""

    name: str
    rows_count: int
    bytes_count: int
    directory_crc: int
    dead: tuple[int, ...] = ()
    """Rows that later segments stand for, or whose run is gone."""


class InboxEntry(NamedTuple):
    """How far an inbox file is covered."""

    bytes_count: int
    is_done: bool
    """All of it, and nothing will follow: the file is being removed."""
    opened: dict[str, int]
    """How often each run was opened and not closed, up to there."""


@dataclass(slots=True)
class Manifest:
    """What an index is made of."""

    store_id: str
    token: str = ""
    """Of this index, until it is made anew; empty: there is none yet. A file of that name lies in the inbox: if it is
    gone, notices may be too."""
    segments: list[SegmentEntry] = field(default_factory=list)
    inbox: dict[str, InboxEntry] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)
    """Time of change of each folder of runs, in ms, when its names were read; 0 if they may have changed since."""
    watched: dict[str, bool] = field(default_factory=dict)
    """Folders of runs that were not settled, so that no segment has them as they are; whether a notice named them."""


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest."""
    return encode_sealed(
        {
            "index": INDEX_VERSION,
            "store": manifest.store_id,
            "token": manifest.token,
            "segments": [list(entry) for entry in manifest.segments],
            "inbox": {name: list(entry) for name, entry in manifest.inbox.items()},
            "days": manifest.days,
            "watched": manifest.watched,
        }
    )


def parse_manifest(data: bytes, *, store_id: str, where: str) -> Manifest | None:
    """Return a manifest; None if it is of another version or store, and so none of ours.

    Raises:
        DamagedIndexError: It is damaged.
    """
    try:
        document = parse_sealed(data)
        if document["index"] != INDEX_VERSION or document["store"] != store_id:
            return None
        return Manifest(
            store_id,
            document["token"],
            [SegmentEntry(name, rows, size, crc, tuple(dead)) for name, rows, size, crc, dead in document["segments"]],
            {name: InboxEntry(*entry) for name, entry in document["inbox"].items()},
            document["days"],
            document["watched"],
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedIndexError(f"{where} is damaged: {error}.", hint="It is made anew.") from error


def marker_name(token: str) -> str:
    """Return the name of the file in the inbox that shows that nobody emptied it."""
    return token + COVERED_SUFFIX
