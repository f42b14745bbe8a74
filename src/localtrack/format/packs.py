"""Many small files of finished runs in one ZIP file, byte for byte. FORMAT.md section 19."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from localtrack.errors import FormatError
from localtrack.format.layout import RUNS, is_day_folder, parse_run_file

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every member: a pack is a function of what it holds. The true one is in the member's comment."""


class PackMember(NamedTuple):
    """One file in a pack."""

    key: str
    """Where it lay: `runs/<day>/<run id>/<file>`."""
    offset: int
    """Of its local header."""
    stored_bytes: int
    size: int
    crc: int
    is_deflated: bool
    mtime_ms: int
    """Last change of the file, milliseconds since 1970, UTC; 0 where it is not known."""

    @property
    def folder(self) -> str:
        """The run folder."""
        return self.key.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The file's name in the run folder."""
        return self.key.rpartition("/")[2]


def read_members(file: BinaryIO) -> list[PackMember]:
    """Return what a pack holds, from its directory, without reading the files.

    Raises:
        FormatError: It has no sound directory, or holds what no pack holds.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return [_member(info) for info in archive.infolist()]
    except (zipfile.BadZipFile, RuntimeError, ValueError, struct.error, UnicodeError, EOFError) as error:
        raise FormatError(f"The pack has no sound directory: {error}.") from error


def _member(info: zipfile.ZipInfo) -> PackMember:
    key = info.filename
    if not is_member_key(key):
        raise ValueError(f"{key[:100]!r} is no file of a run folder")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{key!r} is compressed in a way that packs do not use")
    mtime = info.comment.decode("ascii", "replace")
    return PackMember(
        key,
        info.header_offset,
        info.compress_size,
        info.file_size,
        info.CRC,
        info.compress_type == zipfile.ZIP_DEFLATED,
        int(mtime) if mtime.isascii() and mtime.isdigit() else 0,
    )


def is_member_key(key: str) -> bool:
    """Return whether a key can be that of a member: a log, chunk or segment in a run folder, nothing that climbs."""
    parts = key.split("/")
    return (
        len(parts) == 4
        and parts[0] == RUNS
        and is_day_folder(parts[1])
        and bool(re.fullmatch(r"[a-z0-9~][a-z0-9_-]{0,63}", parts[2]))
        and (file := parse_run_file(parts[3])) is not None
        and file.part is None
    )


def read_member(file: BinaryIO, member: PackMember) -> tuple[bytes, bool]:
    """Return the bytes of one file in a pack, as far as they can be read, and whether they are what was packed."""
    if member.offset < 0:  # what a damaged directory comes to
        return b"", False
    file.seek(member.offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_MAGIC):
        return b"", False
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    file.seek(member.offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)
    data = _inflate(file.read(member.stored_bytes), is_deflated=member.is_deflated)
    return data, len(data) == member.size and zlib.crc32(data) == member.crc


def _inflate(data: bytes, *, is_deflated: bool) -> bytes:
    if not is_deflated:
        return data
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    try:
        for begin in range(0, len(data), 4096):
            parts.append(stream.decompress(data[begin : begin + 4096]))
    except zlib.error:
        pass  # what stands before the damage is an answer
    return b"".join(parts)


def iter_salvaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes of the files in a damaged pack that can be found in it, as far as they can be read."""
    at = data.find(_LOCAL_MAGIC)
    while at >= 0:
        header = data[at : at + _LOCAL_HEADER.size]
        if len(header) == _LOCAL_HEADER.size:
            fields = _LOCAL_HEADER.unpack(header)
            stored_bytes, name_bytes, extra_bytes = fields[7], fields[9], fields[10]
            begin = at + _LOCAL_HEADER.size
            key = data[begin : begin + name_bytes].decode("utf-8", "replace")
            begin += name_bytes + extra_bytes
            if is_member_key(key):
                yield key, _inflate(data[begin : begin + stored_bytes], is_deflated=fields[3] == zipfile.ZIP_DEFLATED)
                at = begin
        at = data.find(_LOCAL_MAGIC, at + 4)


def write_pack(sink: BinaryIO, files: Iterable[tuple[str, bytes, int]]) -> None:
    """Write a pack.

    Args:
        sink: Where to.
        files: Key, bytes and time of last change in ms of each file, by key.
    """
    with zipfile.ZipFile(sink, "w", allowZip64=False) as archive:
        for key, data, mtime_ms in files:
            info = zipfile.ZipInfo(key, _EPOCH)
            info.create_system = 3  # the same bytes on every system
            info.external_attr = 0o644 << 16
            info.comment = str(mtime_ms).encode()
            # Segments are compressed already; small logs shrink to a third.
            info.compress_type = zipfile.ZIP_STORED if key.endswith(".parquet") else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
