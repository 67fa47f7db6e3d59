"""The platform's own way out, and notifications: webhooks, deliveries, attempts, choices."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = {
    # The application role's rights beside reading: what is evidence is never changed or deleted.
    "platform_rule": "insert, update",
    "webhook": "insert, update",
    "webhook_secret": "insert, update, delete",
    "delivery": "insert, update",
    "delivery_attempt": "insert",
    "notification_choice": "insert, update",
}


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "notifications.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table, rights in TABLES.items():
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, {rights} on worka.{table} to "{app}"')
    run("revoke execute on function worka.deliveries_due(integer, integer, integer, integer) from public")
    run(f'grant execute on function worka.deliveries_due(integer, integer, integer, integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
