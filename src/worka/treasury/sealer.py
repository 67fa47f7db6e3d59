"""Implements the kernel's Sealer: layers below the treasury seal through it without knowing keys."""

from __future__ import annotations

import time
from typing import Any, Literal

from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.settings import Settings
from worka.treasury import keys, store
from worka.treasury.errors import KeyDestroyed, SecretUnreadable
from worka.treasury.ring import Ring

PLATFORM = "_platform"  # the chain of no tenant: its audit key comes from the master key itself
_FORMAT = b"\x01"
_OWN = b"\x02"
_HEAD = 1 + 4 + 12  # format, key version, nonce

Purpose = Literal["data", "audit"]


FRESH_SECONDS = 30.0
"""How long a key is used without a look at its row: as long as a destroyed one may live on in another process."""


class TreasurySealer:
    """Keys of tenants, unwrapped and kept in memory for a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ring = Ring(settings)
        self._known: dict[tuple[str, str, int], tuple[float, bytes]] = {}
        self._newest: dict[tuple[str, str], int] = {}

    @property
    def master(self) -> keys.MasterKey:
        """The master key in force, read when it is first needed. Raises MasterKeyUnreadable."""
        return self.ring.current

    def forget(self, tenant: str) -> None:
        """Its keys are read again when they are needed next."""
        self._known = {which: held for which, held in self._known.items() if which[0] != tenant}
        self._newest = {which: held for which, held in self._newest.items() if which[0] != tenant}

    async def seal(self, ctx: Context, purpose: str, plaintext: bytes) -> bytes:
        """Ciphertext under the tenant's data key; the tenant and `purpose` are bound to it."""
        tenant = _tenant(ctx)
        version, key = await self._of(ctx, tenant)
        nonce, sealed = keys.encrypt(key, plaintext, keys.associated("sealed", tenant, purpose, version))
        return _FORMAT + version.to_bytes(4, "big") + nonce + sealed

    async def open(self, ctx: Context, purpose: str, sealed: bytes) -> bytes:
        """The plaintext. Raises SecretUnreadable for what was changed, or sealed for another tenant or purpose."""
        tenant, sealed = _tenant(ctx), bytes(sealed)
        if len(sealed) < _HEAD or sealed[:1] != _FORMAT:
            raise SecretUnreadable(f"{purpose}: the sealed bytes are not in our format.", item=purpose)
        version = int.from_bytes(sealed[1:5], "big")
        try:
            _, key = await self._of(ctx, tenant, version)
            return keys.decrypt(
                key, sealed[5:_HEAD], sealed[_HEAD:], keys.associated("sealed", tenant, purpose, version)
            )
        except keys.Unopened as error:
            raise SecretUnreadable(f"{purpose}: the sealed bytes do not open.", item=purpose) from error

    def seal_own(self, purpose: str, plaintext: bytes) -> bytes:
        """Ciphertext under the deployment's own key: of people, who belong to no tenant. `purpose` is bound to it."""
        nonce, sealed = keys.encrypt(self.master.derive("own"), plaintext, keys.associated("own", purpose))
        return _OWN + nonce + sealed

    def open_own(self, purpose: str, sealed: bytes) -> bytes:
        """The plaintext. Raises SecretUnreadable for what was changed, sealed for another purpose or by another key."""
        sealed = bytes(sealed)
        if sealed[:1] != _OWN:
            raise SecretUnreadable(f"{purpose}: the sealed bytes are not in our format.", item=purpose)
        try:
            return keys.decrypt(self.master.derive("own"), sealed[1:13], sealed[13:], keys.associated("own", purpose))
        except keys.Unopened as error:
            raise SecretUnreadable(f"{purpose}: the sealed bytes do not open.", item=purpose) from error

    def hmac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 under a key of the deployment for this purpose (tokens are stored like this)."""
        return self.master.hmac(purpose, data)

    async def audit_key(self, conn: Connection, tenant_id: str) -> bytes:
        """The key of the tenant's audit MACs; the connection is in a transaction of that tenant."""
        if tenant_id == PLATFORM:
            return self.master.derive("audit/platform")
        return (await self.tenant_key(conn, tenant_id, "audit"))[1]

    async def _of(self, ctx: Context, tenant: str, version: int | None = None) -> tuple[int, bytes]:
        if ctx.tx is not None:
            return await self.tenant_key(ctx.conn, tenant, "data", version)
        async with ctx.db.transaction(tenant) as conn:
            return await self.tenant_key(conn, tenant, "data", version)

    async def tenant_key(
        self, conn: Connection, tenant: str, purpose: Purpose, version: int | None = None, *, look: bool = False
    ) -> tuple[int, bytes]:
        """(version, key): this version, or the newest, made at first use. `look`: the newest there is now, not the newest
        that was seen a moment ago. Raises MasterKeyMismatch, SecretUnreadable, KeyDestroyed."""
        wanted = self._newest.get((tenant, purpose)) if version is None else version
        if wanted is not None and not look:
            held = self._known.get((tenant, purpose, wanted))
            if held is not None and time.monotonic() - held[0] < FRESH_SECONDS:
                return wanted, held[1]
        row = await store.tenant_key(conn, tenant, purpose, version)
        if version is None and (row is None or row["destroyed_at"] is not None):
            row = await self.add_key(conn, tenant, purpose, row["version"] + 1 if row else 1)
        if row is None:
            raise SecretUnreadable(f"There is no {purpose} key {version} of this tenant.", item=f"{purpose} key")
        return row["version"], self._unwrapped(tenant, purpose, row)

    def held(self, tenant: str, purpose: Purpose, version: int | None = None) -> bytes | None:
        """This version of a key, or the newest, if it is known here and will be for a second; None: look for it."""
        wanted = self._newest.get((tenant, purpose)) if version is None else version
        known = self._known.get((tenant, purpose, wanted)) if wanted is not None else None
        return known[1] if known is not None and time.monotonic() - known[0] < FRESH_SECONDS - 1 else None

    async def add_key(self, conn: Connection, tenant: str, purpose: Purpose, version: int) -> dict[str, Any] | None:
        """The row of a key of this version: ours, or whoever was first."""
        master = self.ring.newest()
        fresh = master.wrap(tenant, purpose, version, keys.new_key())
        await store.add_tenant_key(conn, tenant, purpose, version, fresh, master.id)
        return await store.tenant_key(conn, tenant, purpose, version)

    def _unwrapped(self, tenant: str, purpose: str, row: dict[str, Any]) -> bytes:
        if row["destroyed_at"] is not None:
            self.forget(tenant)
            raise KeyDestroyed(
                f"The {purpose} key {row['version']} of this tenant was destroyed.", item=f"{purpose} key"
            )
        master = self.ring.by_id(row["master_key_id"])
        try:
            key = master.unwrap(tenant, purpose, row["version"], bytes(row["wrapped"]))
        except keys.Unopened as error:
            raise SecretUnreadable(f"The {purpose} key of the tenant does not open.", item=f"{purpose} key") from error
        if not row["fresh"]:  # one made in this transaction may be rolled back: it must not outlive it here
            self._known[tenant, purpose, row["version"]] = time.monotonic(), key
            self._newest[tenant, purpose] = max(row["version"], self._newest.get((tenant, purpose), 0))
        return key


def _tenant(ctx: Context) -> str:
    if ctx.tenant_id is None:
        raise RuntimeError("sealing needs a tenant")
    return ctx.tenant_id
