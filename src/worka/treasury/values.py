"""Values as they lie sealed: put there, and opened for the treasury's own files, unless the operator sealed all of it."""

from __future__ import annotations

from typing import Any

from worka.kernel.context import Context
from worka.treasury import errors, keys, store
from worka.treasury.rules import Refusal
from worka.treasury.sealer import TreasurySealer

Row = dict[str, Any]


def sealer_of(ctx: Context) -> TreasurySealer:
    """The sealer of this process."""
    assert isinstance(ctx.sealer, TreasurySealer)
    return ctx.sealer


async def put(ctx: Context, row: Row, version: int, data: bytes) -> None:
    """Seals a value as this version of the secret."""
    key_version, key = await sealer_of(ctx).tenant_key(ctx.conn, row["tenant_id"], "data", look=True)
    nonce, sealed = keys.encrypt(key, data, _bound(row, version))
    await store.add_version(ctx.conn, row["tenant_id"], row["id"], version, key_version, nonce, sealed)


def _bound(row: Row, version: int) -> bytes:
    """What a sealed value is bound to: it opens as this version of this secret of this tenant, and as nothing else."""
    return keys.associated("secret", row["tenant_id"], row["id"], version)


async def opened(ctx: Context, row: Row, version: int | None = None) -> str:
    """For the treasury's own files: the value of a secret that does not leave (a signing key), or leaves by their rules.
    Raises SecretUnreadable, SecretReplayed, KeyDestroyed, TreasurySealed."""
    await unsealed(ctx)
    return await value(ctx, row, row["version"] if version is None else version)


async def value(ctx: Context, row: Row, version: int) -> str:
    """The value of a version. Raises SecretUnreadable, SecretReplayed, KeyDestroyed."""
    return await open_stored(ctx, row, await stored(ctx, row, version))


async def stored(ctx: Context, row: Row, version: int) -> Row:
    """The sealed value of a version that is there. Raises SecretUnreadable, SecretReplayed."""
    found = await store.version(ctx.conn, row["id"], version)
    if found is not None and found["newest"] != row["version"]:
        raise errors.SecretReplayed(
            f"{row['name']} ({row['id']}) says that version {row['version']} is its newest, and {found['newest']} is.",
            item=row["id"],
            reason="secret_replayed",
        )
    if found is None or found["ended_at"] is not None:
        raise errors.SecretUnreadable(f"{row['name']}: version {version} is gone.", item=row["id"])
    return found


async def open_stored(ctx: Context, row: Row, found: Row) -> str:
    """What `stored` found, opened. Raises SecretUnreadable, KeyDestroyed."""
    _, key = await sealer_of(ctx).tenant_key(ctx.conn, row["tenant_id"], "data", found["key_version"])
    try:
        return unlocked(key, row, found)
    except (keys.Unopened, UnicodeDecodeError) as error:
        raise errors.SecretUnreadable(f"{row['name']} ({row['id']}) does not open.", item=row["id"]) from error


def unlocked(key: bytes, row: Row, found: Row) -> str:
    """The value under its data key. Raises Unopened, UnicodeDecodeError."""
    bound = _bound(row, found["version"])
    return keys.decrypt(key, bytes(found["nonce"]), bytes(found["ciphertext"]), bound).decode()


async def sealed(ctx: Context) -> Refusal | None:
    """Whether the operator has sealed the treasury: read in the transaction of the lease, so in every process at once."""
    seal = await store.sealed(ctx.conn)
    if seal is None or not seal["sealed"]:
        return None
    return Refusal("treasury_sealed", f"the treasury was sealed by {seal['by_name'] or seal['by_whom']}: {seal['why']}")


async def unsealed(ctx: Context) -> None:
    """For what gives or uses a value without a lease. Raises TreasurySealed."""
    refusal = await sealed(ctx)
    if refusal is not None:
        raise errors.TreasurySealed(refusal.sentence[:1].upper() + refusal.sentence[1:] + ".", reason="treasury_sealed")
