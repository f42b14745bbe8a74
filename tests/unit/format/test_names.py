"""Names and values: what MLflow accepts is accepted, what a file system or another machine cannot hold is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.names import (
    MAX_EXPERIMENT_NAME_CHARS,
    MAX_KEY_CHARS,
    validate_artifact_path,
    validate_experiment_name,
    validate_key,
    validate_value,
)

GOOD_PATHS = [
    "a",
    "a.txt",
    "a/b/c.txt",
    "two words.txt",
    "👩‍🚀/🚀.png",
    "Ünï/ß/文件.txt",
    "..a",
    "a..b",
    "...x",
    ".hidden",
    ".tmp",
    "-rf",
    "~",
    "~root",
    "$HOME",
    "`x`;rm",
    "con1",
    "console.log",
    "xcon",
    "lpt",
    "com",
    "com10",
    "quo\"te's",
    "%2e%2e",
    "a?b*c",
    "é",
    "e\u0301",
    "x" * 255,
    "é" * 127,
]
BAD_PATHS = {
    "": "empty",
    "/": "absolute",
    "/etc/passwd": "absolute",
    "//host/share": "absolute",
    "a//b": "empty part",
    "a/": "empty part",
    ".": "part",
    "./a": "part",
    "a/./b": "part",
    "..": "part",
    "../a": "part",
    "a/..": "part",
    "a/../../b": "part",
    "a\\b": "backslash",
    "..\\a": "backslash",
    "C:\\a": "backslash",
    "C:a": "colon",
    "a:stream": "colon",
    "file:///etc/passwd": "colon",
    "a\0b": "control",
    "a\nb": "control",
    "\x1b[2J": "control",
    "a\x7f": "control",
    "a.": "dot or a space",
    "a ": "dot or a space",
    "...": "dot or a space",
    " ": "dot or a space",
    "a /b": "dot or a space",
    "con": "device",
    "CON": "device",
    "Nul.txt": "device",
    "nul .txt": "device",
    "a/aux/b": "device",
    "aux.tar.gz": "device",
    "COM1": "device",
    "lpt9.log": "device",
    ".tmp-0123": "unfinished",
    "a/.tmp-x/b": "unfinished",
    "a\ud800": "surrogate",
    "x" * 256: "255 bytes",
    "é" * 128: "255 bytes",
    "a/" * 600 + "b": "1020 characters",
}


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_an_artifact_path_is_kept_as_it_is(path: str) -> None:
    assert validate_artifact_path(path) == path


@pytest.mark.parametrize(("path", "reason"), BAD_PATHS.items(), ids=[ascii(path[:20]) for path in BAD_PATHS])
def test_an_artifact_path_is_refused_in_one_sentence_that_says_why(path: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        validate_artifact_path(path)
    assert caught.value.code is ErrorCode.INVALID_PATH
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    caught.value.message.encode()  # can be printed


@pytest.mark.parametrize("path", [None, 1, b"a", ["a"]])
def test_what_is_no_text_is_no_artifact_path(path: object) -> None:
    with pytest.raises(InvalidInputError, match="must be a text"):
        validate_artifact_path(path)


@given(st.text(max_size=40))
def test_an_accepted_artifact_path_stays_in_its_folder_and_has_one_spelling(path: str) -> None:
    try:
        validate_artifact_path(path)
    except InvalidInputError:
        return
    parts = path.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert not any(c in path for c in "\\:\0\n\r\x7f")
    assert all(len(part.encode()) <= 255 and part == part.rstrip(". ") for part in parts)


@pytest.mark.parametrize("key", ["loss", "val/loss", "a b", "a:b", "ä-1._", "系/数", "x" * MAX_KEY_CHARS])
def test_a_key_is_kept(key: str) -> None:
    assert validate_key(key, "metric") == key


@pytest.mark.parametrize(
    "key",
    [
        "", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "../a", "a\n", "a\nb", "a\0", "a,b", 'a"b', "a#b", "🚀",
        "a\ud800", "a\\b", "x" * (MAX_KEY_CHARS + 1), None, 1, b"a",
    ],
)  # fmt: skip
def test_a_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidInputError, match="metric") as caught:
        validate_key(key, "metric")
    assert caught.value.code is ErrorCode.INVALID_NAME
    caught.value.message.encode()


@pytest.mark.parametrize(
    "name", ["churn", "/Shared/team/churn", "quo\"te's", "two\nlines", "🚀", " x ", "a/../b", "x" * 500, "-- ;DROP"]
)
def test_an_experiment_name_is_kept(name: str) -> None:
    assert validate_experiment_name(name) == name


def test_an_experiment_name_is_one_whatever_its_normal_form() -> None:
    composed = "Café"
    assert validate_experiment_name(unicodedata.normalize("NFD", composed)) == composed


@pytest.mark.parametrize("name", ["", " ", "\n", "a\0b", "a\ud800", "x" * (MAX_EXPERIMENT_NAME_CHARS + 1), None, 0])
def test_an_experiment_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidInputError):
        validate_experiment_name(name)


def test_a_value_is_cut_or_refused_at_its_limit() -> None:
    assert validate_value("x" * 10, "tag", "k", 10, truncate=False) == "x" * 10
    assert validate_value("x" * 11, "tag", "k", 10, truncate=True) == "x" * 10
    with pytest.raises(InvalidInputError, match="11 characters"):
        validate_value("x" * 11, "tag", "k", 10, truncate=False)


def test_a_value_becomes_text() -> None:
    assert [validate_value(v, "param", "k", 100, truncate=True) for v in (1, 1.5, True, None, [1])] == [
        "1", "1.5", "True", "None", "[1]",
    ]  # fmt: skip


def test_a_value_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="position 1"):
        validate_value("a\udcff", "param", "k", 100, truncate=True)
