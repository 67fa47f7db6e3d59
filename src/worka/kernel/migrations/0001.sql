-- The first road. Every tenant table has tenant_id in its key and FORCE row-level security (appended by 0001_first_road.py).
create schema worka;

-- identity -----------------------------------------------------------------------------------------------------------
create table worka.person (            -- belongs to the deployment (decisions.md 16); visible by membership or to itself
  id text primary key,
  email text not null unique,
  display_name text not null,
  password_hash text,
  operator boolean not null default false,
  enabled boolean not null default true,
  created_at timestamptz not null default now()
);
create table worka.session (           -- sign-in sessions; read only through worka.credential_lookup
  id text primary key,
  person_id text not null references worka.person,
  token_hmac bytea not null unique,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create table worka.one_time_token (    -- setup tokens, sign-in links and invitations; single use
  id text primary key,
  kind text not null check (kind in ('setup', 'sign_in_link', 'invitation')),
  token_hmac bytea not null unique,
  person_id text references worka.person,
  tenant_id text,
  workspace_id text,
  email text,
  role text,
  created_by text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz
);
create table worka.team_member (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  responsibility text not null,
  instructions text not null default '',
  tools jsonb not null default '[]',   -- ["publisher.pack.tool", …]: a call outside it is refused
  owner_person_id text not null references worka.person,
  enabled boolean not null default true,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, workspace_id, name)
);
create table worka.api_token (
  tenant_id text not null,
  id text not null,
  workspace_id text,
  principal_kind text not null,
  principal_id text not null,
  name text not null,
  prefix text not null,
  token_hmac bytea not null unique,
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  primary key (tenant_id, id)
);

-- workspaces ---------------------------------------------------------------------------------------------------------
create table worka.tenant (
  tenant_id text primary key,          -- its own id: the same isolation policy as every other table
  slug text not null unique,
  name text not null,
  created_by text not null,
  created_at timestamptz not null default now()
);
create table worka.workspace (
  tenant_id text not null references worka.tenant,
  id text not null,
  slug text not null,
  name text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, slug)
);
create table worka.membership (
  tenant_id text not null,
  workspace_id text not null,
  principal_kind text not null,        -- person | team_member | service_account
  principal_id text not null,
  role text not null check (role in ('owner', 'admin', 'member', 'viewer')),
  approver boolean not null default false,  -- a named approver (decisions.md 15)
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, workspace_id, principal_kind, principal_id),
  foreign key (tenant_id, workspace_id) references worka.workspace
);

-- governance and authorization ---------------------------------------------------------------------------------------
create table worka.policy_version (
  tenant_id text not null,
  kind text not null check (kind in ('access', 'governance')),
  version integer not null,
  text text not null,
  note text not null default '',
  owner_person_id text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, kind, version)
);
create table worka.decision (
  tenant_id text not null,
  id text not null,
  workspace_id text,
  principal_kind text not null,
  principal_id text not null,
  originating_person text,
  action text not null,
  resource_type text not null,
  resource_id text not null,
  context jsonb not null default '{}',
  verdict text not null check (verdict in ('allow', 'deny', 'ask')),
  layer text not null,                 -- authorization | governance
  rules jsonb not null default '[]',
  reasons jsonb not null default '[]',
  approval_rules jsonb not null default '[]',
  access_version text not null,        -- "floor.1+3": shipped floor and tenant version
  governance_version text not null,
  remedy text not null default '',
  trace_id text not null,
  at timestamptz not null default now(),
  primary key (tenant_id, id)
);

-- approvals ----------------------------------------------------------------------------------------------------------
create table worka.approval (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  verb text not null check (verb in ('confirm', 'approve')),
  boundary text not null,              -- pack.attach | connection.create | tool.external_side_effect | …
  action text not null,
  subject_type text not null,
  subject_id text not null,
  title text not null,
  effect text not null,
  digest text not null,
  rules jsonb not null default '[]',
  quorum integer not null default 1,
  four_eyes boolean not null default true,
  requester_kind text not null,
  requester_id text not null,
  originating_person text,
  acting_owner text,                   -- owner of the acting team member; may not decide under four eyes
  decision_id text not null,
  policy_version text not null,
  card jsonb not null default '{}',    -- what is shown, without arguments and secrets
  arguments_sealed bytea,
  blocks jsonb not null default '[]',
  state text not null default 'open' check (state in ('open', 'approved', 'rejected', 'expired', 'withdrawn', 'superseded')),
  reason text not null default 'waiting_for_approver',
  since timestamptz not null default now(),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  decided_at timestamptz,
  consumed_at timestamptz,
  consumed_by text,
  trace_id text not null,
  primary key (tenant_id, id)
);
create index on worka.approval (tenant_id, workspace_id, state, id);
create index on worka.approval (tenant_id, subject_id, digest);
create table worka.approval_vote (
  tenant_id text not null,
  approval_id text not null,
  person_id text not null,
  decision text not null check (decision in ('approve', 'reject')),
  comment text not null default '',
  credential_id text,
  at timestamptz not null default now(),
  primary key (tenant_id, approval_id, person_id),
  foreign key (tenant_id, approval_id) references worka.approval
);

-- treasury and connections -------------------------------------------------------------------------------------------
create table worka.tenant_key (
  tenant_id text not null,
  version integer not null,
  purpose text not null default 'data',   -- data | audit
  wrapped bytea not null,
  master_key_id text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, purpose, version)
);
create table worka.secret (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  purpose text not null,
  kind text not null,
  state text not null default 'active' check (state in ('active', 'rotating', 'revoked', 'destroyed')),
  reason text not null default '',
  version integer not null default 1,
  created_by text not null,
  created_at timestamptz not null default now(),
  rotated_at timestamptz,
  primary key (tenant_id, id),
  unique (tenant_id, workspace_id, name)
);
create table worka.secret_version (
  tenant_id text not null,
  secret_id text not null,
  version integer not null,
  key_version integer not null,
  nonce bytea not null,
  ciphertext bytea not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, secret_id, version),
  foreign key (tenant_id, secret_id) references worka.secret
);
create table worka.secret_grant (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  secret_id text not null,
  attachment_id text not null,
  endpoint text not null,              -- host:port the credential may be used on
  granted_by text not null,
  granted_at timestamptz not null default now(),
  revoked_at timestamptz,
  revoked_by text,
  primary key (tenant_id, id),
  foreign key (tenant_id, secret_id) references worka.secret
);
create table worka.lease (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  secret_id text not null,
  secret_version integer not null,
  grant_id text not null,
  attachment_id text not null,
  invocation_id text not null,
  endpoint text not null,
  trace_id text not null,
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_count integer not null default 0,
  last_used_at timestamptz,
  closed_at timestamptz,
  primary key (tenant_id, id)
);
create table worka.connection (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  provider text not null,
  name text not null,
  host text not null,
  port integer not null default 443,
  access text not null,                -- words a person reads: "read issues, publish notes"
  why text not null default '',
  secret_id text,
  metadata jsonb not null default '{}',
  state text not null check (state in ('awaiting_approval', 'active', 'expired', 'broken', 'revoked', 'rejected')),
  reason text not null,
  since timestamptz not null default now(),
  approval_id text,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);

-- packs --------------------------------------------------------------------------------------------------------------
create table worka.release (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,          -- where it was registered; a release serves its whole tenant
  publisher text not null,
  name text not null,
  version text not null,
  manifest jsonb not null,
  lock_text text not null default '',
  source jsonb not null default '{}',
  state text not null,                 -- draft | built | published | registered | probed | released | revoked | quarantined | failed
  reason text not null,
  since timestamptz not null default now(),
  failed_stage text,
  error jsonb,
  digest text,
  tree_digest text,
  env_path text,
  entry jsonb,
  tools jsonb not null default '[]',   -- frozen: [{name,description,input_schema,output_schema,annotations,side_effect,idempotent,pin}]
  server_pin text,
  probe jsonb,
  packages jsonb not null default '[]',
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, publisher, name, version)
);
create sequence worka.attachment_uid minvalue 0 maxvalue 59999 cycle;
create table worka.attachment (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  pack text not null,                  -- publisher.name
  mode text not null check (mode in ('pinned', 'tracking')),
  state text not null,                 -- requested | awaiting_approval | awaiting_connection | attached | updating | held | suspended | detached
  reason text not null,
  since timestamptz not null default now(),
  uid integer not null,
  mounts jsonb not null default '[]',  -- [{name, source, target, mode, clone, revision}]
  held jsonb,                          -- {tool: {before, after, diff}}
  approval_id text,
  digest text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, release_id) references worka.release
);
create index on worka.attachment (tenant_id, workspace_id, pack);
create table worka.invocation (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  attachment_id text not null,
  release_id text not null,
  release_digest text not null,
  pack text not null,
  tool text not null,
  side_effect text not null,
  initiator_kind text not null,
  initiator_id text not null,
  originating_person text,
  decision_id text not null,
  approval_id text,
  task_id text,
  step_id text,
  idempotency_key text not null,
  attempt integer not null default 1,
  args_digest text not null,
  state text not null,                 -- running | succeeded | failed | unknown
  reason text not null,
  since timestamptz not null default now(),
  layer text,
  message text,
  stderr_tail text not null default '',
  stray_stdout text,
  isolation jsonb not null default '{}',
  session text,
  handshake_ms double precision,
  call_ms double precision,
  result_sealed bytea,                 -- the result under the tenant's key
  result_digest text,
  validated boolean,
  effect_id text,
  trace_id text not null,
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (tenant_id, id)
);
create index on worka.invocation (tenant_id, workspace_id, id);
create index on worka.invocation (tenant_id, idempotency_key);

-- broker -------------------------------------------------------------------------------------------------------------
create table worka.network_exception (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,                  -- the host a pack sees
  port integer not null,
  address text not null,               -- what is behind it
  real_port integer not null,
  ca_pem text not null,
  reason text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  removed_at timestamptz,
  primary key (tenant_id, id)
);
create table worka.egress (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  attachment_id text not null,
  invocation_id text,
  session_id text not null,
  host text not null,
  port integer not null,
  kind text not null,                  -- http | dns | raw | tunnel
  method text,
  path text,
  verdict text not null check (verdict in ('allowed', 'denied')),
  reason text not null,
  rule text,
  count integer not null default 1,
  address text,
  status integer,
  bytes_out bigint not null default 0,
  bytes_in bigint not null default 0,
  duration_ms double precision,
  opaque boolean not null default false,
  exception_id text,
  connection_id text,
  lease_id text,
  trace_id text not null,
  at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index on worka.egress (tenant_id, invocation_id);

-- workflows ----------------------------------------------------------------------------------------------------------
create table worka.workflow_definition (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  version integer not null,
  definition jsonb not null,
  digest text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, workspace_id, name, version)
);
create table worka.task (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  definition_id text not null,
  title text not null,
  inputs jsonb not null,
  member_id text not null,             -- the AI team member whose steps these are
  originating_person text,
  state text not null,
  reason text not null,
  since timestamptz not null default now(),
  segment integer not null default 1,
  attempt integer not null default 0,
  claim text,                          -- fencing token of the worker that holds it
  claimed_by text,
  lease_until timestamptz,
  last_progress timestamptz not null default now(),
  expected_seconds integer not null default 60,
  error jsonb,
  trace_id text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (tenant_id, id),
  foreign key (tenant_id, definition_id) references worka.workflow_definition
);
create index on worka.task (tenant_id, workspace_id, id);
create index on worka.task (lease_until) where state = 'running';
create table worka.step (
  tenant_id text not null,
  id text not null,
  task_id text not null,
  position integer not null,
  name text not null,
  kind text not null,
  state text not null,
  reason text not null,
  since timestamptz not null default now(),
  attempt integer not null default 0,
  idempotency_key text not null,
  invocation_id text,
  approval_id text,
  decision_id text,
  result_sealed bytea,
  error jsonb,
  effect_id text,
  started_at timestamptz,
  ended_at timestamptz,
  primary key (tenant_id, id),
  unique (tenant_id, task_id, position),
  foreign key (tenant_id, task_id) references worka.task
);
create table worka.step_receipt (      -- unique: a second execution of the same phase returns the recorded outcome
  tenant_id text not null,
  step_id text not null,
  phase text not null,                 -- intent:<n> | outcome
  attempt_id text not null,
  effect_id text,
  at timestamptz not null default now(),
  primary key (tenant_id, step_id, phase)
);
create table worka.wait (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  task_id text not null,
  step_id text not null,
  kind text not null,
  ref text not null,
  name text not null,
  since timestamptz not null default now(),
  deadline timestamptz,
  cleared_at timestamptz,
  cleared_by text,
  primary key (tenant_id, id),
  foreign key (tenant_id, task_id) references worka.task
);
create table worka.process (           -- heartbeats of our own processes; deployment-wide
  id text primary key,
  role text not null,
  pid integer not null,
  build text not null,
  started_at timestamptz not null default now(),
  beat_at timestamptz not null default now(),
  detail jsonb not null default '{}'
);

-- views --------------------------------------------------------------------------------------------------------------
create table worka.view (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  title text not null,
  kind text not null default 'document',
  revision integer not null default 0,
  created_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, workspace_id, name)
);
create table worka.view_revision (
  tenant_id text not null,
  view_id text not null,
  revision integer not null,
  document jsonb not null,             -- {format: "markdown", text, untrusted: true, links: {...}}
  task_id text,
  invocation_id text,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, view_id, revision),
  foreign key (tenant_id, view_id) references worka.view
);

-- audit --------------------------------------------------------------------------------------------------------------
create table worka.audit_head (
  tenant_id text not null,
  lane integer not null,
  seq bigint not null default 0,
  hash bytea not null default '\x',
  primary key (tenant_id, lane)
);
create table worka.audit_entry (
  tenant_id text not null,
  lane integer not null,
  seq bigint not null,
  body bytea not null,                 -- canonical JSON, RFC 8785
  mac bytea not null,
  prev bytea not null,
  hash bytea not null,                 -- sha256(prev ‖ mac ‖ body)
  at timestamptz not null default now(),
  primary key (tenant_id, lane, seq)
);

-- kernel -------------------------------------------------------------------------------------------------------------
create table worka.event (             -- what was committed, in commit order by (xid, id); feeds SSE and changes
  tenant_id text not null,
  id bigint generated always as identity,
  xid xid8 not null default pg_current_xact_id(),
  workspace_id text,
  type text not null,
  lane text not null,
  subject text not null,
  subject_name text not null default '',
  actor_kind text not null,
  actor_id text not null,
  actor_name text not null default '',
  on_behalf_of text,
  before jsonb,
  after jsonb,
  cause jsonb,
  data jsonb not null default '{}',
  trace_id text not null,
  at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index on worka.event (tenant_id, workspace_id, xid, id);
create index on worka.event (tenant_id, subject, id);
create table worka.outbox (
  tenant_id text not null,
  id text not null,
  topic text not null,
  payload jsonb not null,
  attempts integer not null default 0,
  next_at timestamptz not null default now(),
  done_at timestamptz,
  last_error text,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create table worka.idempotency (
  tenant_id text not null,
  principal_id text not null,
  key text not null,
  request_digest text not null,
  state text not null check (state in ('in_flight', 'done')),
  owner text not null,                 -- heartbeat id of the process that answers it
  status integer,
  body jsonb,
  created_at timestamptz not null default now(),
  primary key (tenant_id, principal_id, key)
);

-- lookups across tenants: SECURITY DEFINER, fixed search path, ids only (decisions.md 16, 18) ------------------------
create function worka.credential_lookup(hmac bytea)
returns table (kind text, credential_id text, principal_kind text, principal_id text, tenant_id text, workspace_id text, expires_at timestamptz, issued_by text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select 'session', s.id, 'person', s.person_id, null::text, null::text, s.expires_at, s.person_id from worka.session s
   join worka.person p on p.id = s.person_id
   where s.token_hmac = hmac and s.revoked_at is null and s.expires_at > now() and p.enabled
  union all
  select 'api_token', t.id, t.principal_kind, t.principal_id, t.tenant_id, t.workspace_id, t.expires_at, t.created_by from worka.api_token t
   where t.token_hmac = hmac and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
     and (t.principal_kind <> 'person' or exists (select 1 from worka.person p where p.id = t.principal_id and p.enabled))
     and (t.principal_kind <> 'team_member' or exists (select 1 from worka.team_member m where m.tenant_id = t.tenant_id and m.id = t.principal_id and m.enabled))
$$;
create function worka.sign_in_lookup(address text)
returns table (person_id text, display_name text, password_hash text, operator boolean, enabled boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.display_name, p.password_hash, p.operator, p.enabled from worka.person p where p.email = lower(address)
$$;
create function worka.person_lookup(person text)
returns table (person_id text, email text, display_name text, operator boolean, enabled boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.email, p.display_name, p.operator, p.enabled from worka.person p where p.id = person
$$;
create function worka.person_create(new_id text, address text, name text, hash text, is_operator boolean) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into worka.person (id, email, display_name, password_hash, operator) values (new_id, lower(address), name, hash, is_operator)
$$;
create function worka.session_create(new_id text, person text, hmac bytea, until timestamptz) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into worka.session (id, person_id, token_hmac, expires_at) values (new_id, person, hmac, until)
$$;
create function worka.session_revoke(session text, person text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update worka.session set revoked_at = now() where id = $1 and person_id = $2 and revoked_at is null
$$;
create function worka.one_time_create(new_id text, what text, hmac bytea, person text, tenant text, ws text, address text, as_role text, by_whom text, until timestamptz) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into worka.one_time_token (id, kind, token_hmac, person_id, tenant_id, workspace_id, email, role, created_by, expires_at)
  values (new_id, what, hmac, person, tenant, ws, lower(address), as_role, by_whom, until)
$$;
create function worka.one_time_take(what text, hmac bytea)   -- single use: the update takes it, atomically
returns table (id text, person_id text, tenant_id text, workspace_id text, email text, role text, created_by text)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update worka.one_time_token t set used_at = now() where t.kind = what and t.token_hmac = hmac and t.used_at is null and t.expires_at > now()
  returning t.id, t.person_id, t.tenant_id, t.workspace_id, t.email, t.role, t.created_by
$$;
create function worka.one_time_exists(what text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select 1 from worka.one_time_token where kind = what and used_at is null and expires_at > now())
$$;
create function worka.operator_exists() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$ select exists (select 1 from worka.person where operator) $$;
create function worka.memberships_of(kind text, principal text)
returns table (tenant_id text, workspace_id text, role text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select m.tenant_id, m.workspace_id, m.role from worka.membership m where m.principal_kind = kind and m.principal_id = principal
$$;
create function worka.workspace_tenant(ws text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select w.tenant_id from worka.workspace w where w.id = ws
$$;
create function worka.tenants_all() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$ select tenant_id from worka.tenant $$;
-- Tasks whose worker fell silent (lease passed) or that were queued and lost by the engine: ids only.
create function worka.tasks_overdue(silence interval, most integer) returns table (tenant_id text, task_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select t.tenant_id, t.id from worka.task t
   where (t.state = 'running' and t.lease_until < now()) or (t.state in ('queued', 'retrying') and t.since < now() - silence)
   order by t.since limit most
$$;
create function worka.approvals_overdue(most integer) returns table (tenant_id text, approval_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.tenant_id, a.id from worka.approval a where a.state = 'open' and a.expires_at < now() order by a.expires_at limit most
$$;
create function worka.outbox_due(most integer) returns table (tenant_id text, outbox_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.tenant_id, o.id from worka.outbox o where o.done_at is null and o.next_at <= now() order by o.next_at limit most
$$;
create function worka.audit_heads_all() returns table (tenant_id text, lane integer, seq bigint, hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select h.tenant_id, h.lane, h.seq, h.hash from worka.audit_head h order by h.tenant_id, h.lane
$$;
-- The engine's queue, reached only through these two (architecture.md): ids, never payloads.
create function worka.enqueue_segment(tenant text, task text, n integer, workflow_id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform dbos.enqueue_workflow(workflow_name => 'segment', queue_name => 'tasks',
    positional_args => array[to_json(tenant), to_json(task), to_json(n)], workflow_id => workflow_id, app_version => null);
end $$;
create function worka.enqueue_job(job text, tenant text, subject text, workflow_id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform dbos.enqueue_workflow(workflow_name => job, queue_name => 'jobs',
    positional_args => array[to_json(tenant), to_json(subject)], workflow_id => workflow_id, app_version => null);
end $$;
-- The ledger's one way in (architecture.md, Audit): locks the lane's head, links each row to the one before, moves the head.
-- Runs with the caller's rights, so row-level security holds here too.
create function worka.audit_append(tenant text, in_lane integer, bodies bytea[], macs bytea[]) returns bigint
language plpgsql security invoker set search_path = pg_catalog, pg_temp as $$
declare
  s bigint;
  h bytea;
  n bytea;
  before text := current_setting('worka.tenant', true);
begin
  -- The platform's own chain belongs to no tenant.
  if tenant = '_platform' then
    perform set_config('worka.tenant', tenant, true);
  end if;
  select a.seq, a.hash into s, h from worka.audit_head a where a.tenant_id = tenant and a.lane = in_lane for update;
  if not found then
    insert into worka.audit_head (tenant_id, lane) values (tenant, in_lane) on conflict do nothing;
    select a.seq, a.hash into s, h from worka.audit_head a where a.tenant_id = tenant and a.lane = in_lane for update;
  end if;
  for i in 1 .. cardinality(bodies) loop
    s := s + 1;
    n := sha256(h || macs[i] || bodies[i]);
    insert into worka.audit_entry (tenant_id, lane, seq, body, mac, prev, hash) values (tenant, in_lane, s, bodies[i], macs[i], h, n);
    h := n;
  end loop;
  update worka.audit_head a set seq = s, hash = h where a.tenant_id = tenant and a.lane = in_lane;
  if tenant = '_platform' then
    perform set_config('worka.tenant', coalesce(before, ''), true);
  end if;
  return s;
end $$;
-- Whether a credential that was accepted once would be accepted still: what lasts longer than a request asks again.
create function worka.credential_live(credential text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select 1 from worka.session s join worka.person p on p.id = s.person_id
    where s.id = credential and s.revoked_at is null and s.expires_at > now() and p.enabled)
  or exists (select 1 from worka.api_token t
    where t.id = credential and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
     and (t.principal_kind <> 'person' or exists (select 1 from worka.person p where p.id = t.principal_id and p.enabled))
     and (t.principal_kind <> 'team_member' or exists (select 1 from worka.team_member m where m.tenant_id = t.tenant_id and m.id = t.principal_id and m.enabled)))
$$;
