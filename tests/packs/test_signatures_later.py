"""Signatures that are given after a release was published: they are brought to where it lies, while the registry is there and
after it was away. Debian's docker-registry over TLS; every call goes through the real broker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packs.conftest import Packs
from tests.packs.registry_support import (
    HOST,
    Outside,
    debian_registry,
    named,
    policy,
    public_key,
    published,
    released,
    trust,
)
from tests.packs.test_publishing import neighbour
from tests.packs.test_registry_rules import envelope, key
from tests.packs.test_vouching import operator
from worka.kernel.db import Database
from worka.kernel.errors import Conflict
from worka.packs import jobs, service
from worka.packs.registry import explain
from worka.packs.registry.remote import Remote, through_broker
from worka.packs.registry.service import destinations, market, publishing, vouching
from worka.packs.registry.service.publishing import signatures

Row = dict[str, Any]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """One for the tests of this file."""
    with debian_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


async def there(place: Packs, digest: str) -> int:
    """How many envelopes lie beside an artifact, read from the registry."""
    (target,) = await place.world.rows("destination", "state = 'active'")
    return len(await Remote(through_broker(place.platform()), target, None).fetch_signatures(digest))


async def shown(place: Packs, release: Row) -> Row:
    """What the release's page says of its signatures at the registry."""
    (image,) = (await market.answers(place.ctx("viewer"), release["id"]))["images"]
    return dict(image["signatures"])


async def carried(place: Packs) -> int:
    """The worker's part, of this tenant's."""
    rows = await place.world.rows("publication", "signatures_next is not null")
    return sum([await signatures.carry(place.platform(), row["id"]) for row in rows])


async def soon(place: Packs, publication: str) -> None:
    """Its pause is over."""
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.publication set signatures_next = clock_timestamp() where id = %s", (publication,)
        )


@pytest.mark.timeout(120)
@pytest.mark.capability("LIF-7", part="a signature that is given later is brought to where the release was published")
async def test_a_signature_that_is_given_later_is_brought_to_where_the_release_lies(
    place: Packs, db: Database, home: Path, registry: Outside
) -> None:
    release = await released(place, description=f"Says {secrets.token_hex(8)}.")
    await policy(place, image_destinations=["local", f"{HOST}:443/*"])
    await named(place, registry)
    local, row = await published(place, release), await published(place, release, "outside")
    assert row["state"] == "published"
    assert await carried(place) == 0, "nobody signed it yet"
    ours = await public_key(place)
    await trust(place, await operator(place), acme=([ours], 1))
    await vouching.sign(place.ctx(), release["id"])
    images = (await market.answers(place.ctx("viewer"), release["id"]))["images"]
    told = {image["publication_id"]: image["signatures"] for image in images}
    assert told[local["id"]] is None, "here they all are"
    assert (told[row["id"]]["there"], told[row["id"]]["of"]) == (0, 1)
    # The worker looks over all tenants.
    assert await jobs.carry_signatures(place.world.nobody()) >= 1
    assert await there(place, row["digest"]) == 1
    images = (await market.answers(place.ctx("viewer"), release["id"]))["images"]
    assert [
        (i["signatures"]["there"], i["signatures"]["of"], i["signatures"]["next"]) for i in images if i["signatures"]
    ] == [(1, 1, None)]
    assert await carried(place) == 0, "once"
    (event,) = await place.world.events("registry.signatures.carried")
    assert (event["after"]["there"], event["data"]["error"]) == (1, None)

    # Somebody else who fetches it has it; and what they put beside it stays there.
    other = await neighbour(place, db, home)
    await named(other, registry)
    drafted = await market.fetch(other.ctx(), other.world.workspace_id, destination="outside", digest=row["digest"])
    await service.run_registration(other.platform(), drafted["id"])
    assert (await market.answers(other.ctx(), drafted["id"]))["trust"]["state"] == "trusted"
    theirs = key()
    await vouching.attest(other.ctx(), drafted["id"], envelope(row["digest"], theirs))
    await policy(other, image_destinations=[f"{HOST}:443/*"])
    await published(other, {"id": drafted["id"]}, "outside")
    assert await there(place, row["digest"]) == 2
    await vouching.attest(place.ctx(), release["id"], envelope(row["digest"], key()))
    assert await carried(place) == 1
    assert await there(place, row["digest"]) == 3


@pytest.mark.timeout(120)
@pytest.mark.capability("LIF-7", part="a signature that is given later is brought to where the release was published")
@pytest.mark.capability("LIF-1", part="signatures fail to be brought, and are tried again, by themselves")
async def test_signatures_wait_for_a_registry_that_is_away_and_say_why(place: Packs, registry: Outside) -> None:
    release = await released(place, description=f"Says {secrets.token_hex(8)}.")
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    await named(place, registry)
    row = await published(place, release, "outside")
    await vouching.attest(place.ctx(), release["id"], envelope(row["digest"], key()))
    registry.stop()
    try:
        assert await carried(place) == 1
        told = await shown(place, release)
        assert (told["there"], told["of"], told["tries"], told["error"]["code"]) == (0, 1, 1, "registry_unreachable")
        assert told["next"] is not None
        assert await carried(place) == 0, "not before its pause is over"
        why = await explain.explain_publication(place.ctx("owner"), row["id"])
        assert (why.state, why.last_error and why.last_error.code) == ("published", "registry_unreachable")
        assert why.last_error is not None
        assert why.last_error.next_try == told["next"]
        assert f"worka registry retry {row['id']}" in [step.command for step in why.next]
        assert await place.world.events("registry.signatures.carried") == []
        # The last of its tries: it rests, and says how it is taken up.
        async with place.world.db.transaction(place.world.tenant_id) as conn:
            await conn.execute(
                "update worka.publication set signatures_tries = %s where id = %s",
                (signatures.MOST_TRIES - 1, row["id"]),
            )
        await soon(place, row["id"])
        assert await carried(place) == 1
        told = await shown(place, release)
        assert (told["next"], told["error"]["code"]) == (None, "registry_unreachable")
        (event,) = await place.world.events("registry.signatures.carried")
        assert event["data"]["error"] == "registry_unreachable"
    finally:
        registry.start()
    assert await carried(place) == 0, "it rests"
    await publishing.retry(place.ctx(), row["id"])
    assert await carried(place) == 1
    told = await shown(place, release)
    assert (told["there"], told["of"], told["error"]) == (1, 1, None)
    assert await there(place, row["digest"]) == 1
    with pytest.raises(Conflict):
        await publishing.retry(place.ctx(), row["id"])


@pytest.mark.timeout(120)
@pytest.mark.capability("REG-6", part="signatures go where policy lets the publication go by then, as who asked for it")
async def test_signatures_are_not_brought_where_the_publication_might_not_go_any_more(
    place: Packs, registry: Outside
) -> None:
    release = await released(place, description=f"Says {secrets.token_hex(8)}.")
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    await named(place, registry)
    row = await published(place, release, "outside")

    async def refused(what: str) -> None:
        await vouching.attest(place.ctx(), release["id"], envelope(row["digest"], key()))
        before = len(await place.world.rows("egress"))
        assert await carried(place) == 1
        told = await shown(place, release)
        code = (told["error"] or {}).get("code")
        assert (told["there"], told["next"], code) == (0, None, "publication_not_allowed"), what
        assert len(await place.world.rows("egress")) == before, "nothing was called"

    await policy(place, image_destinations=["local"])
    await refused("policy")
    await policy(place, image_destinations=[f"{HOST}:443/*"])
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.membership set role = 'viewer' where principal_id = %s", (place.world.ids["owner"],)
        )
    ctx = place.ctx("admin")
    await vouching.attest(ctx, release["id"], envelope(row["digest"], key()))
    assert await carried(place) == 1
    told = await shown(place, release)
    assert (told["there"], told["error"]["code"]) == (0, "publication_not_allowed")
    assert "may not publish it any more" in told["error"]["message"]
    async with place.world.db.transaction(place.world.tenant_id) as conn:
        await conn.execute(
            "update worka.membership set role = 'owner' where principal_id = %s", (place.world.ids["owner"],)
        )
    await publishing.retry(place.ctx(), row["id"])
    assert await carried(place) == 1
    assert (await shown(place, release))["there"] == 2, "the control"
    (target,) = await destinations.listing(place.ctx(), place.world.workspace_id, None, 10)
    await destinations.remove(place.ctx(), target["id"])
    await vouching.attest(place.ctx(), release["id"], envelope(row["digest"], key()))
    assert await carried(place) == 1
    assert "was removed" in (await shown(place, release))["error"]["message"]


@pytest.mark.capability("LIF-7", part="a signature that is given later is brought to where the release was published")
def test_what_is_tried_again_waits_longer_each_time_and_ends() -> None:
    found = [signatures.pause(tries) for tries in range(1, signatures.MOST_TRIES + 1)]
    assert found[:3] == [15.0, 30.0, 60.0]
    assert found[-2:] == [3600.0, None]
