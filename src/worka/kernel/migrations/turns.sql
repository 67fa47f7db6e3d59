-- Whose turn it is. A tenant with a thousand messages to tell gets the next one as often as a tenant with a single one.
create or replace function worka.outbox_due(most integer) returns table (tenant_id text, outbox_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with turns as (
    select o.tenant_id, o.id, o.next_at, row_number() over (partition by o.tenant_id order by o.next_at, o.id) as turn
      from worka.outbox o where o.done_at is null and o.next_at <= now())
  select t.tenant_id, t.id from turns t order by t.turn, t.next_at, t.id limit most
$$;
-- Jobs of a tenant stand in a part of their own, of which a worker takes no more than some at a time. What ends calls has
-- a queue of its own: it waits for nobody's registration.
create or replace function worka.enqueue_job(job text, tenant text, subject text, workflow_id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(tenant);
  perform dbos.enqueue_workflow(workflow_name => job,
    queue_name => case when job in ('pack.end_calls', 'pack.end_killed') then 'endings' else 'tenant_jobs' end,
    positional_args => array[to_json(tenant), to_json(subject)], workflow_id => workflow_id, app_version => null,
    queue_partition_key => tenant);
end $$;
-- Moves that are in nobody's hands: the job that carried them is over, or was lost with what it ran in. Each time one is
-- handed on it has twice as long.
create function worka.move_left(state text, since timestamptz, runs integer, silence interval) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select state in ('planned', 'trying') and since < now() - silence * power(2, least(greatest(runs - 1, 0), 6))
$$;
create function worka.moves_left(silence interval, most integer) returns table (tenant_id text, move_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select m.tenant_id, m.id from worka.attachment_move m
   where worka.move_left(m.state, m.since, m.runs, silence) order by m.since limit most
$$;
