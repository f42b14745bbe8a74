"""Servers behind TLS: issuers of one's own, certificates of clients, and what is not checked by explicit wish only."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from localtrack import Store
from localtrack.cli import app
from localtrack.errors import ErrorCode, InvalidInputError, RefusedError
from localtrack.sync.target import resolve_target
from tests.sync.comparison import compare_store
from tests.sync.front import Front
from tests.sync.pushing import push
from tests.sync.stand_in import StandIn
from tests.sync.stores import START_MS

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Issuer:
    """An issuer of certificates that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Issuer {folder.name}")])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / "issuer.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, until: datetime.datetime = NOW + DAY, passphrase: bytes | None = None) -> Path:
        """Return a file with a certificate, for an address if the name is one, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, until=until)
        try:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(name))]
        except ValueError:
            names = [x509.DNSName(name)]
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        form = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        path = self.folder / f"{name} {until:%Y} {passphrase!r}.pem"
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form)
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, until: datetime.datetime = NOW + DAY
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 900 * DAY)
            .not_valid_after(until)
        )


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    with store.start_run("e", context=False) as run:
        run.log_metric("loss", 0.5, step=1, timestamp=START_MS)
    return store


def serving(certificate: Path, clients: Issuer | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.path)
    return context


def test_an_issuer_of_ones_own_has_to_be_named(store: Store, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Front(StandIn(), tls=serving(issuer.issue("127.0.0.1"))) as front:
        assert front.url.startswith("https://")
        with pytest.raises(RefusedError, match="The certificate of the target cannot be verified") as refused:
            push(store, front.url)
        assert refused.value.code == ErrorCode.SYNC_DENIED
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in refused.value.hint
        assert front.requests == []
        # As requests, which MLflow goes through, has it.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(issuer.path))
        assert push(store, front.url).is_complete
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(issuer.path))
        with store.start_run("e", context=False) as run:
            run.log_metric("loss", 0.25, step=1, timestamp=START_MS)
        assert push(store, front.url).is_complete
        assert compare_store(front.back, store) == []
        assert store.pull(front.url).runs_unchanged == 2


def test_a_certificate_of_another_host_or_of_yesterday_does_not_do(
    store: Store, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(issuer.path))
    for certificate in (issuer.issue("mlflow.example.com"), issuer.issue("127.0.0.1", until=NOW - DAY)):
        with Front(StandIn(), tls=serving(certificate)) as front:
            with pytest.raises(RefusedError, match="cannot be verified"):
                push(store, front.url)
            assert front.requests == []


def test_nothing_is_checked_by_explicit_wish_only_and_that_is_shown(
    store: Store, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with Front(StandIn(), tls=serving(issuer.issue("elsewhere.example.com", until=NOW - DAY))) as front:
        answer = CliRunner().invoke(app, ["sync", "--to", front.url, "--store", store.uri])
        assert answer.exit_code == 0, answer.output
        assert "its certificate is not checked (MLFLOW_TRACKING_INSECURE_TLS)" in answer.stderr
        assert compare_store(front.back, store) == []
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(issuer.path))
        with pytest.raises(InvalidInputError, match="are both set"):
            push(store, front.url)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_a_certificate_of_its_clients(
    store: Store, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(issuer.path))
    context = serving(issuer.issue("127.0.0.1"), issuer)
    context.minimum_version = context.maximum_version = version
    with Front(StandIn(), tls=context) as front:
        for path in ("", str(Issuer(tmp_path / "theirs").issue("ada"))):
            monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", path)
            with pytest.raises(RefusedError, match="The target refused the TLS connection") as refused:
                push(store, front.url)
            assert refused.value.code == ErrorCode.SYNC_DENIED
            assert "MLFLOW_TRACKING_CLIENT_CERT_PATH" in refused.value.hint
        assert front.requests == []
        monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(issuer.issue("ada")))
        assert push(store, front.url).is_complete
        # Also where the server's own certificate is not checked.
        monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        with store.start_run("e", context=False):
            pass
        assert push(store, front.url).is_complete
        assert compare_store(front.back, store) == []


def test_files_that_cannot_be_used_are_named_and_never_shown(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no certificate").write_text("s-secret")
    for name in ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        for path in (tmp_path / "missing", tmp_path / "no certificate", issuer.issue("ada", passphrase=b"sesame")):
            if name == "MLFLOW_TRACKING_SERVER_CERT_PATH" and path.parent == issuer.folder:
                continue  # its certificate can be read, and its key is not asked for
            monkeypatch.setenv(name, str(path))
            with pytest.raises(InvalidInputError, match="A certificate file of the settings cannot be read") as bad:
                resolve_target("https://server.example.com")
            assert name in bad.value.hint
            assert "secret" not in str(bad.value)
        monkeypatch.delenv(name)
