"""Withdrawals of releases, packs and attachments with their receipts; advisories, and what they hit."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = {
    # The application role's rights beside reading: a receipt is evidence, and is never changed or deleted.
    "withdrawal": "insert",
    "pack_standing": "insert, update",
    "advisory": "insert, update",
    "advisory_package": "insert, delete",
    "finding": "insert, update",
}


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "withdrawals.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table, rights in TABLES.items():
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, {rights} on worka.{table} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
