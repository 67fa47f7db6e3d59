"""Governance: policy in layers, changes that a second person approves, break-glass, kill switches."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TENANT_TABLES = ("policy_proposal", "policy_break_glass", "kill")


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / f"{revision}.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in TENANT_TABLES:
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        # Nothing of this is ever taken away: a lifted kill, an ended break-glass and a refused proposal are evidence.
        run(f'grant select, insert, update on worka.{table} to "{app}"')
    # The deployment's own policy holds no secret, and every decision reads it; it is written by its function only.
    run("alter table worka.deployment_policy enable row level security")
    run("alter table worka.deployment_policy force row level security")
    run("create policy readable on worka.deployment_policy for select using (true)")
    run(f'create policy lookup on worka.deployment_policy to "{owner}" using (true) with check (true)')
    run(f'grant select on worka.deployment_policy to "{app}"')
    function = "worka.deployment_policy_add(text, integer, text, text, text)"
    run(f"revoke execute on function {function} from public")
    run(f'grant execute on function {function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
