"""Service accounts: principals of a tenant's own, each owned by a person."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "service_accounts.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    run("alter table worka.service_account enable row level security")
    run("alter table worka.service_account force row level security")
    run(f"create policy tenant_isolation on worka.service_account using ({mine}) with check ({mine})")
    run(f'create policy lookup on worka.service_account for select to "{owner}" using (true)')
    # Never deleted: what it did names it.
    run(f'grant select, insert, update on worka.service_account to "{app}"')


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
