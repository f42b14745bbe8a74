"""Artifacts straight to the storages that targets name: one code for all that fsspec reaches.

Against S3 where CI runs; against Cloud Storage and Azure's emulator, too, with --long or TEST_OBJECT_STORES=all.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec.config
import pytest

from localtrack.errors import StorageError, SyncError
from localtrack.sync.artifact_places import FilesPlace, LocalFile, open_place
from localtrack.sync.http import Connection, Http
from tests.object_servers import ObjectServer, serving


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "running" in metafunc.fixturenames:
        is_wide = metafunc.config.getoption("long") or os.environ.get("TEST_OBJECT_STORES") == "all"
        kinds = ("s3", "gs", "abfs") if is_wide else ("s3",)
        metafunc.parametrize("running", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[ObjectServer]:
    with serving(request.param) as server:
        yield server


@pytest.fixture
def server(running: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The server, and the environment that leads its client there."""
    running.be_well()
    for name, value in running.environ().items():
        monkeypatch.setenv(name, value)
    # fsspec reads its part of the environment once, when it is imported.
    settings: dict[str, dict[str, object]] = {}
    fsspec.config.set_conf_env(settings, running.environ())
    for protocol, options in settings.items():
        monkeypatch.setitem(fsspec.config.conf, protocol, options)
    return running


def file_of(path: str, content: bytes) -> LocalFile:
    return LocalFile(path, len(content), lambda: io.BytesIO(content))


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does
def test_files_arrive_whole_and_again_over_themselves(server: ObjectServer) -> None:
    http = Http(Connection("http://server.example"))
    place = open_place(http, server.new_place() + "/0/run/artifacts", base_url="http://server.example")
    assert isinstance(place, FilesPlace)
    large = os.urandom(1 << 20) * 12
    files = {"a.txt": b"first", "deep/er/näme & more.bin": large, "empty": b""}
    for content in (b"first", b"second"):
        for path, bytes_ in {**files, "a.txt": content}.items():
            place.put(file_of(path, bytes_))
            assert b"".join(place.read(path)) == bytes_
    http.close()


def test_a_storage_that_fails_is_told_of_and_nothing_signed_is_shown(server: ObjectServer) -> None:
    place = FilesPlace(server.new_place() + "/0/run/artifacts")
    server.fault = lambda kind, path: "500"
    with pytest.raises(SyncError, match="on the target's storage failed") as failed:
        place.put(file_of("a.txt", b"x"))
    assert "?" not in str(failed.value).replace("?…", "")


def test_a_folder_of_this_machine(tmp_path: Path) -> None:
    """Where a server on the loopback keeps artifacts without serving them."""
    http = Http(Connection("http://127.0.0.1:5000"))
    for uri in (str(tmp_path / "plain"), (tmp_path / "as a URI").as_uri()):
        place = open_place(http, uri, base_url="http://127.0.0.1:5000")
        place.put(file_of("deep/näme.txt", b"x"))
        assert b"".join(place.read("deep/näme.txt")) == b"x"
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.txt")) == [
        "as a URI/deep/näme.txt",
        "plain/deep/näme.txt",
    ]
    http.close()


def test_a_place_that_cannot_be_reached_is_named() -> None:
    http = Http(Connection("http://server.example"))
    for uri, words in (
        ("/srv/artifacts", "a folder of its own machine, /srv/artifacts"),
        ("file:///srv/artifacts", "a folder of its own machine, /srv/artifacts"),
        ("mlflow-artifacts://other.example/x", "served by another host, other.example"),
        ("dbfs:/elsewhere", "cannot be written"),
    ):
        with pytest.raises(SyncError, match=words):
            open_place(http, uri, base_url="http://server.example")
    with pytest.raises(StorageError, match="nobody://x/y cannot be opened"):
        open_place(http, "nobody://x/y", base_url="http://server.example")
    http.close()
