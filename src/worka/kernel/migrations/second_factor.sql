-- A second factor of people (RFC 6238), and since when a session has it freshly given.

-- Of the deployment, as people and sessions are: reached through the functions below only. The secret is sealed.
create table worka.second_factor (
  person_id text primary key references worka.person,
  secret_sealed bytea,                   -- null: none is in force yet
  since timestamptz,
  last_step bigint not null default 0,   -- the newest time step whose code was used: no code is taken twice
  pending_sealed bytea,                  -- shown to its person, in force with its first right code
  pending_until timestamptz
);
create table worka.recovery_code (
  person_id text not null references worka.second_factor on delete cascade,
  hmac bytea not null,
  used_at timestamptz,
  primary key (person_id, hmac)
);
alter table worka.session
  add column stepped_up_at timestamptz,  -- when its person last gave the second factor in it
  add column stepped_up_by text;         -- totp | recovery_code
alter table worka.approval_vote add column stepped_up_by text;
alter table worka.one_time_token drop constraint one_time_token_kind_check;
alter table worka.one_time_token add constraint one_time_token_kind_check
  check (kind in ('setup', 'sign_in_link', 'invitation', 'second_factor'));

create function worka.second_factor_of(person text)
returns table (secret_sealed bytea, since timestamptz, last_step bigint, pending_sealed bytea, pending_until timestamptz, recovery_left integer)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select f.secret_sealed, f.since, f.last_step, f.pending_sealed, f.pending_until,
    (select count(*)::integer from worka.recovery_code r where r.person_id = f.person_id and r.used_at is null)
  from worka.second_factor f where f.person_id = person
$$;
create function worka.second_factor_begin(person text, sealed bytea, until timestamptz) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into worka.second_factor (person_id, pending_sealed, pending_until) values (person, sealed, until)
  on conflict (person_id) do update set pending_sealed = excluded.pending_sealed, pending_until = excluded.pending_until
$$;
-- What would still open a session without the password, or with what was asked for before: links, and second steps.
create function worka.sign_ins_begun_end(person text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update worka.one_time_token set expires_at = now()
   where kind in ('sign_in_link', 'second_factor') and person_id = person and used_at is null and expires_at > now()
$$;
-- One caller wins: what was pending comes into force, with the step of the code that showed it, and new recovery codes.
create function worka.second_factor_confirm(person text, sealed bytea, step bigint, codes bytea[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update worka.second_factor set secret_sealed = sealed, since = now(), last_step = step, pending_sealed = null, pending_until = null
   where person_id = person and pending_sealed = sealed and pending_until > now();
  if not found then
    return false;
  end if;
  delete from worka.recovery_code where person_id = person;
  insert into worka.recovery_code (person_id, hmac) select person, code from unnest(codes) as code;
  update worka.session set stepped_up_at = null, stepped_up_by = null where person_id = person;
  perform worka.sign_ins_begun_end(person);
  return true;
end $$;
-- Compare and set: of two that come with the same code, in whatever process, one has used it.
create function worka.second_factor_use(person text, sealed bytea, step bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update worka.second_factor set last_step = step where person_id = person and secret_sealed = sealed and last_step < step;
  return found;
end $$;
create function worka.recovery_code_use(person text, code bytea) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update worka.recovery_code set used_at = now() where person_id = person and hmac = code and used_at is null;
  return found;
end $$;
create function worka.recovery_codes_renew(person text, codes bytea[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from worka.recovery_code where person_id = person;
  insert into worka.recovery_code (person_id, hmac) select person, code from unnest(codes) as code;
$$;
create function worka.second_factor_end(person text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update worka.session set stepped_up_at = null, stepped_up_by = null where person_id = person;
  delete from worka.second_factor where person_id = person and secret_sealed is not null;
  return found;
end $$;
create function worka.session_step_up(which text, whose text, moment timestamptz, how text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update worka.session set stepped_up_at = moment, stepped_up_by = how
   where id = which and person_id = whose and revoked_at is null and expires_at > now();
  return found;
end $$;
create function worka.sessions_revoke(person text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ended integer;
begin
  update worka.session set revoked_at = now() where person_id = person and revoked_at is null and expires_at > now();
  get diagnostics ended = row_count;
  perform worka.sign_ins_begun_end(person);
  return ended;
end $$;
-- Only failures use a limit up: what a right code took is given back.
create function worka.sign_in_give_back(what bytea) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update worka.sign_in_try set tries = greatest(tries - 1, 0) where key = what
$$;

-- Invitations are listed, taken back and sent again by the tenant that they lead into.
alter table worka.one_time_token add column withdrawn_at timestamptz;
create index one_time_invitations on worka.one_time_token (tenant_id, workspace_id, id) where kind = 'invitation';
create function worka.invitations_of(tenant text, ws text)
returns table (id text, email text, role text, created_by text, created_at timestamptz, expires_at timestamptz, used_at timestamptz, withdrawn_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(tenant);
  return query select t.id, t.email, t.role, t.created_by, t.created_at, t.expires_at, t.used_at, t.withdrawn_at from worka.one_time_token t
   where t.kind = 'invitation' and t.tenant_id = tenant and t.workspace_id = ws order by t.id desc;
end $$;
create function worka.invitation_withdraw(tenant text, ws text, which text, by_whom text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ended integer;
begin
  perform worka.need_tenant(tenant);
  update worka.one_time_token set withdrawn_at = now(), expires_at = least(expires_at, now())
   where kind = 'invitation' and tenant_id = tenant and workspace_id = ws and used_at is null and withdrawn_at is null
     and (which is null or id = which) and (by_whom is null or created_by = by_whom);
  get diagnostics ended = row_count;
  return ended;
end $$;
-- A new token in the place of the old one, which opens nothing any more. Who renews it has the new link and vouches from now
-- on: it ends with their rights, not with those of who sent it first.
create function worka.invitation_renew(tenant text, ws text, which text, hmac bytea, until timestamptz, by_whom text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(tenant);
  update worka.one_time_token set token_hmac = hmac, expires_at = until, created_by = by_whom
   where kind = 'invitation' and tenant_id = tenant and workspace_id = ws and id = which and used_at is null and withdrawn_at is null;
  return found;
end $$;

-- The look-up that every request begins with says in the same statement whether the session is stepped up.
drop function worka.credential_lookup(bytea);
create function worka.credential_lookup(hmac bytea)
returns table (kind text, credential_id text, principal_kind text, principal_id text, tenant_id text, workspace_id text, expires_at timestamptz, issued_by text, stepped_up_at timestamptz, stepped_up_by text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select 'session', s.id, 'person', s.person_id, null::text, null::text, s.expires_at, s.person_id, s.stepped_up_at, s.stepped_up_by from worka.session s
   join worka.person p on p.id = s.person_id
   where s.token_hmac = hmac and s.revoked_at is null and s.expires_at > now() and p.enabled
  union all
  select 'api_token', t.id, t.principal_kind, t.principal_id, t.tenant_id, t.workspace_id, t.expires_at, t.created_by, null::timestamptz, null::text from worka.api_token t
   where t.token_hmac = hmac and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
     and (t.principal_kind <> 'person' or exists (select 1 from worka.person p where p.id = t.principal_id and p.enabled))
     and (t.principal_kind <> 'team_member' or exists (select 1 from worka.team_member m where m.tenant_id = t.tenant_id and m.id = t.principal_id and m.enabled))
$$;
