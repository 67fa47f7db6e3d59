"""A real OAuth provider and its interface, beside the tests: `oidc-provider` behind TLS of a CA of the test's own, and a person
with a browser who consents there."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import http.client
import json
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.plugins import catalogue

LOGIN, API = "login.worka.test", "api.worka.test"
SOURCE = Path(__file__).parent / "provider"
SECRET = "kL8v-client-secret-of-the-test-Zq3"
CLIENT = "worka-at-the-test"
CALLBACK = "https://worka.test/connections/callback"
Row = dict[str, Any]


def installed() -> Path:
    """The folder with the provider's packages, from its lock, without any script of theirs; made once."""
    lock = (SOURCE / "package-lock.json").read_bytes()
    place = catalogue.CHECKOUT / "build" / "oauth-provider" / hashlib.sha256(lock).hexdigest()[:16]
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCE / name, place)
            subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"],
                cwd=place, check=True, capture_output=True, timeout=240,
            )  # fmt: skip
            (place / "ready").touch()
    shutil.copy(SOURCE / "server.mjs", place)
    return place


def _key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / name).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key


def certificates(folder: Path) -> str:
    """A CA, and a leaf of it for both names, in `folder`; the CA as PEM."""
    at = datetime.datetime.now(datetime.UTC)
    own = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's own CA")])

    def begin(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - datetime.timedelta(minutes=5))
            .not_valid_after(at + datetime.timedelta(days=1))
        )

    identifier = x509.SubjectKeyIdentifier.from_public_key(own.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        begin(issuer, own.public_key())
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(own, hashes.SHA256())
    )
    key = _key(folder, "key.pem")
    leaf = (
        begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LOGIN)]), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(LOGIN), x509.DNSName(API)]), critical=False)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False)
        .sign(own, hashes.SHA256())
    )
    pem = ca.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.pem").write_bytes(pem)
    return pem.decode()


@dataclass
class Outside:
    """The provider. `ca`: whom to trust for it."""

    folder: Path
    ca: str
    port: int
    process: subprocess.Popen[str] = field(repr=False)

    def counts(self) -> Row:
        """{grants: {type: n}, api: [{path, status, account}], revoked}: what it was asked."""
        return dict(json.loads(self.ask("GET", f"https://{LOGIN}/_counts")[2]))

    def drop(self) -> None:
        """The next answer of its token endpoint gets lost on the way, after it did its work."""
        (self.folder / "drop").touch()

    def spoil(self, token: str) -> None:
        """This access token is good for nothing any more; what it is renewed with still is."""
        self.ask("GET", f"https://{LOGIN}/_spoil", None, {"Authorization": f"Bearer {token}"})

    def forget(self) -> None:
        """Everybody's consent is taken back at the provider."""
        self.ask("GET", f"https://{LOGIN}/_forget")

    def ask(
        self, method: str, url: str, body: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request, as somebody with a browser makes it."""
        parts = urlsplit(url)
        trust = ssl.create_default_context(cadata=self.ca)
        conn = http.client.HTTPSConnection("127.0.0.1", self.port, context=trust, timeout=20)
        conn.sock = trust.wrap_socket(
            __import__("socket").create_connection(("127.0.0.1", self.port), 20), server_hostname=parts.hostname
        )
        sent = {"Host": parts.hostname or "", **(headers or {})}
        data = urlencode(body) if body is not None else None
        if data is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        conn.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, data, sent)
        answer = conn.getresponse()
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            found[key] = f"{found[key]}\n{value}" if key in found else value
        content = answer.read()
        conn.close()
        return answer.status, found, content


class Browser:
    """A person who is signed in at the provider as `account`, and consents to what they are asked."""

    def __init__(self, outside: Outside, account: str = "alice") -> None:
        self.outside, self.account = outside, account
        self.cookies: dict[str, str] = {}

    def _go(self, method: str, url: str, body: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        status, told, content = self.outside.ask(method, url, body, headers if self.cookies else {})
        for line in told.get("set-cookie", "").split("\n"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            if name and value:
                self.cookies[name] = value
            elif name:
                self.cookies.pop(name, None)
        return status, told, content

    def consents(self, url: str, *, refuses: bool = False) -> dict[str, str]:
        """Goes where the platform sent them, signs in, consents (or refuses); what comes back to the platform."""
        method, body = "GET", None
        for _ in range(20):
            status, told, content = self._go(method, url, body)
            method, body = "GET", None
            if status in (302, 303):
                url = urljoin(url, told["location"])
                if url.startswith(CALLBACK):
                    return dict(parse_qsl(urlsplit(url).query))
                continue
            page = content.decode()
            form = re.search(r'<form[^>]*action="([^"]+)"', page)
            if form is None:
                raise AssertionError(f"{status}: {page[:500]}")
            if refuses:
                url = urljoin(url, re.search(r'href="([^"]+/abort)"', page)[1])  # type: ignore[index]
                continue
            prompt = "login" if 'name="login"' in page else "consent"
            method, url = "POST", urljoin(url, form[1])
            body = {"prompt": prompt, **({"login": self.account, "password": "x"} if prompt == "login" else {})}
        raise AssertionError(f"it never came back: {url}")

    def types_in(self, uri: str, code: str) -> str:
        """Types the device's code in on another device, signs in and confirms; the last page."""
        method, url, body = "GET", uri, None
        page = ""
        for _ in range(20):
            status, told, content = self._go(method, url, body)
            method, body = "GET", None
            if status in (302, 303):
                url = urljoin(url, told["location"])
                continue
            page = content.decode()
            hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
            form = re.search(r'<form[^>]*action="([^"]+)"', page)
            if form is None:
                return page
            method, url = "POST", urljoin(url, form[1])
            if 'name="user_code"' in page and "user_code" not in hidden:
                body = {**hidden, "user_code": code}
            elif 'name="login"' in page:
                body = {"prompt": "login", "login": self.account, "password": "x"}
            elif "/interaction/" in url:
                body = {"prompt": "consent"}
            else:
                body = {**hidden, "confirm": "yes"}
        return page


@contextmanager
def outside(*, seconds: int = 3600, rotate: bool = True, refresh: bool = True) -> Iterator[Outside]:
    """One on 127.0.0.1, at a free port. `seconds`: the life of its access tokens."""
    place = installed()
    folder = Path(tempfile.mkdtemp(prefix="oauth-"))
    ca = certificates(folder)
    grants = [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "client_credentials",
    ]
    config = {
        "issuer": f"https://{LOGIN}", "folder": str(folder), "seconds": seconds, "rotate": rotate, "refresh": refresh,
        "clients": [
            {"client_id": CLIENT, "client_secret": SECRET, "grant_types": grants, "response_types": ["code"],
             "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic",
             "scope": "openid issues:read issues:write"},
        ],
    }  # fmt: skip
    process = subprocess.Popen(
        ["node", str(place / "server.mjs"), json.dumps(config)], cwd=place, stdout=subprocess.PIPE, text=True,
        stderr=(folder / "log").open("w"),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("{"), (folder / "log").read_text()
        yield Outside(folder, ca, int(json.loads(line)["port"]), process)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def entry(**changes: Any) -> Row:
    """What the catalogue says of it, as an operator writes it down."""
    return {
        "format": "worka.provider.v1", "name": "outside", "words": "The outside",
        "kinds": ["oauth_code", "oauth_device", "oauth_client", "token"], "hosts": [API],
        "authorization_endpoint": f"https://{LOGIN}/auth", "token_endpoint": f"https://{LOGIN}/token",
        "device_endpoint": f"https://{LOGIN}/device/auth", "revocation_endpoint": f"https://{LOGIN}/token/revocation",
        "userinfo": {"url": f"https://{LOGIN}/me", "id": "sub", "name": "name"}, "issuer": f"https://{LOGIN}",
        "iss_parameter": True, "client_auth": "basic", "always": ["openid"], "rotates": True,
        "scopes": {
            "openid": {"words": "know which account it is"},
            "issues:read": {"words": "read issues", "uses": [{"methods": ["GET"], "path": "/api/issues*"}]},
            "issues:write": {"words": "write issues", "uses": [{"methods": ["POST"], "path": "/api/issues*"}]},
        },
        **changes,
    }  # fmt: skip
