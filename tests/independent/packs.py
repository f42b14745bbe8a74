"""Packs (18): the files in them, put where they lay."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.independent.words import Finding

PACK_NAME = re.compile(r"([0-9a-f]{64})\.zip")
MEMBER = re.compile(r"runs/[0-9x][0-9a-f-]{1,9}/[a-z0-9~][a-z0-9_-]{0,63}/[0-9a-f]{20}\.[0-9a-z.-]*(?:jsonl|parquet)")


@contextmanager
def unpacked(store: Path, findings: list[Finding]) -> Iterator[Path]:
    """Give the store itself if it has no packs, else a copy of it without any, in which every file lies loose."""
    packs = [path for path in sorted((store / "packs").glob("*")) if not path.name.startswith(".tmp-")]
    if not packs:
        yield store
        return
    with TemporaryDirectory(prefix="unpacked-") as folder:
        copy = Path(folder) / "store"
        shutil.copytree(store, copy, symlinks=True, ignore=shutil.ignore_patterns("packs", "locks"))
        for path in packs:
            _unpack(path, copy, findings)
        yield copy


def _unpack(path: Path, copy: Path, findings: list[Finding]) -> None:
    key = f"packs/{path.name}"
    match = PACK_NAME.fullmatch(path.name)
    if match is None:
        findings.append(Finding(key, "other"))
        return
    if hashlib.sha256(path.read_bytes()).hexdigest() != match[1]:
        findings.append(Finding(key, "pack"))
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:  # its directory, at the end, is cut off or damaged: nobody knows what it holds
        return
    with archive:
        names = archive.namelist()
        assert names == sorted(set(names)), "members are in order, each once"
        for info in archive.infolist():
            assert MEMBER.fullmatch(info.filename), info.filename
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            assert not info.flag_bits & 8, "sizes stand in the local header"
            int(info.comment)
            data, target = archive.read(info), copy / info.filename
            if not target.exists() or target.stat().st_size < len(data):  # 12.2
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
