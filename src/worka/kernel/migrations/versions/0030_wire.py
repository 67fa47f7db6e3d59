"""What an egress row tells of the wire, what left on a day, and how the certificate of an outside name is checked."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "wire.sql").read_text())
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in ("egress_use", "upstream_trust"):
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'grant select, insert, update on worka.{table} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
