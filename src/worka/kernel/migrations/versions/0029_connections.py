"""Connections by OAuth: clients at providers, consents, renewed tokens, personal accounts, restrictions, receipts."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# A client, a consent and a restriction are evidence: never deleted.
TABLES = ("provider_client", "connection_flow", "provider_restriction")


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "connections.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in TABLES:
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, insert, update on worka.{table} to "{app}"')
    run("revoke execute on function worka.connections_due(integer) from public")
    run(f'grant execute on function worka.connections_due(integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
