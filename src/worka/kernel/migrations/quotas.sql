-- Limits: how much a tenant, a workspace or a member may use. Each layer only tightens what the one above left.
create table worka.quota (
  tenant_id text not null,
  layer text not null check (layer in ('operator', 'tenant', 'workspace')),   -- who set it
  scope text not null check (scope in ('tenant', 'workspace', 'member')),     -- what is counted
  workspace_id text not null default '',   -- of the workspace layer its place; of the tenant's: one workspace, '' : each
  member_id text not null default '',      -- one member of the workspace, '' : each
  name text not null,
  value bigint check (value >= 0),         -- null: taken away again; the row stays for its revision
  revision integer not null default 1,
  reason text not null,
  set_by text not null,
  set_by_name text not null default '',
  set_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, layer, scope, workspace_id, member_id, name)
);

-- What the deployment's operator gives each tenant, each workspace and each member: no tenant's, read by all.
create table worka.deployment_quota (
  scope text not null check (scope in ('tenant', 'workspace', 'member')),
  name text not null,
  value bigint check (value >= 0),
  revision integer not null default 1,
  reason text not null,
  set_by text not null,
  set_by_name text not null default '',
  set_at timestamptz not null default clock_timestamp(),
  primary key (scope, name)
);
create function worka.deployment_quota_set(place text, what text, most bigint, known integer, why text, by_whom text, by_name text)
returns setof worka.deployment_quota
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  return query insert into worka.deployment_quota as q (scope, name, value, reason, set_by, set_by_name)
    select place, what, most, why, by_whom, by_name where coalesce(known, 0) = 0
       or exists (select 1 from worka.deployment_quota o where o.scope = place and o.name = what)
    on conflict (scope, name) do update set value = excluded.value, revision = q.revision + 1, reason = excluded.reason,
      set_by = excluded.set_by, set_by_name = excluded.set_by_name, set_at = clock_timestamp()
      where known is null or q.revision = known
    returning q.*;
end $$;

create view worka.limit_in_force with (security_invoker = true) as
  select layer, scope, workspace_id, member_id, name, value, revision, reason, set_by, set_by_name, set_at
    from worka.quota where value is not null
  union all
  select 'deployment', scope, '', '', name, value, revision, reason, set_by, set_by_name, set_at
    from worka.deployment_quota where value is not null;

-- What is left of a rate, over all doors of the deployment: each takes some of it at once.
create table worka.rate_bucket (
  tenant_id text not null,
  key text not null,
  capacity bigint not null,      -- how much there is in a window
  seconds integer not null,      -- the window
  tokens double precision not null,
  granted bigint not null,       -- what the last door got
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, key)
);

-- Since when a task stands in line for one of the places that a limit leaves, and when it first got one.
alter table worka.task add column held_since timestamptz;
alter table worka.task add column begun_at timestamptz;
create index on worka.task (tenant_id, workspace_id, held_since) where held_since is not null;
create index on worka.task (tenant_id, workspace_id, created_by, begun_at);
create index on worka.task (tenant_id, workspace_id, created_at);
create index on worka.invocation (tenant_id, started_at);

-- A held task is not lost, however long it waits.
create or replace function worka.tasks_overdue(silence interval, most integer) returns table (tenant_id text, task_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select t.tenant_id, t.id from worka.task t
   where (t.state = 'running' and (t.lease_until < now() or t.lease_until > now() + 2 * silence))
      or (t.state in ('queued', 'retrying') and t.next_try is null and t.reason <> 'queued_over_quota'
          and (t.since < now() - silence or t.since > now() + 2 * silence))
      or (t.state = 'retrying' and (t.next_try <= now() or t.next_try > now() + interval '1 minute'))
   order by t.since limit most
$$;
create or replace function worka.place_in_line(task text) returns table (ahead bigint, running bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select (select count(*) from worka.task q where q.state in ('queued', 'retrying') and q.reason <> 'queued_over_quota'
            and (q.since, q.id) < (t.since, t.id)),
         (select count(*) from worka.task r where r.state = 'running')
    from worka.task t where t.id = task and t.tenant_id = current_setting('worka.tenant', true)
$$;
-- Held tasks over all tenants, in the order in which they are let on: ids only. Who has the fewest running, then whose
-- last one began the longest ago, so that a member with a hundred of them does not stand before one with a single one;
-- and no workspace stands before another.
create function worka.tasks_held(most integer) returns table (tenant_id text, task_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with held as (
    select t.tenant_id, t.id, t.workspace_id, t.created_by, t.held_since,
           row_number() over (partition by t.tenant_id, t.workspace_id, t.created_by order by t.held_since, t.id) as nth
      from worka.task t where t.held_since is not null and t.state = 'queued' and t.reason = 'queued_over_quota'),
  turns as (
    select h.*, row_number() over (partition by h.tenant_id, h.workspace_id order by
             h.nth + (select count(*) from worka.task r where r.tenant_id = h.tenant_id and r.workspace_id = h.workspace_id
                       and r.created_by = h.created_by and r.state = 'running'),
             (select max(b.begun_at) from worka.task b where b.tenant_id = h.tenant_id and b.workspace_id = h.workspace_id
               and b.created_by = h.created_by) nulls first, h.held_since, h.id) as turn from held h)
  select t.tenant_id, t.id from turns t order by t.turn, t.held_since limit most
$$;

-- The limits on requests of the tenants that somebody is a member in: asked by the statement that finds the credential,
-- under no tenant yet.
create function worka.rates_of(tenants text[], limit_name text)
returns table (tenant_id text, layer text, scope text, workspace_id text, member_id text, name text, value bigint,
  revision integer, reason text, set_by text, set_by_name text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select q.tenant_id, q.layer, q.scope, q.workspace_id, q.member_id, q.name, q.value, q.revision, q.reason, q.set_by, q.set_by_name
    from worka.quota q where q.tenant_id = any(tenants) and q.name = limit_name and q.value is not null
  union all
  select '', 'deployment', d.scope, '', '', d.name, d.value, d.revision, d.reason, d.set_by, d.set_by_name
    from worka.deployment_quota d where d.name = limit_name and d.value is not null and tenants is not null
$$;
