"""The ledger of what goes outside: followed, filtered, governed by policy, and answered by proposals."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "egress_outside.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in ("egress_policy", "egress_policy_change", "egress_proposal"):
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, insert, update on worka.{table} to "{app}"')
    # A version that held is evidence of why something was refused: it is never changed.
    run(f'revoke update on worka.egress_policy from "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
