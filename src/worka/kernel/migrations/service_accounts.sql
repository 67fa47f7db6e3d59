-- Service accounts: programs of a tenant's own, each with an owning person and no rights beyond that person's.
create table worka.service_account (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  purpose text not null,
  owner_person_id text not null references worka.person,
  created_by text not null,
  created_at timestamptz not null default now(),
  ended_at timestamptz,                  -- it acts no more; the row stays, for what it did names it
  primary key (tenant_id, id)
);
create unique index on worka.service_account (tenant_id, workspace_id, name) where ended_at is null;

-- A token of an account that has ended opens nothing, whatever its own row says; and whoever holds one acts for the owner.
create or replace function worka.credential_lookup(hmac bytea)
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
     and (t.principal_kind <> 'service_account' or exists (select 1 from worka.service_account a where a.tenant_id = t.tenant_id and a.id = t.principal_id and a.ended_at is null and a.owner_person_id = t.created_by))
$$;
