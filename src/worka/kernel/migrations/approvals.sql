-- Approvals made whole: groups that rules name, delegation, reminders and escalation, bypass, and what measures fatigue.
create table worka.approval_group (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  purpose text not null default '',
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, workspace_id, name)
);
create table worka.approval_group_member (
  tenant_id text not null,
  group_id text not null,
  person_id text not null,
  added_by text not null,
  added_at timestamptz not null default now(),
  primary key (tenant_id, group_id, person_id),
  foreign key (tenant_id, group_id) references worka.approval_group on delete cascade
);
create table worka.approval_delegation (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  from_person text not null,
  to_person text not null,
  scope text not null,                 -- all, or the name of a group
  until timestamptz not null,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  ended_by text,
  primary key (tenant_id, id),
  check (from_person <> to_person)
);
create index on worka.approval_delegation (tenant_id, workspace_id, until) where ended_at is null;
create table worka.approval_settings (  -- null: what the deployment says
  tenant_id text not null,
  workspace_id text not null,
  expires_minutes integer,
  remind_minutes integer,
  remind_times integer,
  escalate_minutes integer,
  escalate_to text,                    -- owners, admins, or the name of a group
  blanket_seconds integer,
  updated_by text not null,
  updated_at timestamptz not null default now(),
  primary key (tenant_id, workspace_id)
);
create table worka.approval_bypass (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  kind text not null check (kind in ('boundary', 'tool')),
  target text not null,
  why text not null,
  until timestamptz not null,
  most_uses integer not null,
  uses integer not null default 0,
  state text not null check (state in ('awaiting_approval', 'open', 'closed')),
  reason text not null,
  since timestamptz not null default now(),
  approval_id text,                    -- the second owner's consent, where there is a second owner
  opened_by text not null,
  created_at timestamptz not null default now(),
  closed_by text,
  primary key (tenant_id, id),
  check (uses <= most_uses)
);
create index on worka.approval_bypass (tenant_id, workspace_id, state);
create table worka.approval_seen (      -- when somebody first opened the card: ids and times only
  tenant_id text not null,
  approval_id text not null,
  person_id text not null,
  at timestamptz not null default now(),
  primary key (tenant_id, approval_id, person_id),
  foreign key (tenant_id, approval_id) references worka.approval
);
alter table worka.approval
  add column due_at timestamptz,        -- when a reminder or the escalation is due next
  add column reminders integer not null default 0,
  add column escalated_at timestamptz,
  add column escalated_to text,
  add column bypass_id text;
create index on worka.approval (due_at) where state = 'open' and due_at is not null;
alter table worka.approval_vote
  add column on_behalf_of text,         -- whose seat it took, when it was delegated
  add column groups jsonb not null default '[]',
  add column opened_at timestamptz,     -- when the card was first opened by who voted; null: never
  add column stepped_up_at timestamptz,
  add column in_batch boolean not null default false;
-- One authority decides once, whoever speaks for it.
create unique index approval_vote_authority on worka.approval_vote (tenant_id, approval_id, coalesce(on_behalf_of, person_id));
create function worka.approvals_due(most integer) returns table (tenant_id text, approval_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.tenant_id, a.id from worka.approval a where a.state = 'open' and a.due_at <= now() order by a.due_at limit most
$$;
