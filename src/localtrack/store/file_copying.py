"""Copies a file that is named by its content, if it is what its name says. FORMAT.md section 14."""

from __future__ import annotations

import hashlib
from typing import Final

from localtrack.storage.base import Storage
from localtrack.types import Finding

_COPY_BYTES: Final = 1024 * 1024


def copy_named_file(
    target: Storage, target_key: str, source: Storage, source_key: str, digest_wanted: str, findings: list[Finding]
) -> int | None:
    """Copy a file, over one of that name that was cut short.

    Args:
        target: Where to.
        target_key: Its key there.
        source: Where from.
        source_key: Its key there.
        digest_wanted: The first hex digits of its SHA-256, as its name has them.
        findings: Where to report that its content is another one.

    Returns:
        Its size in bytes; None if its content is not what its name says, and it was not copied.

    Raises:
        FileNotFoundError: It went away.

    Durability: durable on return.
    """
    size, digest = 0, hashlib.sha256()
    stream = target.write_stream(target_key.rpartition("/")[0])
    try:
        with source.open(source_key) as from_file:
            while block := from_file.read(_COPY_BYTES):
                digest.update(block)
                stream.sink.write(block)
                size += len(block)
        if not digest.hexdigest().startswith(digest_wanted):
            findings.append(Finding(source_key, "its content is not what its name says"))
            return None
        stream.commit(target_key)
    except FileNotFoundError:
        raise FileNotFoundError(source_key.rpartition("/")[2]) from None
    finally:
        stream.discard()
    return size
