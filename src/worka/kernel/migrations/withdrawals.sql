-- Taking packs away, with what that touched; and known vulnerabilities against what releases hold.
create table worka.withdrawal (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,          -- where the release was registered, or the attachment is
  kind text not null check (kind in ('release', 'pack', 'attachment')),
  subject text not null,               -- the release, publisher.name, or the attachment
  name text not null,
  act text not null check (act in ('revoke', 'quarantine', 'lift', 'detach')),
  why text not null,
  receipt jsonb not null,              -- what it touched, as it was in its own commit
  by_kind text not null,
  by_id text not null,
  by_name text not null,
  approval_id text,                    -- where it was proposed, and agreed to
  at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create index on worka.withdrawal (tenant_id, subject, id);

-- A whole pack that is taken away: releases that come later are too. A row stays, as `free`, once it is lifted.
create table worka.pack_standing (
  tenant_id text not null,
  pack text not null,
  workspace_id text not null,
  state text not null check (state in ('free', 'revoked', 'quarantined')),
  withdrawal_id text not null,
  since timestamptz not null default clock_timestamp(),
  primary key (tenant_id, pack)
);

-- Known vulnerabilities, as a feed that an operator handed in says (OSV); nothing is fetched.
create table worka.advisory (
  tenant_id text not null,
  id text not null,
  summary text not null,
  severity text not null,
  modified timestamptz not null,
  withdrawn boolean not null,
  affects jsonb not null,              -- [{ecosystem, package, versions, ranges}]
  imported_by text not null,
  imported_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create table worka.advisory_package (
  tenant_id text not null,
  advisory_id text not null,
  ecosystem text not null,
  package text not null,
  primary key (tenant_id, ecosystem, package, advisory_id),
  foreign key (tenant_id, advisory_id) references worka.advisory
);
create table worka.finding (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,          -- where the release was registered
  release_id text not null,
  advisory_id text not null,
  package text not null,
  version text not null,
  state text not null check (state in ('open', 'proposed', 'quarantined', 'kept', 'gone')),
  approval_id text,
  since timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id),
  unique (tenant_id, release_id, advisory_id, package),
  foreign key (tenant_id, release_id) references worka.release,
  foreign key (tenant_id, advisory_id) references worka.advisory
);
create index on worka.finding (tenant_id, workspace_id, id);
create index on worka.invocation (tenant_id, workspace_id, started_at) where state in ('failed', 'unknown');
create index on worka.invocation (tenant_id, attachment_id) where state = 'running';
