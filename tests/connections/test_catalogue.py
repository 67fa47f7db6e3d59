"""The catalogue of outside systems is data: shipped, the operator's own, and restricted by the operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.connections.outside import entry
from tests.connections.town import Town
from tests.workspaces.world import World
from worka import connections
from worka.connections import catalogue, clients, needs, restricting, service
from worka.connections.errors import CatalogueInvalid, MetadataInvalid, ProviderRestricted, ProviderUnusable
from worka.kernel.errors import Denied, Invalid
from worka.kernel.settings import ConnectionSettings, Settings


def with_own(home: Path, own: Path | str = "", providers: tuple[str, ...] = ()) -> Settings:
    return Settings(home=home, connections=ConnectionSettings(catalogue=str(own), providers=providers))


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    data = entry(**changes)
    (folder / f"{data['name']}.json").write_text(json.dumps(data))
    return folder


@pytest.mark.capability("CON-4", part="the catalogue")
def test_what_is_shipped_reads_and_says_its_scopes_in_words(tmp_path: Path) -> None:
    found = catalogue.providers(with_own(tmp_path))
    assert {"github", "google", "zendesk", "stripe"} <= set(found)
    for provider in found.values():
        assert provider.hosts
        assert all(words.words for words in provider.scopes.values())
    assert found["github"].said("gist") == "write gists"


@pytest.mark.capability("CON-4", part="the catalogue")
def test_an_operator_adds_and_replaces_providers_by_files(tmp_path: Path) -> None:
    own = written(tmp_path / "own")
    written(own, name="github", words="GitHub here")
    settings = with_own(tmp_path, own)
    found = catalogue.providers(settings)
    assert found["outside"].words == "The outside"
    assert found["github"].words == "GitHub here"
    assert [catalogue.origin(settings, name) for name in ("outside", "github", "gitlab")] == [
        "operator", "operator", "shipped",
    ]  # fmt: skip
    written(own, words="Another name")
    assert catalogue.providers(settings)["outside"].words == "Another name", "a changed file is read again"


@pytest.mark.parametrize(
    "changes",
    [
        {"token_endpoint": "http://login.worka.test/token"},
        {"token_endpoint": "https://login.worka.test/token#x"},
        {"token_endpoint": "https://user@login.worka.test/token"},
        {"token_endpoint": "https://127.0.0.1/token"},
        {"token_endpoint": "https://login.worka.test/{tenant}/token"},
        {"authorization_endpoint": ""},
        {"hosts": ["10.0.0.1"]},
        {"hosts": []},
        {"kinds": ["oauth_magic"]},
        {"parameters": {"redirect_uri": "https://evil.worka.test"}},
        {"iss_parameter": True, "issuer": ""},
        {"anything": 1},
    ],
)
def test_a_file_that_could_send_a_token_astray_is_refused_by_its_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    own = written(tmp_path / "own", **changes)
    with pytest.raises(CatalogueInvalid, match=r"outside\.json"):
        catalogue.providers(with_own(tmp_path, own))
    written(own)
    assert "outside" in catalogue.providers(with_own(tmp_path, own))


@pytest.mark.capability("CON-4", part="metadata")
def test_metadata_fill_one_label_of_a_host_and_nothing_else(tmp_path: Path) -> None:
    zendesk = catalogue.providers(with_own(tmp_path))["zendesk"]
    place = zendesk.at({"subdomain": "acme"})
    assert (place.hosts, place.token) == (("acme.zendesk.com",), "https://acme.zendesk.com/oauth/tokens")
    for wrong in ("", "a.evil", "acme.zendesk.com@evil", "a/b", "-a", "A", "x" * 64):
        with pytest.raises(MetadataInvalid):
            zendesk.at({"subdomain": wrong})


@pytest.mark.capability("CON-4", part="API token and metadata")
async def test_a_connection_by_token_goes_to_the_providers_own_host(world: World) -> None:
    connections.subscribe(world.subscribers)

    async def ask(**words: Any) -> dict[str, Any]:
        return await service.create(
            world.ctx("owner"), world.workspace_id,
            **{"name": "Help desk", "access": "read tickets", "why": "w", "metadata": {}, **words},
        )  # fmt: skip

    made = await ask(provider="zendesk", metadata={"subdomain": "acme"})
    assert (made["host"], made["metadata"]) == ("acme.zendesk.com", {"subdomain": "acme"})
    with pytest.raises(ProviderUnusable):
        await ask(provider="zendesk", metadata={"subdomain": "acme"}, host="evil.worka.test")
    with pytest.raises(MetadataInvalid):
        await ask(provider="zendesk")
    with pytest.raises(ProviderUnusable):
        await ask(provider="google")  # there is no token that a person could bring
    assert (await ask(provider="own-tracker", host="tracker.worka.test"))["state"] == "awaiting_approval"


@pytest.mark.capability("CON-7")
async def test_an_operator_restricts_which_outside_systems_a_tenant_connects(town: Town) -> None:
    world = town.world
    await world.person("operator", operator=True)
    await town.register()
    await town.attached()
    first = await town.asked(name="Before")
    with pytest.raises(Denied):
        await restricting.restrict(world.ctx("owner"), world.tenant_id, [], "no")
    with pytest.raises(Invalid):
        await restricting.restrict(world.ctx("operator"), world.tenant_id, [], " ")
    told = await restricting.restrict(world.ctx("operator"), world.tenant_id, ["github"], "audit 7")
    assert told["connected"] == [{"provider": "outside", "count": 1, "allowed": False}]
    with pytest.raises(ProviderRestricted, match="audit 7"):
        await town.asked(name="After")
    with pytest.raises(ProviderRestricted):
        await service.create(
            world.ctx("owner"), world.workspace_id, provider="free-name", name="F", host="free.worka.test", access="a",
            metadata={}, why="",
        )  # fmt: skip
    from tests.connections.outside import CALLBACK
    from worka.connections import consent

    with pytest.raises(ProviderRestricted):
        await consent.begin(town.ctx("owner"), first["id"], CALLBACK)
    shown = {row["name"]: row["allowed"] for row in await clients.providers(world.ctx("viewer"), world.workspace_id)}
    assert (shown["github"], shown["outside"]) == (True, False)
    await restricting.restrict(world.ctx("operator"), world.tenant_id, None, "over")
    assert (await town.asked(name="Again"))["state"] == "awaiting_consent"
    events = await world.rows("event", "type = 'provider.restricted' order by id")
    assert [event["after"]["providers"] for event in events] == [["github"], None]


@pytest.mark.capability("CON-7", part="the deployment's settings")
async def test_the_deployment_names_what_may_be_connected_at_all(world: World) -> None:
    world.settings = world.settings.model_copy(update={"connections": ConnectionSettings(providers=("stripe",))})
    connections.subscribe(world.subscribers)
    words: dict[str, Any] = {"name": "N", "access": "a", "why": "", "metadata": {}}
    with pytest.raises(ProviderRestricted, match="stripe"):
        await service.create(world.ctx("owner"), world.workspace_id, provider="github", **words)
    assert (await service.create(world.ctx("owner"), world.workspace_id, provider="stripe", **words))["id"]


@pytest.mark.capability("CON-5")
async def test_what_is_needed_is_what_packs_here_declare_and_who_waits_for_it(town: Town) -> None:
    assert await needs.listing(town.ctx("viewer"), town.world.workspace_id) == []
    await town.attached(scopes=("issues:read",))
    await town.attached("acme.board", scopes=("issues:write",))
    (need,) = await needs.listing(town.ctx("viewer"), town.world.workspace_id)
    assert (need["provider"], need["endpoint"], need["reason"], need["scopes"]) == (
        "outside", "api.worka.test:443", "connection_missing", ["issues:read", "issues:write"],
    )  # fmt: skip
    assert [item["pack"] for item in need["attachments"]] == ["acme.notes", "acme.board"]
    await town.register()
    await town.connected()
    (need,) = await needs.listing(town.ctx("viewer"), town.world.workspace_id)
    assert (need["reason"], len(need["connections"])) == ("", 1)
