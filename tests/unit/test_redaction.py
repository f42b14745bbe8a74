"""No password of a command line or a URL gets into a tag, and what is none stays readable."""

from __future__ import annotations

import pytest

from localtrack.redaction import is_secret_name, mask_url, redact_command, without_credentials

PYTHON = ["python", "train.py"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--token", "S3CR3T"],
        ["--token=S3CR3T"],
        ["--hf-token", "S3CR3T"],
        ["--api-key", "S3CR3T"],
        ["--api_key=S3CR3T"],
        ["--apiKey", "S3CR3T"],
        ["--APIKEY=S3CR3T"],
        ["--db.password", "S3CR3T"],
        ["--password", "-S3CR3T"],
        ["--password", "S3CR3T", "more"],
        ["-password", "S3CR3T"],
        ["+model.hfToken=S3CR3T"],
        ["DB_PASSWORD=S3CR3T"],
        ["--aws-secret-access-key", "S3CR3T"],
        ["--auth", "me:S3CR3T"],
        ["--header", "Authorization: Bearer S3CR3T"],
        ["--header=X-Api-Key: S3CR3T"],
        ["--connection-string=Server=x;Pwd=S3CR3T"],
        ["--db", "postgresql://me:S3CR3T@host/db"],
        ["--db=postgresql://me:S3CR3T@host/db"],
        ["--db=postgresql://me:S3/CR@S3CR3T@host/db"],
        ["--db=postgresql://me:x?S3CR3T@host/db"],
        ["--db=postgresql://me:S3CR3T"],
        ["a://u:S3CR3T@h,b://v:S3CR3T@h"],
        ["https://host/x?sig=S3CR3T&y=1"],
        ["https://host/x?y=1&access_token=S3CR3T"],
        ["ghp_S3CR3T0123456789abcdef"],
        ["--key", "hf_S3CR3T0123456789abcdef"],
        ["--key=AKIAS3CR3T0123456789"],
    ],
)
def test_a_secret_is_left_out(arguments: list[str]) -> None:
    shown = redact_command([*PYTHON, *arguments])
    assert "S3CR3T" not in " ".join(shown)
    assert shown[:2] == PYTHON
    assert len(shown) == 2 + len(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lr", "0.1", "--epochs=3", "data/x.csv", "-v"],
        ["--tokenizer", "bert"],
        ["--max-tokens", "512"],
        ["--max-token", "512", "--pad_token=0"],
        ["--eos-token", "</s>"],
        ["--key", "loss", "--monitor=val/loss"],
        ["--use-auth-token", "--lr", "0.1"],
        ["--author", "me", "--passes", "3", "--compass", "n"],
        ["s3://bucket/a@b/c"],
        ["https://host:8080/x?y=1#z"],
        ["-c", "config.yaml"],
        ["sk-learn-random-forest-baseline"],
        ["https://[::1]:80/x"],
        ["", "=", "a=", "--", "-"],
    ],
)
def test_what_is_no_secret_stays(arguments: list[str]) -> None:
    assert redact_command([*PYTHON, *arguments]) == [*PYTHON, *arguments]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python", "-c", "code"], ["python", "-c", "..."]),
        (["python", "-ISc", "code", "x"], ["python", "-ISc", "...", "x"]),
        (["python", "-ccode", "x"], ["python", "...", "x"]),
        (["python", "-X", "dev", "-c", "code"], ["python", "-X", "dev", "-c", "..."]),
        (["python", "-Xdev", "-c", "code"], ["python", "-Xdev", "-c", "..."]),
        (["python", "-m", "pkg", "-c", "x.yaml"], ["python", "-m", "pkg", "-c", "x.yaml"]),
        (["python", "-W", "ignore", "t.py", "-c", "x"], ["python", "-W", "ignore", "t.py", "-c", "x"]),
        (["python", "--check-hash-based-pycs", "always", "-c", "code"], None),
        (["python", "-c"], ["python", "-c"]),
        (["python"], ["python"]),
        ([], []),
    ],
)
def test_code_on_the_command_line_is_left_out(arguments: list[str], expected: list[str] | None) -> None:
    shown = redact_command(arguments)
    assert "code" not in shown
    assert expected is None or shown == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://me:tok@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://tok@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://me:p@ss@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://me:pa/ss@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://github.com/o/r.git?private_token=tok#x", "https://github.com/o/r.git"),
        ("https://host:8443/o/r", "https://host:8443/o/r"),
        ("ssh://git@host:22/o/r", "ssh://host:22/o/r"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("me:tok@host:o/r.git", "host:o/r.git"),
        ("/srv/git/r@2.git", "/srv/git/r@2.git"),
        ("C:\\git\\r@2", "C:\\git\\r@2"),
        ("file:///srv/r", "file:///srv/r"),
        ("codecommit::eu-west-1://me:tok@r", "codecommit::eu-west-1://r"),
        ("ext::sh -c tok", None),
    ],
)
def test_a_remote_is_shown_without_credentials(url: str, expected: str | None) -> None:
    assert without_credentials(url) == expected


def test_names_of_secrets() -> None:
    assert is_secret_name("MY_SERVICE_TOKEN")
    assert not is_secret_name("")
    assert not is_secret_name("--")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://ada:S3CR3T@host:22/a/b", "sftp://ada@host:22/a/b"),
        ("sftp://:S3CR3T@host/a", "sftp://host/a"),
        ("smb://group;ada:S3@CR3T@host/share", "smb://group;ada@host/share"),
        ("sftp://ada:S3/CR3T@host/a", "sftp://ada@host/a"),
        ("sftp://ada:S3CR3T", "sftp://ada@***"),
        ("a::sftp://ada:S3CR3T@host/a", "a::sftp://ada@host/a"),
        ("https://host/a?x=1&sig=S3CR3T", "https://host/a?x=1&sig=***"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("sftp://[::1]:22/a", "sftp://[::1]:22/a"),
        ("/a:b@c/d", "/a:b@c/d"),
        ("C:/a", "C:/a"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown
