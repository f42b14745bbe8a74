"""What a user writes to name a store, and what of it is no place for one."""

from __future__ import annotations

import traceback
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from localtrack.errors import ErrorCode, LocaltrackError, MissingPackageError
from localtrack.storage.credentials import keep_password, with_password
from localtrack.storage.local import LocalStorage
from localtrack.storage.objects import ObjectStorage
from localtrack.storage.opening import open_storage, parse_location


@pytest.mark.parametrize("text", ["{}", "file://{}", "file://localhost{}", "local://{}", "localtrack://{}"])
def test_a_folder_of_this_machine(text: str, tmp_path: Path) -> None:
    storage = open_storage(text.format(tmp_path / "x"))
    assert isinstance(storage, LocalStorage)
    assert storage.uri == parse_location(text.format(tmp_path / "x")) == str(tmp_path / "x")


def test_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_location("~/runs") == parse_location("localtrack://~/runs") == str(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert parse_location("localtrack://./~/runs") == str(tmp_path / "~" / "runs")


def test_memory_of_this_process() -> None:
    storage = open_storage("localtrack+memory://opening/x")
    assert isinstance(storage, ObjectStorage)
    assert storage.uri == parse_location("memory://opening/x/") == "memory://opening/x"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a place"),
        ("a\0b", "is not a place"),
        ("file://host/x", "names another host"),
        ("local://x/y", "names another host"),
        ("http://127.0.0.1:1/x", "names an MLflow server or database"),
        ("https://u:S3CR3T@h/x?sig=S3CR3T", "'https://u@h/x?sig=***' names an MLflow server"),
        ("mysql://u:S3CR3T@h/x", "names an MLflow server or database"),
        ("postgresql+psycopg2://u:S3CR3T@h/x", "has a protocol that fsspec does not know"),
        ("foo://u:S3CR3T@h/x", "'foo://u@h/x' has a protocol that fsspec does not know"),
        ("simplecache::s3://bucket/x", "is several URLs in a chain"),
        ("dir::file:///x", "is several URLs in a chain"),
        ("filecache::sftp://u:S3CR3T@h/x", "'filecache::sftp://u@h/x' is several URLs"),
        ("zip://a.zip", "nothing can be put under a name"),
        ("github://org:repo@/x", "nothing can be put under a name"),
        ("reference://x", "nothing can be put under a name"),
        ("s3:bucket", "is neither a path nor a URL"),
        ("s3://", "names no place"),
        ("gs://bucket/x?sig=S3CR3T", "has a key in its query"),
    ],
)
def test_no_place_for_a_store(text: str, says: str) -> None:
    for call in (open_storage, parse_location):
        with pytest.raises(LocaltrackError) as caught:
            call(text)
        assert caught.value.code is ErrorCode.INVALID_PATH
        assert says in caught.value.message
        assert "S3CR3T" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["sftp:///x", "dbfs://x/y", "smb:///x"])
def test_a_url_that_lacks_what_its_protocol_needs(text: str) -> None:
    with pytest.raises(LocaltrackError) as caught:
        open_storage(text)
    assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("text", ["box://x", "oss://u:S3CR3T@h/x"])
def test_a_protocol_whose_package_is_not_installed(text: str) -> None:
    with pytest.raises(MissingPackageError) as caught:
        open_storage(text)
    assert "S3CR3T" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sftp://u:S3CR3T@127.0.0.1:1/x",
        "ftp://u:S3CR3T@127.0.0.1:1/x",
        "smb://u:S3CR3T@127.0.0.1:1/share/x",
        "sftp://u:S3CR3T@h:port/x",
        # fsspec takes what stands before the slash for the port, and says so.
        "ftp://u:S3CR3T/2@127.0.0.1:1/x",
    ],
)
def test_no_failure_shows_a_password(text: str) -> None:
    with pytest.raises(LocaltrackError) as caught:
        open_storage(text)
    assert "S3CR3T" not in "".join(traceback.format_exception(caught.value))
    assert "u@" in str(caught.value)


def test_a_password_is_remembered_for_its_user_and_host_alone() -> None:
    assert keep_password("sftp://ada:S3CR3T@server:22/a/b") == "sftp://ada@server:22/a/b"
    assert with_password("sftp://ada@server:22/c") == "sftp://ada:S3CR3T@server:22/c"
    assert keep_password("sftp://ada@server:22/c") == "sftp://ada@server:22/c"
    for other in ("sftp://bob@server:22/c", "sftp://ada@server/c", "smb://ada@server:22/c", "/ada@server:22", "s3://b"):
        assert with_password(other) == other
    keep_password("sftp://ada:other@server:22")  # the last one counts
    assert with_password("sftp://ada@server:22") == "sftp://ada:other@server:22"


class Handing(MemoryFileSystem):
    """As webdav4's: what it does not know is an error of the client that it hands it to."""

    protocol = "handing"

    def __init__(self, **options: object) -> None:
        if "use_listings_cache" in options:
            raise TypeError("Client.__init__() got an unexpected keyword argument 'use_listings_cache'")
        super().__init__(**options)


class ListingItself(MemoryFileSystem):
    """As fsspec's for FTP: a file that is listed holds itself."""

    protocol = "ftp"

    def ls(self, path: str, detail: bool = True, **options: object) -> list[object]:
        found = super().ls(path, detail=True, **options)
        if found and found[0]["name"] == path:
            return [{**found[0], "name": f"{path}/{path.rpartition('/')[2]}"}]
        return found  # type: ignore[no-any-return]


def test_a_file_system_that_knows_no_cache_of_listings() -> None:
    fsspec.register_implementation("handing", Handing, clobber=True)
    storage = open_storage("handing://opening/y")
    storage.write("a", b"1")
    assert storage.read("a") == b"1"
    assert isinstance(storage, ObjectStorage)
    assert not storage._fs.dircache.use_listings_cache


def test_a_file_that_lists_itself_is_no_folder() -> None:
    storage = ObjectStorage(ListingItself(), "/itself", "ftp://h/itself")
    storage.write("d/same", b"1")
    storage.write("same/same", b"1")
    assert storage.entries("d/same") == []
    assert [entry.name for entry in storage.entries("d")] == ["same"]
    assert [entry.name for entry in storage.entries("same")] == ["same"]
