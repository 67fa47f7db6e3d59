"""The first road: every table, its row-level security, and the lookups across tenants."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Tables without a tenant: they belong to the deployment, and the application reaches them only through definer functions.
DEPLOYMENT_TABLES = ("session", "one_time_token")


def upgrade() -> None:
    app = context.config.attributes["app_role"]
    engine = context.config.attributes["engine_role"]
    bind = op.get_bind()
    run = bind.exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "0001.sql").read_text())
    owner = run("select current_user").scalar_one()
    tenant_tables = [
        row[0]
        for row in run(
            "select table_name from information_schema.columns where table_schema = 'worka' and column_name = 'tenant_id'"
            " and table_name <> 'one_time_token' order by 1"
        )
    ]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    for table in tenant_tables:
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        # FORCE binds the owner too; its SECURITY DEFINER look-ups return ids across tenants, so the owner alone passes.
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
    for table in (*DEPLOYMENT_TABLES, "person"):
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f'create policy lookup on worka.{table} to "{owner}" using (true) with check (true)')
    run(
        "create policy visible on worka.person for select using (id = current_setting('worka.person', true)"
        " or exists (select 1 from worka.membership m where m.principal_kind = 'person' and m.principal_id = person.id"
        " and m.tenant_id = current_setting('worka.tenant', true)))"
    )
    run(f'grant usage on schema worka to "{app}", "{engine}"')
    run(f'grant select, insert, update, delete on all tables in schema worka to "{app}"')
    run(f'revoke all on worka.session, worka.one_time_token from "{app}"')
    run(f'revoke insert, update, delete on worka.person from "{app}"')
    # Append-only by grant as well as by chain.
    run(f'revoke update, delete on worka.audit_entry, worka.decision, worka.policy_version, worka.event from "{app}"')
    run(
        f'revoke delete on worka.egress, worka.invocation, worka.approval, worka.approval_vote, worka.lease from "{app}"'
    )
    run(f'grant usage on all sequences in schema worka to "{app}"')
    run("revoke execute on all functions in schema worka from public")
    run(f'grant execute on all functions in schema worka to "{app}"')


def downgrade() -> None:
    raise RuntimeError("the first migration is not undone: restore a backup instead")
