"""What explanations need to tell: since when a secret is in its state, a task's place in line, and what the engine says."""

from __future__ import annotations

from alembic import context, op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Numbers over all tenants about a task of the caller's tenant, and the engine's word on such tasks: no row of anybody else.
FUNCTIONS = """
create function worka.place_in_line(task text) returns table (ahead bigint, running bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select (select count(*) from worka.task q where q.state in ('queued', 'retrying') and (q.since, q.id) < (t.since, t.id)),
         (select count(*) from worka.task r where r.state = 'running')
    from worka.task t where t.id = task and t.tenant_id = current_setting('worka.tenant', true)
$$;
create function worka.engine_runs(tasks text[]) returns table (task_id text, run text, status text, moved_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return query select t.id, s.workflow_uuid, s.status, to_timestamp(s.updated_at / 1000.0)
    from worka.task t join dbos.workflow_status s
      on s.workflow_uuid >= t.id || ':' || t.segment and s.workflow_uuid < t.id || ':' || t.segment || ';'
   where t.id = any(tasks) and t.tenant_id = current_setting('worka.tenant', true)
     and (s.workflow_uuid = t.id || ':' || t.segment or s.workflow_uuid like t.id || ':' || t.segment || ':%')
   order by t.id, s.created_at;
end $$;
"""


def upgrade() -> None:
    app = context.config.attributes["app_role"]
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("alter table worka.secret add column since timestamptz not null default now()")
    run("alter table worka.secret alter column reason set default 'secret_ready'")
    run(FUNCTIONS.replace("%", "%%"))
    run("revoke execute on function worka.place_in_line(text), worka.engine_runs(text[]) from public")
    run(f'grant execute on function worka.place_in_line(text), worka.engine_runs(text[]) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
