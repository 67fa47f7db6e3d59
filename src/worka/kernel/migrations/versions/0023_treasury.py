"""The treasury: rotation with an overlap, dates, readings, key destruction, the seal."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "treasury_seal_set(boolean, text, text, text)",
    "secrets_due(integer, interval)",
    "keys_by_master()",
    "tenants_under(text[], integer)",
    "secrets_ending(interval)",
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "treasury.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    # A reading and a destruction are evidence: never deleted.
    for table in ("secret_reading", "key_destruction"):
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, insert, update on worka.{table} to "{app}"')
    # Every lease of every tenant reads whether the treasury is sealed; its function writes it.
    run("alter table worka.treasury_seal enable row level security")
    run("alter table worka.treasury_seal force row level security")
    run("create policy readable on worka.treasury_seal for select using (true)")
    run(f'create policy lookup on worka.treasury_seal to "{owner}" using (true) with check (true)')
    run(f'grant select on worka.treasury_seal to "{app}"')
    # Which versions and keys there were is how a replayed one is told: no row of them goes.
    run(f'revoke delete on worka.secret_version, worka.secret, worka.tenant_key from "{app}"')
    for function in FUNCTIONS:
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
