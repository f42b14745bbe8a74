"""`localtrack doctor` says of a place what is so."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from localtrack.errors import StorageError
from localtrack.storage import doctor
from localtrack.storage.doctor import Peer, diagnose
from localtrack.storage.local import LocalStorage
from localtrack.storage.objects import ObjectStorage


def test_a_local_folder_is_safe(tmp_path: Path) -> None:
    diagnosis = diagnose(LocalStorage(str(tmp_path / "new")))
    assert diagnosis.is_safe
    verdicts = {check.name: check.verdict for check in diagnosis.checks}
    assert {name for name, verdict in verdicts.items() if verdict != "ok"} <= {"permissions", "hard links"}
    assert len(verdicts) == 8
    assert list((tmp_path / "new").iterdir()) == []


def test_memory_is_of_one_process() -> None:
    diagnosis = diagnose(ObjectStorage.at("memory://doctor"))
    assert [check.name for check in diagnosis.checks] == ["memory"]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        diagnose(LocalStorage(str(tmp_path / "file")))


class TornStorage(LocalStorage):
    """Replaces a file in two steps."""

    def write(self, key: str, data: bytes) -> None:
        if key.endswith("/replaced"):
            Path(self.path(key)).write_bytes(data[: len(data) // 2])
            with open(self.path(key), "ab") as file:
                file.write(data[len(data) // 2 :])
        else:
            super().write(key, data)


class GreedyStorage(LocalStorage):
    """Believes that each exclusive creation was its own."""

    def write_new(self, key: str, data: bytes) -> bool:
        super().write_new(key, data)
        return True


class LateStorage(LocalStorage):
    """Its appended bytes go elsewhere."""

    def create_log(self, key: str, *args: Any, **named: Any) -> Any:
        return super().create_log(f"{key}.elsewhere", *args, **named)


class SlowClockStorage(LocalStorage):
    """A server whose clock is an hour behind."""

    def entries(self, key: str) -> Any:
        return [entry._replace(mtime_ms=entry.mtime_ms - 3_600_000) for entry in super().entries(key)]


class KeepingStorage(LocalStorage):
    """What was written cannot be removed."""

    def remove(self, key: str) -> None:
        if key.endswith("/clock"):
            raise StorageError("Input/output error.")
        super().remove(key)


class HastyStorage(LocalStorage):
    """A file is missing for a moment while it is replaced."""

    def write(self, key: str, data: bytes) -> None:
        self.remove(key)
        super().write(key, data)


@pytest.mark.parametrize(
    ("kind", "name", "verdict"),
    [
        (TornStorage, "rename", "bad"),
        (HastyStorage, "rename", "note"),
        (GreedyStorage, "exclusive create", "bad"),
        (LateStorage, "append", "bad"),
        (SlowClockStorage, "clock", "note"),
        (KeepingStorage, "removal", "bad"),
    ],
)
def test_what_a_place_does_wrong_is_said(
    tmp_path: Path, kind: type[LocalStorage], name: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "VISIBLE_PATIENCE_S", 0.2)
    diagnosis = diagnose(kind(str(tmp_path)))
    check = next(check for check in diagnosis.checks if check.name == name)
    assert check.verdict == verdict
    assert diagnosis.is_safe == (verdict != "bad")


def test_a_place_that_fails_while_it_is_tested_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As smbnetfs does: from the first refusal on, whatever is asked is an input/output error."""
    real = os.stat

    def failing(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith(str(tmp_path)):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, **options)

    place = LocalStorage(str(tmp_path))
    place.must_be_there = False
    monkeypatch.setattr(os, "stat", failing)
    diagnosis = diagnose(place)
    bad = {check.name: check.text for check in diagnosis.checks if check.verdict == "bad"}
    assert bad.keys() == {"permissions"}
    assert "Input/output error" in bad["permissions"]


def test_a_second_process_that_dies_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Peer.ask

    def kill_first(self: Peer, **question: Any) -> Any:
        self._process.kill()
        self._process.wait()
        monkeypatch.setattr(Peer, "ask", asked)
        return asked(self, **question)

    monkeypatch.setattr(Peer, "ask", kill_first)
    diagnosis = diagnose(LocalStorage(str(tmp_path)))
    assert not diagnosis.is_safe
    assert os.listdir(tmp_path) == []
