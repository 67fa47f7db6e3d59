"""Who vouches for a release: keys of publishers, signatures, the operator's trust roots, and people who looked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from worka.kernel.clock import now
from worka.kernel.context import Context, Resource
from worka.kernel.db import Connection
from worka.kernel.ids import new_id
from worka.packs import actions as pack_actions
from worka.packs import store as packs
from worka.packs.errors import ReleaseNotFound
from worka.packs.registry import actions, dsse, events, oci, roots, rules, store
from worka.packs.registry.errors import (
    ArtifactInvalid,
    EnvelopeInvalid,
    KeyThere,
    PublisherKeyNotFound,
    RootInvalid,
    SignatureNotTrusted,
)
from worka.packs.registry.service import artifacts, policies
from worka.packs.service import reading, withdrawing
from worka.treasury import rules as treasury_rules
from worka.treasury import service as treasury
from worka.treasury import signing

Row = dict[str, Any]
BUILDER = "https://worka.dev/builder/host/v1"
MOST_ENVELOPES = 16
"""Kept of a release where no known key signed them."""
MOST_VERIFIED = 64
"""Kept of a release where one did."""


# the trust root -----------------------------------------------------------------------------------------------------
async def set_root(ctx: Context, document: Row) -> Row:
    """The deployment's next trust root; in force for the very next check. The operator only. Raises Denied, RootInvalid."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await platform.require(actions.TRUST_ROOT_SET, Resource("tenant", "deployment"))
        held = await store.trust_root(conn)
        try:
            if len(json.dumps(document)) > 512 * 1024:
                raise roots.RootProblem("root_malformed", "it has more than 512 KiB")
            new = roots.follows(held and held["document"], document, now())
        except roots.RootProblem as problem:
            raise RootInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.", reason=problem.reason) from problem
        if not await store.add_trust_root(conn, new.version, document, ctx.principal.id):
            raise RootInvalid("Another version was set just now.", reason="root_replayed")
        platform.record(events.root_set(new.version, new.expires.isoformat(), sorted(new.publishers)))
        platform.commit_points("registry.trust_root")
        row = await store.trust_root(conn)
        assert row is not None
        return root_shown(row)


async def show_root(ctx: Context, workspace_id: str) -> Row:
    """The root in force, as everybody may check with it; version 0: there is none. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        row = await store.trust_root(conn)
    if row is None:
        return {
            "version": 0,
            "state": "missing",
            "expires": None,
            "publishers": {},
            "document": None,
            "created_at": None,
        }
    return root_shown(row)


async def list_roots(ctx: Context, before: int | None, limit: int) -> list[Row]:
    """Every version, newest first (up to limit + 1). The operator only. Raises Denied."""
    platform = _platform(ctx)
    async with platform.transaction() as conn:
        await platform.require(actions.TRUST_ROOT_VIEW, Resource("tenant", "deployment"))
        return [root_shown(row) for row in await store.trust_roots(conn, before, limit + 1)]


def root_shown(row: Row) -> Row:
    """A trust root as the API shows it."""
    root = roots.read(row["document"])
    publishers = {
        name: {"keyids": sorted(role.keys), "threshold": role.threshold} for name, role in root.publishers.items()
    }
    state = "expired" if root.expires <= now() else "in_force"
    return {
        "version": root.version, "state": state, "expires": root.expires, "publishers": publishers,
        "document": row["document"], "created_at": row["created_at"],
    }  # fmt: skip


def _platform(ctx: Context) -> Context:
    """The same request outside of every tenant, where the operator's rights are."""
    platform = ctx.acting(ctx.principal)
    platform.tenant_id, platform.workspace_id = None, None
    return platform


async def verdict(conn: Connection, publisher: str, digest: str | None, envelopes: list[Row]) -> roots.Verdict:
    """What the root in force says of these envelopes, now."""
    (found,) = await verdicts(conn, [(publisher, digest, envelopes)])
    return found


async def verdicts(conn: Connection, asked: list[tuple[str, str | None, list[Row]]]) -> list[roots.Verdict]:
    """The same for many (publisher, digest, envelopes): beside those who are served meanwhile, as it is arithmetic."""
    held, at = await store.trust_root(conn), now()
    document = held and held["document"]
    return await asyncio.to_thread(lambda: [roots.verdict(document, *one, at) for one in asked])


async def check_attachable(ctx: Context, release: Row, workspace_id: str) -> None:
    """In the transaction of an attachment: raises SignatureNotTrusted where policy wants a trusted signature and there is
    none."""
    conn = ctx.conn
    if not (await policies.effective(ctx, conn, workspace_id)).require_signature:
        return
    artifact = await store.artifact_of(conn, release["id"])
    said = [row["envelope"] for row in await store.attestations(conn, release["id"])]
    found = await verdict(conn, release["publisher"], artifact["digest"] if artifact else None, said)
    if found.state != "trusted":
        name = f"{release['publisher']}.{release['name']} {release['version']}"
        raise SignatureNotTrusted(f"{name}: {found.sentence}", release_id=release["id"], reason=found.reason)


async def attachable(ctx: Context, release: Row, workspace_id: str) -> bool:
    """Whether `check_attachable` lets it pass."""
    try:
        await check_attachable(ctx, release, workspace_id)
    except SignatureNotTrusted:
        return False
    return True


# keys and signatures ------------------------------------------------------------------------------------------------
async def make_key(ctx: Context, workspace_id: str, publisher: str) -> Row:
    """A fresh Ed25519 key for a publisher of this workspace: its private half goes into the treasury and never comes out.
    Raises Denied, KeyThere, and Conflict where the publisher belongs to another workspace."""
    assert ctx.tenant_id is not None
    async with ctx.transaction() as conn:
        await ctx.require(
            actions.SIGN, Resource("pack", publisher, workspace_id, {"publisher": publisher}), publisher=publisher
        )
        await packs.lock_identity(conn, ctx.tenant_id, publisher)
        holder = await packs.publisher_workspace(conn, publisher)
        if holder not in (None, workspace_id):
            raise KeyThere(f"The publisher {publisher} belongs to another workspace.", code="publisher_taken")
        if (there := await _usable(conn, workspace_id, publisher)) is not None:
            raise KeyThere(f"{publisher} signs with {there['key_id'][:16]}….", key_id=there["key_id"])
        seed, public = signing.new_seed()
        key_id = signing.key_id(public)
        secret = await treasury.create(
            ctx, workspace_id, name=f"signing-{publisher}-{key_id[:8]}", purpose=f"Signs releases of {publisher}.",
            kind=signing.KIND, value=seed,
        )  # fmt: skip
        row = {
            "tenant_id": ctx.tenant_id, "id": new_id("key"), "workspace_id": workspace_id, "publisher": publisher,
            "key_id": key_id, "public_key": public, "secret_id": secret["id"], "created_by": ctx.principal.id,
        }  # fmt: skip
        await store.add_key(conn, row)
        ctx.record(events.key_made(row))
        ctx.commit_points("registry.changed")
        made = await store.keys(conn, workspace_id, publisher, None, 1)
        return key_shown(made[0])


async def list_keys(ctx: Context, workspace_id: str, after: str | None, limit: int) -> list[Row]:
    """The publishers' keys of a workspace, newest first (up to limit + 1): public halves only. Raises Denied."""
    async with ctx.transaction() as conn:
        await ctx.require(pack_actions.VIEW.name, Resource("pack", "*", workspace_id))
        return [key_shown(row) for row in await store.keys(conn, workspace_id, None, after, limit + 1)]


def key_shown(row: Row) -> Row:
    """A key as the API shows it."""
    names = (
        "id",
        "workspace_id",
        "publisher",
        "key_id",
        "public_key",
        "secret_id",
        "state",
        "created_by",
        "created_at",
    )
    return {name: row[name] for name in names}


async def _usable(conn: Connection, workspace_id: str, publisher: str) -> Row | None:
    rows = await store.keys(conn, workspace_id, publisher, None, 50)
    return next((row for row in rows if row["state"] in treasury_rules.LEASABLE), None)


async def sign(ctx: Context, release_id: str) -> Row:
    """Vouches for a release's artifact with its publisher's key, out of the treasury. Raises ReleaseNotFound, Denied,
    PublisherKeyNotFound, SecretRevoked, PackWithdrawn, ArtifactInvalid."""
    release = await _own(ctx, release_id)
    async with ctx.transaction() as conn:
        key = await _usable(conn, release["workspace_id"], release["publisher"])
        facts = {"pack": _pack(release), "publisher": release["publisher"], "release": release_id}
        facts |= {"secret": key["secret_id"]} if key else {}
        await ctx.require(actions.SIGN, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
        if key is None:
            raise PublisherKeyNotFound(f"{release['publisher']} has no key that signs.")
    artifact = await _artifact(ctx, release)
    async with ctx.transaction():
        # Decided again, with what it commits: a kill switch or a taken right counts until then.
        await ctx.require(actions.SIGN, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
        payload = _statement(release, artifact)
        signature = await signing.sign(ctx, key["secret_id"], dsse.pae(dsse.PAYLOAD_TYPE, payload))
        await _attest(ctx, release, artifact["digest"], dsse.envelope(payload, [(key["key_id"], signature)]))
    return await of_release(ctx, release_id)


async def attest(ctx: Context, release_id: str, envelope: Row) -> Row:
    """Takes an envelope that was signed elsewhere, by a key that never was here. Whether it counts, the trust root says; that
    it is about this release's artifact is checked now. Raises ReleaseNotFound, Denied, EnvelopeInvalid, ArtifactInvalid."""
    release = await _own(ctx, release_id)
    facts = {"pack": _pack(release), "publisher": release["publisher"], "release": release_id}
    await ctx.require(actions.SIGN, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
    artifact = await _artifact(ctx, release)
    async with ctx.transaction():
        await ctx.require(actions.SIGN, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
        try:
            payload, pairs = dsse.read(envelope)
            about = dsse.said(payload)
        except dsse.EnvelopeProblem as problem:
            raise EnvelopeInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.") from problem
        if about.digest != artifact["digest"]:
            raise EnvelopeInvalid(
                f"It is about {about.digest}, this release is {artifact['digest']}.", reason="signature_of_another"
            )
        if not await _attest(ctx, release, artifact["digest"], dsse.envelope(payload, pairs)):
            raise EnvelopeInvalid(
                f"A release has {MOST_VERIFIED} envelopes at most, and {MOST_ENVELOPES} that no known key signed."
            )
    return await of_release(ctx, release_id)


async def carry_over(ctx: Context, release: Row, digest: str, envelopes: list[Row]) -> None:
    """In the transaction of an installation: what was said of the artifact where it came from is kept with it here."""
    for given in envelopes[:MOST_VERIFIED]:
        try:
            payload, pairs = dsse.read(given)
            about = dsse.said(payload).digest
        except dsse.EnvelopeProblem:
            continue
        if about == digest:
            await _attest(ctx, release, digest, dsse.envelope(payload, pairs))


async def _known_keys(ctx: Context, release: Row) -> dict[str, str]:
    """id -> public key of those keys whose signature is one of this publisher's, as far as is known here: the trust root's, and
    the workspace's own that still sign."""
    held = await store.trust_root(ctx.conn)
    own = await store.keys(ctx.conn, release["workspace_id"], release["publisher"], None, 50)
    mine = {row["key_id"]: row["public_key"] for row in own if row["state"] in treasury_rules.LEASABLE}
    return mine | roots.keys_of(held and held["document"], release["publisher"])


async def _attest(ctx: Context, release: Row, digest: str, envelope: Row) -> bool:
    """Keeps an envelope, and says that a key signed if one did, with the signatures that hold alone. What no known key
    signed is kept too, since a later root may know its key; but of it there are a few alone, and it takes no place of what is
    signed. False: there are too many."""
    verified = dsse.signers(envelope, await _known_keys(ctx, release))
    if verified:
        # What else it claims would be looked at again by everybody who asks whether it holds.
        payload, pairs = dsse.read(envelope)
        envelope = dsse.envelope(payload, [pair for pair in pairs if pair[0] in verified])
    await store.lock_attestations(ctx.conn, release["id"])
    there = await store.attestations(ctx.conn, release["id"])
    same = [row for row in there if row["verified"] == bool(verified)]
    if len(same) >= (MOST_VERIFIED if verified else MOST_ENVELOPES) and all(
        row["envelope"] != envelope for row in same
    ):
        return False
    row = {
        "tenant_id": ctx.tenant_id, "id": new_id("atn"), "workspace_id": release["workspace_id"],
        "release_id": release["id"], "digest": digest, "envelope": envelope, "verified": bool(verified),
        "key_id": min(verified) if verified else dsse.read(envelope)[1][0][0], "created_by": ctx.principal.id,
    }  # fmt: skip
    made = await store.add_attestation(ctx.conn, row)
    if made is not None:
        told = events.signed if verified else events.envelope_kept
        ctx.record(told(made, f"{_pack(release)} {release['version']}"))
        await store.want_signatures(ctx.conn, release["id"], digest)
        ctx.commit_points("registry.changed")
    return True


def _statement(release: Row, artifact: Row) -> bytes:
    repository, revision = rules.source_of(release["manifest"])
    return dsse.statement(
        name=f"{_pack(release)}@{release['version']}", digest=artifact["digest"], contents=artifact["contents"],
        repository=repository, revision=revision, builder=BUILDER,
    )  # fmt: skip


async def of_release(ctx: Context, release_id: str) -> Row:
    """{release_id, digest, trust, signatures}: what is said of a release, and what it counts. Raises ReleaseNotFound."""
    release = await _seen(ctx, release_id)
    async with ctx.transaction() as conn:
        artifact = await store.artifact_of(conn, release_id)
        rows = await store.attestations(conn, release_id)
        digest = artifact["digest"] if artifact else None
        found = await verdict(conn, release["publisher"], digest, [row["envelope"] for row in rows])
        held = await store.trust_root(conn)
    named = roots.keys_of(held and held["document"], release["publisher"])
    counted = {key: public for key, public in named.items() if key in found.keys}
    return {
        "release_id": release_id,
        "digest": digest,
        "trust": trust_shown(found),
        "signatures": [
            {**{key: row[key] for key in ("id", "key_id", "digest", "envelope", "created_by", "created_at")},
             "trusted": row["digest"] == digest and bool(dsse.signers(row["envelope"], counted))}
            for row in rows
        ],
    }  # fmt: skip


def trust_shown(found: roots.Verdict) -> Row:
    """A verdict as the API shows it."""
    return {"state": found.state, "reason": found.reason, "sentence": found.sentence, "keys": list(found.keys)}


# people -------------------------------------------------------------------------------------------------------------
async def review(ctx: Context, release_id: str, note: str) -> Row:
    """Records that a person looked at the release's artifact. Raises ReleaseNotFound, Denied, ArtifactInvalid."""
    release = await _own(ctx, release_id)
    facts = {"pack": _pack(release), "publisher": release["publisher"], "release": release_id}
    await ctx.require(actions.REVIEW, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
    artifact = await _artifact(ctx, release)
    async with ctx.transaction() as conn:
        await ctx.require(actions.REVIEW, Resource("pack", _pack(release), release["workspace_id"], facts), **facts)
        row = {
            "tenant_id": ctx.tenant_id, "id": new_id("rev"), "workspace_id": release["workspace_id"],
            "release_id": release_id, "digest": artifact["digest"], "note": note, "created_by": ctx.principal.id,
        }  # fmt: skip
        await store.add_review(conn, row)
        ctx.record(events.reviewed(row, f"{_pack(release)} {release['version']}"))
        ctx.commit_points("registry.changed")
        made = (await store.reviews(conn, release_id))[0]
    return {key: made[key] for key in ("id", "release_id", "digest", "note", "created_by", "created_at")}


async def _artifact(ctx: Context, release: Row) -> Row:
    if release["state"] != "released":
        raise ArtifactInvalid(
            f"{_pack(release)} {release['version']} is {release['state']}.", code="release_not_usable"
        )
    async with ctx.transaction():
        await withdrawing.refuse_withdrawn(ctx, _pack(release))
    try:
        return await artifacts.keep(ctx.alone(), release)
    except oci.ArtifactProblem as problem:
        raise ArtifactInvalid(f"{str(problem)[:1].upper()}{str(problem)[1:]}.", reason=problem.reason) from problem


def _pack(release: Row) -> str:
    return f"{release['publisher']}.{release['name']}"


async def _seen(ctx: Context, release_id: str) -> Row:
    return await reading.release(ctx, release_id)


async def _own(ctx: Context, release_id: str) -> Row:
    """The release, for who may see it in its own workspace. Raises ReleaseNotFound."""
    release = await _seen(ctx, release_id)
    pack = _pack(release)
    decision = await ctx.decide(pack_actions.VIEW.name, Resource("pack", pack, release["workspace_id"], {"pack": pack}))
    if decision.verdict == "deny":
        raise ReleaseNotFound(f"There is no release {release_id}.")
    return release
