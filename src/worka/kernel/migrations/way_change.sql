-- Where an outside name leads (a network exception), or who vouches for it (upstream trust), while that waits for a second
-- person, since a credential goes to the name. Nothing that decides a request reads this: it holds once it is recorded.
create table worka.way_change (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  kind text not null check (kind in ('network_exception', 'upstream_trust')),
  name text not null,
  port integer not null,
  settings jsonb not null,             -- the fields of the record, as they would be kept
  replaces text,                       -- the record that would end with it
  carries jsonb not null,              -- [{kind, id, words}]: the credentials that went there when it was asked
  digest text not null,
  state text not null default 'open' check (state in ('open', 'recorded', 'closed')),
  reason text not null,
  since timestamptz not null default clock_timestamp(),
  approval_id text,
  made_id text,                        -- the exception or record that it became
  proposed_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create index on worka.way_change (tenant_id, workspace_id, id desc);
create index on worka.way_change (tenant_id, workspace_id, kind, name, port) where state = 'open';
