"""Limits per tenant, workspace and member; the line of tasks that wait for a place."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# The rows of a limit stay when it is taken away: their revision goes on.
TENANT_TABLES = ("quota", "rate_bucket")
FUNCTIONS = (
    "deployment_quota_set(text, text, bigint, integer, text, text, text)",
    "tasks_held(integer)",
    "rates_of(text[], text)",
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "quotas.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in TENANT_TABLES:
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, insert, update on worka.{table} to "{app}"')
    # The deployment's own limits hold for every tenant, and each may see what it is held to; its function writes them.
    run("alter table worka.deployment_quota enable row level security")
    run("alter table worka.deployment_quota force row level security")
    run("create policy readable on worka.deployment_quota for select using (true)")
    run(f'create policy lookup on worka.deployment_quota to "{owner}" using (true) with check (true)')
    run(f'grant select on worka.deployment_quota to "{app}"')
    run(f'grant select on worka.limit_in_force to "{app}"')
    for function in FUNCTIONS:
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
