"""Implements the kernel's Sealer: what layers below the treasury seal and sign with (decisions.md 23)."""

from __future__ import annotations

import hashlib
import hmac

from worka.kernel.context import Context
from worka.kernel.db import Connection
from worka.kernel.settings import Settings
from worka.treasury import keys, store
from worka.treasury.errors import Unreadable

DATA = "data"
AUDIT = "audit"
_VERSION = b"\x01"


class TreasurySealer:
    """Holds the master key in memory, and the tenants' keys once they were opened."""

    def __init__(self, settings: Settings) -> None:
        self._master = keys.master_key(settings)
        self.master_key_id = hashlib.sha256(b"id:" + self._master).hexdigest()[:16]
        self._wrapping = keys.derive(self._master, "wrap")
        self._deployment: dict[str, bytes] = {}
        self._tenants: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"TreasurySealer({self.master_key_id})"

    async def seal(self, ctx: Context, purpose: str, plaintext: bytes) -> bytes:
        """Version byte, nonce, ciphertext: under the tenant's data key, bound to tenant and purpose."""
        tenant = _tenant(ctx)
        async with ctx.transaction() as conn:
            key = await self.tenant_key(conn, tenant, DATA)
        nonce, sealed = keys.encrypt(key, plaintext, keys.place(tenant, purpose))
        return _VERSION + nonce + sealed

    async def open(self, ctx: Context, purpose: str, sealed: bytes) -> bytes:
        """The plaintext of `seal` with the same tenant and purpose. Raises Unreadable."""
        tenant = _tenant(ctx)
        sealed = bytes(sealed)
        if sealed[:1] != _VERSION:
            raise Unreadable(f"{purpose} has an unknown format.", item=purpose)
        async with ctx.transaction() as conn:
            key = await self.tenant_key(conn, tenant, DATA)
        cut = 1 + keys.NONCE
        return keys.decrypt(key, sealed[1:cut], sealed[cut:], keys.place(tenant, purpose), purpose)

    def hmac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 under a key of the deployment for this purpose (tokens are stored as this)."""
        key = self._deployment.get(purpose)
        if key is None:
            key = self._deployment[purpose] = keys.derive(self._master, f"hmac:{purpose}")
        return hmac.new(key, data, hashlib.sha256).digest()

    async def audit_key(self, conn: Connection, tenant_id: str) -> bytes:
        """The tenant's key for the MACs of its ledger; the platform's own chain has a derived one."""
        if tenant_id.startswith("_"):
            return keys.derive(self._master, f"audit:{tenant_id}")
        return await self.tenant_key(conn, tenant_id, AUDIT)

    async def tenant_key(self, conn: Connection, tenant: str, purpose: str) -> bytes:
        """A tenant's key, made and wrapped at first use. Kept in memory only once it is committed."""
        known = self._tenants.get((tenant, purpose))
        if known is not None:
            return known
        row = await store.tenant_key(conn, tenant, purpose)
        where = keys.place(tenant, purpose, 1)
        if row is None:
            fresh = keys.make_key()
            nonce, wrapped = keys.encrypt(self._wrapping, fresh, where)
            await store.add_tenant_key(conn, tenant, purpose, nonce + wrapped, self.master_key_id)
            row = await store.tenant_key(conn, tenant, purpose)
            assert row is not None
            # This transaction may still roll back: another key could then become the tenant's.
            return self._unwrap(row, where, tenant, purpose)
        key = self._tenants[(tenant, purpose)] = self._unwrap(row, where, tenant, purpose)
        return key

    def _unwrap(self, row: store.Row, where: bytes, tenant: str, purpose: str) -> bytes:
        wrapped = bytes(row["wrapped"])
        return keys.decrypt(
            self._wrapping, wrapped[: keys.NONCE], wrapped[keys.NONCE :], where, f"the {purpose} key of {tenant}"
        )


def _tenant(ctx: Context) -> str:
    if ctx.tenant_id is None:
        raise RuntimeError("sealing needs a tenant")
    return ctx.tenant_id
