"""OAuth 2.1 as bytes in and decisions out: what is asked of a provider, and what its answers are believed of. No clock, no
database, no network.

Sources: OAuth 2.1 (draft-ietf-oauth-v2-1), RFC 7636 (PKCE), RFC 9207 (iss), RFC 8628 (device code), RFC 7009 (revocation),
RFC 9700 (what goes wrong).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from worka.connections.catalogue import Place, Provider
from worka.kernel import redact, strict_json
from worka.kernel.errors import Problem

# RFC 6749, appendix A: what a token, a code and an error may be written with.
_TOKEN = re.compile(r"[\x21-\x7e]{6,16384}\Z")
_ERROR = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,80}\Z")
_STATE = re.compile(r"(ws_[0-9a-z]{26})\.(flow_[0-9a-z]{26})\.([A-Za-z0-9_-]{43})\Z")
LONGEST_LIFE = 400 * 24 * 3600
FORM = "application/x-www-form-urlencoded"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PENDING = frozenset({"authorization_pending", "slow_down"})
DEAD = frozenset({"invalid_grant"})
"""What a provider says of a refresh token, or a code, that is good for nothing any more."""


class OAuthProblem(Exception):
    """The provider did not do what was asked, or what came is not believed. `code` is a reason of ours, `error` the
    provider's own word; the text is for a person and holds no credential."""

    def __init__(self, code: str, text: str, error: str = "") -> None:
        super().__init__(text)
        self.code, self.error = code, error


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave. `seconds`: the life of the access token, None: it did not say."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    seconds: int | None
    scopes: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Device:
    """What a device endpoint gave."""

    code: str = field(repr=False)
    user_code: str
    uri: str
    seconds: int
    interval: int


@dataclass(frozen=True, slots=True)
class Request:
    """One POST of a form to the provider."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


# the consent of a person --------------------------------------------------------------------------------------------
def secret_text() -> str:
    """256 random bits, as 43 characters that stand in an address: a verifier, or what the provider has to send back."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def state_of(workspace_id: str, flow_id: str, secret: str) -> str:
    """What the provider sends back: where it belongs, and what only who began it can know."""
    return f"{workspace_id}.{flow_id}.{secret}"


def read_state(state: str) -> tuple[str, str, str] | None:
    """(workspace, flow, secret), or None for what we never wrote."""
    found = _STATE.match(state)
    return (found[1], found[2], found[3]) if found else None


def hashed(secret: str) -> str:
    """As it is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(secret: str, kept: str) -> bool:
    """Whether it is what was kept, in constant time."""
    return hmac.compare_digest(hashed(secret), kept)


def authorization_url(
    provider: Provider,
    place: Place,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str],
    state: str,
    verifier: str,
) -> str:
    """Where the person's browser goes."""
    words = {
        **provider.parameters,
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scope_separator.join(scopes),
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return f"{place.authorization}?{urlencode({key: value for key, value in words.items() if value})}"


def issuer_refusal(provider: Provider, place: Place, iss: str | None) -> str | None:
    """Why an answer with this `iss` is not of the provider that was asked (RFC 9207); None: it may be."""
    if iss is None:
        return "the answer does not say which provider it is of" if provider.iss_parameter else None
    if place.issuer and iss != place.issuer:
        return "the answer is of another provider"
    return None


# requests -----------------------------------------------------------------------------------------------------------
def code_request(
    provider: Provider, place: Place, client: Mapping[str, Any], code: str, redirect_uri: str, verifier: str
) -> Request:
    """The code against tokens."""
    words = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    return _request(provider, place.token, client, words)


def refresh_request(provider: Provider, place: Place, client: Mapping[str, Any], refresh: str) -> Request:
    """A refresh token against new tokens."""
    return _request(provider, place.token, client, {"grant_type": "refresh_token", "refresh_token": refresh})


def client_request(provider: Provider, place: Place, client: Mapping[str, Any], scopes: Sequence[str]) -> Request:
    """The client's own credential against an access token."""
    words = {"grant_type": "client_credentials", "scope": provider.scope_separator.join(scopes)}
    return _request(provider, place.token, client, words)


def device_request(provider: Provider, place: Place, client: Mapping[str, Any], scopes: Sequence[str]) -> Request:
    """A code that a person types in on another device."""
    return _request(provider, place.device, client, {"scope": provider.scope_separator.join(scopes)})


def poll_request(provider: Provider, place: Place, client: Mapping[str, Any], device_code: str) -> Request:
    """Whether the person has consented by now."""
    return _request(provider, place.token, client, {"grant_type": DEVICE_GRANT, "device_code": device_code})


def revocation_request(provider: Provider, place: Place, client: Mapping[str, Any], token: str, hint: str) -> Request:
    """The end of a token, told to who gave it."""
    return _request(provider, place.revocation, client, {"token": token, "token_type_hint": hint})


def _request(provider: Provider, url: str, client: Mapping[str, Any], words: Mapping[str, str]) -> Request:
    """`client`: {client_id, secret}. The secret goes where the provider takes it, and nowhere else."""
    headers = {"Content-Type": FORM, "Accept": "application/json"}
    form = {key: value for key, value in words.items() if value}
    secret = client.get("secret")
    if secret is not None and provider.client_auth == "basic":
        # RFC 6749, 2.3.1: each is form-encoded before the two are joined.
        pair = f"{quote_plus(client['client_id'])}:{quote_plus(secret)}"
        coded = base64.b64encode(pair.encode()).decode()
        redact.remember(coded)
        headers["Authorization"] = f"Basic {coded}"
    else:
        form["client_id"] = client["client_id"]
        if secret is not None and provider.client_auth == "post":
            form["client_secret"] = secret
    return Request(url, headers, urlencode(form).encode())


# answers ------------------------------------------------------------------------------------------------------------
def tokens_of(status: int, body: bytes, asked: Sequence[str], separator: str = " ") -> Tokens:
    """What a token endpoint's answer is believed of. Raises OAuthProblem: `provider_refused` with its word, or
    `provider_lied` for what is no answer to what was asked."""
    words = _document(status, body)
    if str(words.get("token_type", "")).lower() != "bearer":
        raise OAuthProblem("provider_lied", "the provider gave a token that is no bearer token")
    access = words.get("access_token")
    if not isinstance(access, str) or not _TOKEN.match(access):
        raise OAuthProblem("provider_lied", "the provider gave no token that can stand in a header")
    redact.remember(access)
    refresh = words.get("refresh_token")
    if refresh is not None and (not isinstance(refresh, str) or not _TOKEN.match(refresh)):
        raise OAuthProblem("provider_lied", "the provider gave a refresh token that is none")
    if refresh is not None:
        redact.remember(refresh)
    return Tokens(access, refresh, _seconds(words.get("expires_in")), _scopes(words.get("scope"), asked, separator))


def device_of(status: int, body: bytes, hosts: frozenset[str]) -> Device:
    """What a device endpoint's answer is believed of: a person is sent to a host of the provider's, and nowhere else."""
    words = _document(status, body)
    code, user_code = words.get("device_code"), words.get("user_code")
    uri = words.get("verification_uri") or words.get("verification_url")
    if not isinstance(code, str) or not _TOKEN.match(code):
        raise OAuthProblem("provider_lied", "the provider gave no device code")
    redact.remember(code)
    if not isinstance(user_code, str) or not re.fullmatch(r"[A-Za-z0-9 -]{4,40}", user_code):
        raise OAuthProblem("provider_lied", "the provider gave no code that a person can type in")
    try:
        parts = urlsplit(uri if isinstance(uri, str) else "")
        safe = parts.scheme == "https" and parts.hostname in hosts and "@" not in parts.netloc and str(uri).isascii()
    except ValueError:
        safe = False
    if not safe or len(str(uri)) > 300 or not str(uri).isprintable() or " " in str(uri):
        raise OAuthProblem("provider_lied", "the provider sends the person to a host that is none of its own")
    seconds = _seconds(words.get("expires_in")) or 600
    interval = words.get("interval", 5)
    if not isinstance(interval, int) or isinstance(interval, bool) or not 1 <= interval <= 300:
        interval = 5
    return Device(code, user_code, str(uri), min(seconds, 3600), interval)


def revoked(status: int, body: bytes) -> str | None:
    """None: the provider says that the token is over; else what it said."""
    if status == 200:
        return None
    try:
        _document(status, body)
    except OAuthProblem as problem:
        return str(problem)
    return f"it answered {status}"


def account_of(status: int, body: bytes, id_at: str, name_at: str) -> dict[str, str]:
    """{id, name} of whose account it is. Raises OAuthProblem."""
    if status >= 500 or status == 429:
        raise OAuthProblem("provider_away", f"asked whose account it is, the provider answered {status}")
    if status != 200:
        raise OAuthProblem("provider_refused", f"asked whose account it is, the provider answered {status}")
    words = _json(body)
    found = {"id": _walk(words, id_at), "name": _walk(words, name_at)}
    if not found["id"]:
        raise OAuthProblem("provider_lied", "the provider does not say whose account it is")
    return {**found, "name": found["name"] or found["id"]}


def _walk(value: Any, path: str) -> str:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "".join(char for char in text if char.isprintable())[:200]


def _document(status: int, body: bytes) -> dict[str, Any]:
    if 300 <= status < 400:
        raise OAuthProblem("provider_lied", f"the provider answered {status} and would have the token go elsewhere")
    if status >= 500 or status == 429:
        raise OAuthProblem("provider_away", f"the provider answered {status}")
    words = _json(body)
    error = words.get("error")
    if error is not None or status != 200:
        word = error if isinstance(error, str) and _ERROR.match(error) else ""
        said = f"{word or 'no reason that can be read'} ({status})"
        raise OAuthProblem("provider_refused", f"the provider refused: {said}", word)
    return words


def _json(body: bytes) -> dict[str, Any]:
    try:
        words = strict_json.loads(body)
    except Problem as problem:
        raise OAuthProblem("provider_lied", "the provider's answer is no JSON document") from problem
    if not isinstance(words, dict):
        raise OAuthProblem("provider_lied", "the provider's answer is no JSON object")
    return words


def _seconds(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise OAuthProblem("provider_lied", "the provider gave a token whose life cannot be")
    return min(value, LONGEST_LIFE)


def _scopes(value: Any, asked: Sequence[str], separator: str) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > 8000:
        raise OAuthProblem("provider_lied", "the provider says the scopes of its token in a form that is none")
    found = tuple(dict.fromkeys(part for part in re.split(r"[ ,]" if separator == "," else r"[ ]", value) if part))
    if more := [scope for scope in found if scope not in asked]:
        # What a person, and an approver, consented to is the most that this token may do.
        shown = ", ".join(scope[:60] for scope in more[:5])
        raise OAuthProblem("scope_widened", f"the provider granted more than was asked for: {shown}")
    return found


def word(error: str) -> str:
    """A provider's word for what it refuses, if it is one; else none that can be shown."""
    return error if _ERROR.match(error) else "no reason that can be read"
