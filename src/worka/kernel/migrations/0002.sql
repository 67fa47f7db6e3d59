-- What names a tenant is done under that tenant. These functions run with the owner's rights, so row-level security does
-- not hold inside of them: each compares the tenant that it is given with the transaction's before it writes anything.
create function worka.need_tenant(tenant text) returns void
language plpgsql security invoker set search_path = pg_catalog, pg_temp as $$
begin
  if tenant is distinct from current_setting('worka.tenant', true) then
    raise insufficient_privilege using message = 'this belongs to another tenant than the transaction';
  end if;
end $$;
create or replace function worka.one_time_create(new_id text, what text, hmac bytea, person text, tenant text, ws text, address text, as_role text, by_whom text, until timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tenant is not null then   -- setup tokens and sign-in links belong to no tenant
    perform worka.need_tenant(tenant);
  end if;
  insert into worka.one_time_token (id, kind, token_hmac, person_id, tenant_id, workspace_id, email, role, created_by, expires_at)
  values (new_id, what, hmac, person, tenant, ws, lower(address), as_role, by_whom, until);
end $$;
create or replace function worka.enqueue_segment(tenant text, task text, n integer, workflow_id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(tenant);
  perform dbos.enqueue_workflow(workflow_name => 'segment', queue_name => 'tasks',
    positional_args => array[to_json(tenant), to_json(task), to_json(n)], workflow_id => workflow_id, app_version => null);
end $$;
create or replace function worka.enqueue_job(job text, tenant text, subject text, workflow_id text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(tenant);
  perform dbos.enqueue_workflow(workflow_name => job, queue_name => 'jobs',
    positional_args => array[to_json(tenant), to_json(subject)], workflow_id => workflow_id, app_version => null);
end $$;
revoke execute on function worka.need_tenant(text) from public;
