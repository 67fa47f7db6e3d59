-- secrets: when they end, how often they are to be rotated, the overlap of a rotation -----------------------------------
alter table worka.secret
  add column expires_at timestamptz,
  add column rotate_days integer check (rotate_days between 1 and 3650),
  add column previous_version integer,   -- while rotating: the old value, valid beside the new one
  add column overlap_until timestamptz,  -- when the old value ends by itself
  add column warned text not null default '' check (warned in ('', 'soon', 'due'));
-- A version that ended keeps its number and nothing else: which numbers there were is how a replayed old one is told.
alter table worka.secret_version add column ended_at timestamptz;
create index on worka.lease (tenant_id, secret_id, id desc);
create index on worka.secret (expires_at) where expires_at is not null;
create index on worka.secret (overlap_until) where overlap_until is not null;

-- keys: a destroyed one keeps its number -----------------------------------------------------------------------------
alter table worka.tenant_key add column destroyed_at timestamptz;

-- The reading of one value by a person, which another one consented to.
create table worka.secret_reading (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  secret_id text not null,
  secret_version integer,
  why text not null,
  state text not null default 'awaiting_approval' check (state in ('awaiting_approval', 'open', 'closed')),
  reason text not null,
  minutes integer not null check (minutes between 1 and 60),
  until timestamptz,                     -- from the consent on
  approval_id text,
  opened_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  since timestamptz not null default clock_timestamp(),
  read_at timestamptz,
  primary key (tenant_id, id),
  foreign key (tenant_id, secret_id) references worka.secret
);

-- The destruction of a tenant's data keys, which another owner consented to.
create table worka.key_destruction (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  why text not null,
  reach jsonb not null,
  state text not null default 'awaiting_approval' check (state in ('awaiting_approval', 'closed')),
  reason text not null,
  approval_id text,
  asked_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  since timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);

-- The seal of the whole treasury: while it is on, no value leaves in any process. Read in the transaction of each lease.
create table worka.treasury_seal (
  one boolean primary key default true check (one),
  sealed boolean not null,
  why text not null,
  by_whom text not null,
  by_name text not null,
  at timestamptz not null default clock_timestamp()
);
create function worka.treasury_seal_set(closed boolean, because text, who text, called text)
returns setof worka.treasury_seal
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  return query insert into worka.treasury_seal as s (sealed, why, by_whom, by_name) values (closed, because, who, called)
    on conflict (one) do update set sealed = excluded.sealed, why = excluded.why, by_whom = excluded.by_whom,
      by_name = excluded.by_name, at = clock_timestamp()
    returning s.*;
end $$;

-- Over all tenants, ids only: who calls sets the tenant and looks again.
create function worka.secrets_due(most integer, soon interval)
returns table (tenant_id text, secret_id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.tenant_id, s.id from worka.secret s
   where (s.state = 'rotating' and s.overlap_until <= now())
      or (s.state in ('active', 'rotating') and s.warned <> 'due'
          and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now())
      or (s.state in ('active', 'rotating') and s.warned = ''
          and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now() + soon)
   order by s.tenant_id, s.id limit most
$$;
create function worka.keys_by_master() returns table (master text, keys bigint, tenants bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select k.master_key_id, count(*), count(distinct k.tenant_id) from worka.tenant_key k where k.destroyed_at is null
   group by 1 order by 1
$$;
create function worka.tenants_under(masters text[], most integer) returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select distinct k.tenant_id from worka.tenant_key k where k.master_key_id = any(masters) and k.destroyed_at is null
   order by 1 limit most
$$;
-- For the doctor: names and dates of what ends, never a value.
create function worka.secrets_ending(within interval) returns table (tenant_id text, name text, ends_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.tenant_id, s.name, least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days))
    from worka.secret s where s.state in ('active', 'rotating')
     and least(s.expires_at, coalesce(s.rotated_at, s.created_at) + make_interval(days => s.rotate_days)) <= now() + within
   order by 3 limit 1000
$$;
-- A destroyed key is under no master key any more.
create or replace function worka.master_keys_in_use() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select distinct k.master_key_id from worka.tenant_key k where k.destroyed_at is null
$$;
