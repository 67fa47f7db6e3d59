-- Governance: policy in layers, changes that a second person approves, break-glass, kill switches.

-- A policy version belongs to a place: '' is the whole tenant, else the id of one workspace.
alter table worka.policy_version add column scope text not null default '';
alter table worka.policy_version add column approved_by text not null default '';   -- '' : in force without a second person
alter table worka.policy_version drop constraint policy_version_pkey;
alter table worka.policy_version add primary key (tenant_id, kind, scope, version);

-- What the deployment's operator adds to the shipped floor: no tenant's, read by every decision.
create table worka.deployment_policy (
  kind text not null check (kind in ('access', 'governance')),
  version integer not null,
  text text not null,
  note text not null default '',
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (kind, version)
);
create function worka.deployment_policy_add(what text, number integer, body text, why text, by_whom text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into worka.deployment_policy (kind, version, text, note, created_by) values (what, number, body, why, by_whom)
  on conflict do nothing;
  return found;
end $$;

-- A change that waits for its second person. It holds nothing until it is a policy_version.
create table worka.policy_proposal (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,          -- where it was asked for, and is approved
  kind text not null check (kind in ('access', 'governance')),
  scope text not null,
  base_version integer not null,       -- what it was written against
  text text not null,
  note text not null default '',
  digest text not null,
  state text not null default 'open' check (state in ('open', 'in_force', 'closed')),
  outcome text not null default '',    -- of a closed one: rejected, expired, withdrawn, superseded
  since timestamptz not null default now(),
  approval_id text,
  version integer,                     -- the version that it became
  proposed_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index on worka.policy_proposal (tenant_id, kind, scope, state);

-- While one is open, the place has the floor (and the layers above it) alone. Set by the operator, on the machine.
create table worka.policy_break_glass (
  tenant_id text not null,
  id text not null,
  scope text not null,
  reason text not null,
  opened_by text not null,
  opened_at timestamptz not null default now(),
  until timestamptz not null,
  ended_at timestamptz,
  ended_because text not null default '',
  primary key (tenant_id, id)
);
create index on worka.policy_break_glass (tenant_id, scope, until);

create table worka.kill (
  tenant_id text not null,
  id text not null,
  workspace_id text,                   -- null: in the whole tenant
  kind text not null check (kind in ('release', 'secret', 'destination', 'member', 'workspace', 'tenant')),
  subject text not null,
  reason text not null,
  state text not null default 'on' check (state in ('on', 'trial', 'lifted')),
  exempt jsonb not null default '[]',  -- where, or for whom, it is lifted on trial: ids of workspaces and principals
  receipt jsonb not null default '{}', -- what it touched when it was set
  set_by text not null,
  set_by_name text not null default '',
  by_operator boolean not null default false,   -- set by the deployment's operator: nobody of the tenant lifts it
  at timestamptz not null default now(),
  moved_by text,
  moved_at timestamptz,
  move_reason text not null default '',
  primary key (tenant_id, id)
);
create unique index on worka.kill (tenant_id, kind, subject, coalesce(workspace_id, '')) where state <> 'lifted';
