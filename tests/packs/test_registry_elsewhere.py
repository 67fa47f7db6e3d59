"""Registries that have their tokens given out by another server and keep their blobs at another host: Debian's docker-registry
with a token server and a store of blobs on sockets of their own, and one that misuses both. Every call goes through the real
broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import HOST, debian_registry, liar, named, policy, published, released, say, served
from tests.packs.token_server import AUTH, BASIC, PASSWORD, SERVICE, TokenServer, token_server
from worka.kernel.errors import Problem
from worka.packs.registry import oci
from worka.packs.registry.errors import DestinationInvalid, RegistryFailed
from worka.packs.registry.service import destinations, market

Row = dict[str, Any]
BLOBS = "blobs.worka.test"
REALM = f"https://{AUTH}/token"
TOKENS = f"{REALM}?service={quote(SERVICE)}"
CREDENTIAL = {"username": "ada", "password": PASSWORD}


async def again(place: Packs, **given: Any) -> None:
    """The same registry as a destination that names other things."""
    (old,) = await destinations.listing(place.ctx(), place.world.workspace_id, None, 10)
    await destinations.remove(place.ctx(), old["id"])
    await destinations.create(
        place.ctx(), place.world.workspace_id, name="outside", host=HOST, port=443, repository="team/packs",
        **{**CREDENTIAL, **given},
    )  # fmt: skip


@pytest.mark.timeout(180)
@pytest.mark.capability("REG-6", part="a token service and hosts of blobs that the destination names, and no others")
@pytest.mark.capability("TRE-8", part="a registry's credential goes to the token service that it is bound to")
async def test_a_release_goes_to_a_registry_with_a_token_server_and_a_store_of_blobs_where_both_are_named(
    place: Packs, tmp_path: Path
) -> None:
    release = await released(place)
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    stored: list[tuple[str, str]] = []

    def store(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        stored.append((handler.command, handler.headers.get("Authorization", "")))
        say(handler, 200, (tmp_path / "data" / handler.path.lstrip("/")).read_bytes())

    with token_server(tmp_path) as tokens, served(tmp_path, BLOBS, store) as blobs:
        assert tokens.outside is not None
        redirect = f"{{name: redirect, options: {{baseurl: 'https://{BLOBS}/'}}}}"
        with debian_registry(tmp_path, further=tokens.configured, storage=redirect) as registry:
            await place.exception(AUTH, tokens.outside.port, tokens.outside.facts)
            await place.exception(BLOBS, blobs.port, blobs.facts)
            await named(place, registry, **CREDENTIAL)
            refused = await published(place, release, "outside")
            assert (refused["state"], refused["reason"]) == ("failed", "registry_wants_token")
            assert f"--token-service '{TOKENS}'" in refused["error"]["message"]
            assert tokens.asked == [], "what is not named is not called"

            await again(place, token_service=TOKENS)
            refused = await published(place, release, "outside")
            assert (refused["state"], refused["reason"]) == ("failed", "registry_redirected")
            assert f"--blobs {BLOBS}:443" in refused["error"]["message"]
            assert stored == [], "what is not named is not called"

            await again(place, token_service=TOKENS, blob_hosts=[BLOBS])
            row = await published(place, release, "outside")
            assert (row["state"], row["error"]) == ("published", None)
            assert {authorization for _, authorization in tokens.asked} == {BASIC}
            asked = [(query["service"], query["scope"]) for query, _ in tokens.asked]
            assert set(asked) == {(SERVICE, "repository:team/packs:pull,push")}
            assert stored, "the parts came back from where they lie"
            assert {authorization for _, authorization in stored} == {""}, "without a credential"

            # Fetched: with a token that reads, and nothing more.
            found = await market.fetch(
                place.ctx(), place.world.workspace_id, destination="outside", digest=row["digest"]
            )
            assert found["id"] == release["id"]
            assert tokens.asked[-1][0]["scope"] == "repository:team/packs:pull"

            # A token server that says no is told as what it is.
            await again(place, token_service=TOKENS, blob_hosts=[BLOBS], password="another")
            with pytest.raises(RegistryFailed) as wrong:
                await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=row["digest"])
            assert (wrong.value.extra["reason"], wrong.value.extra["status"]) == ("registry_refused", 401)
            assert "token service answered 401" in str(wrong.value.detail)
    rules = await place.world.rows("platform_rule", "ended_at is null")
    assert sorted((rule["host"], rule["method"], rule["path"]) for rule in rules) == [
        (AUTH, "GET", "/token"), (BLOBS, "GET", "/*"), (HOST, "GET,HEAD,POST,PUT", "/v2/team/packs/*"),
    ]  # fmt: skip
    kept = json.dumps(await place.world.rows("event"), default=str) + json.dumps(
        await place.world.rows("egress"), default=str
    )
    assert PASSWORD not in kept
    assert "eyJ" not in kept, "no token is written down"


def challenge(realm: str = REALM, service: str = HOST) -> Callable[[BaseHTTPRequestHandler, str], bool]:
    """A registry that wants a token of such a service before it says anything."""

    def lie(handler: BaseHTTPRequestHandler, _path: str) -> bool:
        if handler.headers.get("Authorization", "").startswith("Bearer "):
            return False
        say(
            handler,
            401,
            b"{}",
            **{"WWW-Authenticate": f'Bearer realm="{realm}",service="{service}",scope="registry:catalog:*"'},
        )
        return True

    return lie


def redirect(to: str, what: str = "/blobs/") -> Callable[[BaseHTTPRequestHandler, str], bool]:
    """A registry that sends whoever reads there."""

    def lie(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if what not in path:
            return False
        say(handler, 307, Location=to + path)
        return True

    return lie


@pytest.mark.timeout(120)
@pytest.mark.capability("REG-6", part="a token service and hosts of blobs that the destination names, and no others")
@pytest.mark.capability("TRE-8", part="a registry's credential goes to the token service that it is bound to")
async def test_a_registry_cannot_have_a_credential_or_a_token_sent_to_anybody_else(
    place: Packs, tmp_path: Path
) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    canary: list[str] = []

    def elsewhere(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        canary.append(handler.headers.get("Authorization", ""))
        say(handler, 200, b'{"token": "t"}')

    with (
        token_server(tmp_path) as tokens, liar(tmp_path) as registry,
        served(tmp_path, "evil.worka.test", elsewhere) as evil,
    ):  # fmt: skip
        assert tokens.outside is not None
        registry.holds(made)
        await place.exception(AUTH, tokens.outside.port, tokens.outside.facts)
        await place.exception("evil.worka.test", evil.port, evil.facts)
        await named(place, registry.outside, **CREDENTIAL, token_service=REALM)

        async def fetched() -> Problem:
            with pytest.raises(Problem) as told:
                await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)
            return told.value

        # Other services, other registries, and addresses that are none.
        for realm, service in (
            ("https://evil.worka.test/token", HOST), (REALM + "/other", HOST), (f"https://{AUTH}:8443/token", HOST),
            (f"http://{AUTH}/token", HOST), (f"https://u:p@{AUTH}/token", HOST), (f"{REALM}?account=eve", HOST),
            (REALM, "registry.another.example"), (REALM, ""), ("https://[::1/token", HOST),
            (f"https://{AUTH}/token';id;'", HOST),
        ):  # fmt: skip
            registry.lie = challenge(realm, service)
            told = await fetched()
            assert told.extra.get("reason") == "registry_wants_token", (realm, service)
            assert "';id;'" not in str(told.detail).replace(repr(realm), ""), "no command holds what a registry said"
        assert (tokens.asked, canary) == ([], [])

        # The named service itself leads nowhere, and what it gives has to be a token.
        registry.lie = challenge()
        for answer, reason in (
            (
                lambda handler: say(handler, 307, Location="https://evil.worka.test/token") or True,
                "registry_redirected",
            ),
            (lambda handler: say(handler, 200, b'{"token": "a\\r\\nX-Evil: 1"}') or True, "registry_wants_token"),
            (lambda handler: say(handler, 200, b'{"token": "a", "token": "b"}') or True, "registry_wants_token"),
            (lambda handler: say(handler, 200, b"[]") or True, "registry_wants_token"),
            (lambda handler: say(handler, 200, b"\xff") or True, "registry_wants_token"),
        ):
            tokens.answer = answer
            assert (await fetched()).extra.get("reason") == reason
        assert canary == []
        assert {authorization for _, authorization in tokens.asked} == {BASIC}
        assert {query["scope"] for query, _ in tokens.asked} == {"repository:team/packs:pull"}, (
            "not as it would have it"
        )

        # The control: an honest one gets a token, and never the password.
        tokens.answer = TokenServer.answer
        assert (await fetched()).problem_code == "manifest_invalid", "it came, and is no pack"
        seen = [headers.get("Authorization", "") for _, _, headers in registry.asked]
        assert any(one.startswith("Bearer ") for one in seen)
        assert not any(one.startswith("Basic ") for one in seen), "the password is for the token service alone"


@pytest.mark.timeout(120)
@pytest.mark.capability("REG-6", part="a token service and hosts of blobs that the destination names, and no others")
@pytest.mark.capability("TRE-8", part="a registry's credential goes to the token service that it is bound to")
@pytest.mark.capability(
    "REG-11", part="blobs at another host are read where the destination names it, without a credential"
)
async def test_a_redirect_is_followed_for_blobs_to_a_named_host_once_and_no_further(
    place: Packs, tmp_path: Path
) -> None:
    made = oci.build({"publisher": "acme", "name": "x", "version": "1.0.0"}, "", {"a": b"1"})
    stored: list[tuple[str, dict[str, str]]] = []
    further: list[str] = []

    def store(handler: BaseHTTPRequestHandler, _body: bytes) -> None:
        stored.append((handler.path, {name.title(): value for name, value in handler.headers.items()}))
        if further:
            say(handler, 307, Location=further[0])
            return
        digest = handler.path.partition("?")[0].rpartition("/")[2]
        say(handler, 200, made.blobs[digest])

    with liar(tmp_path) as registry, served(tmp_path, BLOBS, store) as blobs:
        registry.holds(made)
        await place.exception(BLOBS, blobs.port, blobs.facts)
        await named(place, registry.outside, **CREDENTIAL, blob_hosts=[BLOBS])

        async def fetched() -> Problem:
            with pytest.raises(Problem) as told:
                await market.fetch(place.ctx(), place.world.workspace_id, destination="outside", digest=made.digest)
            return told.value

        for to in (
            "https://evil.worka.test", f"http://{BLOBS}", f"https://{BLOBS}:8443", f"https://u:p@{BLOBS}", "https://127.0.0.1",
            f"//{BLOBS}", "https://a;id;.test", f"https://{BLOBS}/#", "ftp://x", "https://[::1",
        ):  # fmt: skip
            registry.lie = redirect(to)
            told = await fetched()
            assert told.extra.get("reason") == "registry_redirected", to
            assert "--blobs a;id" not in str(told.detail)
        registry.lie = redirect(f"https://{BLOBS}", "/manifests/")
        assert (await fetched()).extra.get("reason") == "registry_redirected", (
            "a manifest comes from the registry itself"
        )
        registry.lie = redirect(f"https://{BLOBS}/../x")
        assert (await fetched()).extra.get("cause") == "path_not_allowed"
        assert stored == []
        registry.lie = redirect(f"https://{BLOBS}")
        further.append(f"https://{BLOBS}/once/more")
        assert (await fetched()).extra.get("reason") == "registry_redirected", "once is enough"
        further.clear()
        stored.clear()

        def signed(handler: BaseHTTPRequestHandler, path: str) -> bool:
            if "/blobs/" not in path:
                return False
            signature = "a" * 3000
            say(handler, 307, Location=f"https://{BLOBS}{path}?X-Signature={signature}")
            return True

        # The control: the named one, with an address as stores sign them.
        registry.lie = signed
        assert (await fetched()).problem_code == "manifest_invalid", "it came, and is no pack"
        assert all(path.endswith("a" * 3000) for path, _ in stored)
        assert not [headers for _, headers in stored if "Authorization" in headers]
        sent = {headers.get("Authorization") for _, path, headers in registry.asked if "/v2/team/packs/" in path}
        assert sent == {BASIC}, "without a token service the password is the registry's"
    assert "X-Signature" not in json.dumps(await place.world.rows("egress"), default=str)
    assert "aaaa" not in json.dumps(await place.world.rows("event"), default=str)


@pytest.mark.capability("REG-6", part="a token service and hosts of blobs that the destination names, and no others")
async def test_what_a_destination_names_is_checked_when_it_is_named(place: Packs) -> None:
    async def create(name: str, **given: Any) -> Row:
        return await destinations.create(
            place.ctx(), place.world.workspace_id, name=name, host=HOST, port=443, repository="team/packs",
            **{**CREDENTIAL, **given},
        )  # fmt: skip

    for field, value in (
        ("token_service", "http://auth.example.com/token"), ("token_service", "https://127.0.0.1/token"),
        ("token_service", "https://u@auth.example.com/token"), ("token_service", "https://auth.example.com/a/../token"),
        ("token_service", "https://auth.example.com/token?scope=x"), ("token_service", "nonsense"),
        ("token_service", "https://auth.example.com/*"), ("blob_hosts", ["10.0.0.1"]), ("blob_hosts", ["*.example.com"]),
        ("blob_hosts", ["blobs.example.com:0"]), ("blob_hosts", ["blobs.example.com/x"]), ("blob_hosts", [""]),
        ("blob_hosts", [f"b{n}.example.com" for n in range(9)]),
    ):  # fmt: skip
        with pytest.raises(DestinationInvalid) as refused:
            await create("wrong", **{field: value})
        assert refused.value.extra["field"] == f"/{field}", value
    assert await place.world.rows("platform_rule") == []
    made = await create(
        "right", token_service=TOKENS, blob_hosts=["Blobs.Example.com", "blobs.example.com:443", "b.example.com:8443"]
    )
    assert (made["token_service"], made["blob_hosts"]) == (TOKENS, ["blobs.example.com:443", "b.example.com:8443"])
    assert len(await place.world.rows("platform_rule", "subject_id = %s", made["id"])) == 4
    await destinations.remove(place.ctx(), made["id"])
    assert await place.world.rows("platform_rule", "ended_at is null") == [], "all of it ends with the destination"
