"""The registry: sources, artifacts, publications, listings, attestations, reviews, its policy, and the operator's trust roots."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLES = {
    # The application role's rights beside reading: what is evidence is never changed or deleted.
    "pack_source": "insert",
    "artifact": "insert",
    "destination": "insert, update",
    "publication": "insert, update",
    "listing": "insert, update",
    "publisher_key": "insert",
    "attestation": "insert",
    "release_review": "insert",
    "registry_policy": "insert",
}


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "registry.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table, rights in TABLES.items():
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, {rights} on worka.{table} to "{app}"')
    run(f'grant select on worka.trust_root to "{app}"')
    run("revoke execute on function worka.market_shows(text, text, text, worka.listing) from public")
    for function in (
        "trust_root_add(integer, jsonb, text)",
        "market(text, text[])",
        "market_search(text, text[], integer)",
    ):
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
