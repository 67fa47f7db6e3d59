-- The ledger of what goes outside, read as a stream and by what people ask for; what policy says of it; and what was refused,
-- proposed as the narrow difference that would let it through.

-- The transaction that wrote the row last: who follows the ledger reads in the order of commits, and misses no outcome.
alter table worka.egress add column xid xid8 not null default pg_current_xact_id();
create index egress_followed on worka.egress (tenant_id, workspace_id, xid, id);
create index egress_listed on worka.egress (tenant_id, workspace_id, id desc);
create index egress_of_host on worka.egress (tenant_id, host, id desc);
create index egress_of_attachment on worka.egress (tenant_id, attachment_id, id desc);

-- What policy says of destinations, version by version. A place's newest version holds; the tenant's and the workspace's
-- both have to let a request through, so each can only tighten what a release declares.
create table worka.egress_policy (
  tenant_id text not null,
  workspace_id text not null,          -- empty: the whole tenant
  version integer not null,
  settings jsonb not null,             -- {refuse: [item], except: [item], only: [item]}
  note text not null default '',
  created_by text not null,
  approved_by text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, workspace_id, version)
);

-- A change of it that lets more through, while it waits for a second person. It holds nothing until it is a version.
create table worka.egress_policy_change (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,          -- where it was asked for, and is approved
  scope text not null,                 -- empty: the whole tenant; else the workspace
  base_version integer not null,
  settings jsonb not null,
  note text not null default '',
  digest text not null,
  state text not null default 'open' check (state in ('open', 'in_force', 'closed')),
  outcome text not null default '',    -- of a closed one: rejected, expired, withdrawn, superseded
  since timestamptz not null default clock_timestamp(),
  approval_id text,
  version integer,
  proposed_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create index on worka.egress_policy_change (tenant_id, scope, state);

-- What was refused, as what would have to be declared (or said by policy) for exactly that to pass; or what was declared and
-- never used, as what could go. Somebody owns it and answers for it; what was rejected is remembered.
create table worka.egress_proposal (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  attachment_id text not null,
  pack text not null,
  release_id text not null,            -- whose manifest the difference is of
  kind text not null check (kind in ('widen', 'narrow', 'policy')),
  digest text not null,                -- of the attachment, the kind and the difference: the same again is the same proposal
  difference jsonb not null,           -- {add: [item], remove: [item]}, in the manifest's own terms
  cause text not null,                 -- the reason code of the refusal, or declared_unused
  refused jsonb not null default '[]', -- the newest egress rows that it answers
  times integer not null default 1,    -- how often it was proposed
  state text not null default 'open' check (state in ('open', 'accepted', 'rejected', 'superseded')),
  reason text not null,
  since timestamptz not null default clock_timestamp(),
  why text not null default '',        -- the proposer's words
  owner_kind text not null,
  owner_id text not null,
  originating_person text,
  decided_by text,
  decided_why text not null default '',
  made_release text,                   -- the release that it became
  move_id text,                        -- the move to it
  change_id text,                      -- the change of policy that it became
  created_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create unique index egress_proposal_open on worka.egress_proposal (tenant_id, attachment_id, digest) where state = 'open';
create index on worka.egress_proposal (tenant_id, workspace_id, id desc);
create index on worka.egress_proposal (tenant_id, made_release) where made_release is not null;
