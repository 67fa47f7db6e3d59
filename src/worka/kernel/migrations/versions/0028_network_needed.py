"""Which destinations the deployment used, for an operator who is about to close the air gap; versions of services' network policy."""

from __future__ import annotations

from alembic import context, op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run(
        # Over all tenants: places and numbers, nothing of whose they are.
        "create function worka.destinations_since(since timestamptz, most integer)"
        " returns table (host text, port integer, address text, platform boolean, tenants bigint, requests bigint,"
        " last_at timestamptz)"
        " language sql stable security definer set search_path = pg_catalog, pg_temp as $$"
        " select e.host, e.port, case when e.exception_id is not null then e.address end, e.attachment_id = 'platform',"
        " count(distinct e.tenant_id), sum(e.count)::bigint, max(e.last_at)"
        " from worka.egress e where e.verdict = 'allowed' and e.last_at >= since"
        " group by 1, 2, 3, 4 order by 6 desc, 1, 2, 3, 4 limit most $$"
    )
    run(
        "create table worka.service_policy ("
        "  tenant_id text not null,"
        "  workspace_id text not null,"
        "  service text not null check (service ~ '^[a-z0-9][a-z0-9-]{0,62}$'),"
        "  version integer not null check (version >= 1),"  # the newest holds
        "  document jsonb not null check (document ->> 'kind' = 'service'),"  # a pack's policy is none
        "  note text not null default '',"
        "  created_by text not null,"
        "  created_at timestamptz not null default now(),"
        "  primary key (tenant_id, workspace_id, service, version))"
    )
    run(
        # What the socket, TLS or the parser said, redacted: for whoever has to mend it.
        "create table worka.egress_line ("
        "  tenant_id text not null,"
        "  id bigint generated always as identity,"
        "  workspace_id text not null,"
        "  egress_id text not null,"
        "  at timestamptz not null,"
        "  reason text not null,"
        "  text text not null,"
        "  primary key (tenant_id, id),"
        "  foreign key (tenant_id, egress_id) references worka.egress (tenant_id, id))"
    )
    run("create index on worka.egress_line (tenant_id, egress_id)")
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    # A version is evidence of what held, a line of what was met: never changed, never deleted.
    for table in ("service_policy", "egress_line"):
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f"create policy tenant_isolation on worka.{table} using ({mine}) with check ({mine})")
        run(f'create policy lookup on worka.{table} for select to "{owner}" using (true)')
        run(f'grant select, insert on worka.{table} to "{app}"')
    run("revoke execute on function worka.destinations_since(timestamptz, integer) from public")
    run(f'grant execute on function worka.destinations_since(timestamptz, integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
