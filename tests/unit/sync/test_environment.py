"""Which credentials count, as MLflow has it, and that none of them shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.errors import InvalidInputError
from localtrack.sync.environment import tracking_credentials
from localtrack.sync.target import resolve_target, target_kind

NAMES = ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH", "AWS_SIGV4", "AUTH")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in NAMES:
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    return tmp_path


def test_a_user_name_and_password_win_over_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t-secret")
    assert tracking_credentials().token == "t-secret"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p-secret")
    found = tracking_credentials()
    assert (found.username, found.password, found.token) == ("ada", "p-secret", "")
    assert "secret" not in repr(found)
    assert "secret" not in repr(resolve_target("http://127.0.0.1:5000"))


def test_the_credentials_file_counts_where_variables_say_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".mlflow").mkdir()
    text = "[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = f-secret\n"
    (home / ".mlflow" / "credentials").write_text(text)
    found = tracking_credentials()
    assert (found.username, found.password, found.source) == ("bob", "f-secret", "~/.mlflow/credentials")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p-secret")
    assert tracking_credentials().username == "ada"


def test_a_damaged_credentials_file_is_told_without_its_lines(home: Path) -> None:
    (home / ".mlflow").mkdir()
    (home / ".mlflow" / "credentials").write_text("f-secret without a section\n")
    with pytest.raises(InvalidInputError) as caught:
        tracking_credentials()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"INSECURE_TLS": "true", "SERVER_CERT_PATH": "/x"}, "both set"),
        ({"AWS_SIGV4": "true"}, "cannot do"),
        ({"AUTH": "plugin"}, "cannot do"),
    ],
)
def test_what_contradicts_or_is_not_supported_is_refused(
    settings: dict[str, str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with pytest.raises(InvalidInputError, match=what):
        resolve_target("https://mlflow.example.com")


def test_the_host_names_the_ledger_however_it_is_written() -> None:
    one, other = resolve_target("http://Ada:p-secret@Example.com:5000/"), resolve_target("http://example.com:5000")
    assert (one.key, one.shown) == (other.key, "http://example.com:5000")
    assert resolve_target("http://example.com:5000/ml").key != other.key
    assert "secret" not in one.key + one.shown + one.identity + repr(one)


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("http://a", "mlflow"),
        ("https://a/b", "mlflow"),
        ("databricks", "databricks"),
        ("databricks://x", "databricks"),
        ("runs", "store"),
        ("/data/http", "store"),
        ("s3://bucket/runs", "store"),
    ],
)
def test_what_a_target_is(uri: str, kind: str) -> None:
    assert target_kind(uri) == kind
