"""Stages of a registration that failed are tried again by themselves."""

from __future__ import annotations

from alembic import context, op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("alter table worka.release add column tries integer not null default 0")  # of the failed stage, in a row
    run("alter table worka.release add column next_try timestamptz")  # null: not by itself
    run("create index on worka.release (next_try) where next_try is not null")
    run(
        # Ids only, over all tenants.
        "create function worka.releases_due(most integer) returns table (tenant_id text, id text)"
        " language sql stable security definer set search_path = pg_catalog, pg_temp as $$"
        " select r.tenant_id, r.id from worka.release r where r.state = 'failed' and r.next_try <= clock_timestamp()"
        " order by r.next_try limit most $$"
    )
    app = context.config.attributes["app_role"]
    run("revoke execute on function worka.releases_due(integer) from public")
    run(f'grant execute on function worka.releases_due(integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
