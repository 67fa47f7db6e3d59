"""When a task is tried next; and times of tasks that lie in the future, because the clock was set back: nobody would have
looked at them until they pass."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A holder writes leases of `silence` at most, `since` is never ahead, and no pause is longer than half a minute: what lies
# further off was written by another clock.
SCHEMA = """
alter table worka.task add column next_try timestamptz;
create or replace function worka.tasks_overdue(silence interval, most integer) returns table (tenant_id text, task_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select t.tenant_id, t.id from worka.task t
   where (t.state = 'running' and (t.lease_until < now() or t.lease_until > now() + 2 * silence))
      or (t.state in ('queued', 'retrying') and t.next_try is null
          and (t.since < now() - silence or t.since > now() + 2 * silence))
      or (t.state = 'retrying' and (t.next_try <= now() or t.next_try > now() + interval '1 minute'))
   order by t.since limit most
$$
"""


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run(SCHEMA)


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
