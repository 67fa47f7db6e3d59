"""Groups, delegation, reminders, escalation, bypass, and the measures of fatigue."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = {
    # The application role's rights beside reading: what is evidence is never deleted.
    "approval_group": "insert, update, delete",
    "approval_group_member": "insert, delete",
    "approval_delegation": "insert, update",
    "approval_settings": "insert, update",
    "approval_bypass": "insert, update",
    "approval_seen": "insert",
}


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "approvals.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table, rights in TABLES.items():
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, {rights} on worka.{table} to "{app}"')
    run("revoke execute on function worka.approvals_due(integer) from public")
    run(f'grant execute on function worka.approvals_due(integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
