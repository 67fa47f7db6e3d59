-- Connections by OAuth: clients at providers, consents under way, tokens that are refreshed; whose an account is; how it ended.
alter table worka.connection drop constraint connection_state_check;
alter table worka.connection add constraint connection_state_check check (state in
  ('awaiting_approval', 'awaiting_consent', 'active', 'expired', 'broken', 'revoked', 'rejected'));
alter table worka.connection
  add column kind text not null default 'token' check (kind in ('token', 'oauth_code', 'oauth_device', 'oauth_client')),
  add column person_id text,                          -- whose own account it is; null: the workspace's
  add column client_id text,                          -- the client of the workspace at the provider
  add column scopes text[] not null default '{}',     -- what was approved
  add column granted text[] not null default '{}',    -- what the provider gave
  add column account jsonb not null default '{}',     -- {id, name} of the account outside
  add column asked_by jsonb not null default '[]',    -- [{kind, id, name}]: what needed it when it was asked for
  add column refresh_secret_id text,
  add column expires_at timestamptz,                  -- of the access token
  add column refresh_at timestamptz,                  -- when it is renewed; null: not by itself
  add column refresh_claim text,                      -- who renews it now: the fence of what comes of it
  add column refresh_until timestamptz,               -- until when
  add column refresh_open boolean not null default false,  -- a renewal began whose end nobody recorded
  add column refresh_tries integer not null default 0,     -- that failed, one after another
  add column refreshed_at timestamptz,
  add column problem jsonb,                           -- {code, detail, at}: why the last try came to nothing
  add column warned text not null default '' check (warned in ('', 'soon', 'due')),
  add column receipt jsonb,                           -- of its end: what stopped, and whether the provider was told
  add column tell_at timestamptz,                     -- when the provider is told of the end; null: not (any more)
  add column tell_tries integer not null default 0;
create index on worka.connection (refresh_at) where refresh_at is not null;
create index on worka.connection (expires_at) where state = 'active' and expires_at is not null;
create index on worka.connection (tell_at) where tell_at is not null;

-- Whose value it is: no call of another person's is given it. And why a grant ended: by hand it does not come back by itself.
alter table worka.secret add column person_id text;
alter table worka.secret_grant add column ended_by text not null default '';   -- kind of the cause; empty: a person, or not yet

-- What a workspace is registered as at a provider. Its secret is the treasury's.
create table worka.provider_client (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  provider text not null,
  client_id text not null,
  secret_id text,
  metadata jsonb not null default '{}',
  created_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  primary key (tenant_id, id)
);
create unique index provider_client_one on worka.provider_client (tenant_id, workspace_id, provider) where ended_at is null;

-- A consent under way at a provider: of one person, in one session, once.
create table worka.connection_flow (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  connection_id text not null,
  kind text not null check (kind in ('code', 'device')),
  person_id text not null,
  credential_id text not null,           -- the session that began it: no other ends it
  state_hash text not null default '',   -- SHA-256 of what the provider has to send back
  sealed bytea not null,                 -- the verifier, or the device's code
  redirect_uri text not null default '',
  user_code text not null default '',
  verification_uri text not null default '',
  interval_seconds integer not null default 5,
  next_at timestamptz,                   -- when a device's consent is asked for again
  expires_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  used_at timestamptz,                   -- its answer came, and no second one counts
  ended_at timestamptz,
  outcome text not null default '',
  primary key (tenant_id, id),
  foreign key (tenant_id, connection_id) references worka.connection
);
create index on worka.connection_flow (tenant_id, connection_id) where ended_at is null;
create index on worka.connection_flow (next_at) where next_at is not null;

-- Which outside systems a tenant may connect: the operator's word. No row: what the deployment says.
create table worka.provider_restriction (
  tenant_id text not null primary key,
  providers text[],                      -- null: no restriction (any more)
  reason text not null,
  set_by text not null,
  set_by_name text not null,
  set_at timestamptz not null default clock_timestamp()
);

alter table worka.platform_rule drop constraint platform_rule_purpose_check;
alter table worka.platform_rule add constraint platform_rule_purpose_check
  check (purpose in ('webhook', 'registry', 'connection'));

-- Ids only, over all tenants: who calls sets the tenant and looks again.
create function worka.connections_due(most integer) returns table (tenant_id text, what text, id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  (select c.tenant_id, 'renew', c.id from worka.connection c where c.refresh_at <= clock_timestamp()
      and c.state in ('active', 'expired', 'awaiting_consent')
      and (c.refresh_until is null or c.refresh_until <= clock_timestamp()) order by c.refresh_at limit most)
  union all
  (select c.tenant_id, 'expire', c.id from worka.connection c
    where c.state = 'active' and c.expires_at <= clock_timestamp() order by c.expires_at limit most)
  union all
  (select c.tenant_id, 'warn', c.id from worka.connection c
    where c.state = 'active' and c.refresh_at is null and c.warned = '' and c.expires_at <= clock_timestamp() + interval '14 days'
    order by c.expires_at limit most)
  union all
  (select c.tenant_id, 'tell', c.id from worka.connection c where c.tell_at <= clock_timestamp() order by c.tell_at limit most)
  union all
  (select f.tenant_id, 'poll', f.id from worka.connection_flow f
    where f.next_at <= clock_timestamp() and f.ended_at is null order by f.next_at limit most)
  union all
  (select f.tenant_id, 'lapse', f.id from worka.connection_flow f
    where f.ended_at is null and f.expires_at + interval '1 minute' <= clock_timestamp() order by f.expires_at limit most)
$$;

-- An access token that is renewed by itself is no secret that a person has to tend.
create or replace function worka.secrets_due(most integer, soon interval)
returns table (tenant_id text, secret_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.tenant_id, s.id from worka.secret s
   where (s.state = 'rotating' and s.overlap_until <= now())
      or (s.kind <> 'oauth_access' and s.state in ('active', 'rotating') and s.warned <> 'due'
          and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now())
      or (s.kind <> 'oauth_access' and s.state in ('active', 'rotating') and s.warned = ''
          and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now() + soon)
   order by s.tenant_id, s.id limit most
$$;
create or replace function worka.secrets_ending(within interval) returns table (tenant_id text, name text, ends_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.tenant_id, s.name, least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days))
    from worka.secret s where s.state in ('active', 'rotating') and s.kind <> 'oauth_access'
     and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now() + within
   order by 3 limit 1000
$$;
