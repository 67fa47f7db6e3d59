-- A lease that was decided before, given again in one statement that is its whole transaction: if the secret, its sealed value,
-- the grant, the call, the versions of policy, the kill switches and the seal are all what they were when it was decided
-- (`said`), the lease, its event and its ledger row are written; otherwise nothing is, and it answers false. Rows are locked in
-- the order in which the whole way locks them. With the caller's rights: row-level security holds, for the tenant that is set
-- here; a transaction of another tenant does not come by.
create function worka.lease_again(tenant text, secret text, with_grant text, attachment text, invocation text, place text,
  said jsonb, sealed_nonce bytea, sealed bytea, lease text, trace text, seconds integer, told jsonb, in_lane integer,
  body bytea, mac bytea) returns boolean
language plpgsql security invoker set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  s record;
  c record;
  held jsonb;
begin
  if coalesce(current_setting('worka.tenant', true), '') not in ('', tenant) then
    raise insufficient_privilege using message = 'this belongs to another tenant than the transaction';
  end if;
  perform set_config('worka.tenant', tenant, true);
  select x.workspace_id, x.name, x.kind, x.version, x.expires_at into s from worka.secret x
    where x.tenant_id = tenant and x.id = secret and x.state = 'active' for share;
  if not found or s.expires_at <= clock_timestamp() then
    return false;
  end if;
  select i.pack, i.release_id, i.tool, i.initiator_id, i.originating_person into c from worka.invocation i
    where i.tenant_id = tenant and i.id = invocation and i.state = 'running' and i.attachment_id = attachment
      and i.workspace_id = s.workspace_id for share;
  if not found then
    return false;
  end if;
  perform from worka.secret_grant g where g.tenant_id = tenant and g.id = with_grant and g.secret_id = secret
    and g.attachment_id = attachment and g.endpoint = place and g.revoked_at is null for share;
  if not found then
    return false;
  end if;
  -- After the locks: a change that they waited for is seen. What is in force is read as `authorization/store.py` reads it.
  select jsonb_build_object('version', s.version, 'name', s.name, 'kind', s.kind, 'workspace', s.workspace_id,
    'pack', c.pack, 'release', c.release_id, 'tool', c.tool, 'initiator', c.initiator_id, 'behind', c.originating_person,
    'versions', (select jsonb_object_agg(v.kind || ' ' || v.scope, v.version) from (
        select p.kind, p.scope, max(p.version) as version from worka.policy_version p
        where p.scope in ('', s.workspace_id) group by p.kind, p.scope
        union all select d.kind, '*', max(d.version) from worka.deployment_policy d group by d.kind) v
      where not exists (select 1 from worka.policy_break_glass b where b.scope = v.scope and b.ended_at is null
        and b.until > now())),
    'kills', (select jsonb_agg(to_jsonb(k)) from (select k.id, k.kind, k.subject, k.workspace_id, k.reason, k.state, k.exempt,
      k.set_by, k.set_by_name, k.by_operator, k.by_owner, k.at from worka.kill k where k.state <> 'lifted' order by k.id) k))
  into held
  from worka.secret_version v
  where v.tenant_id = tenant and v.secret_id = secret and v.version = s.version and v.ended_at is null
    and v.nonce = sealed_nonce and v.ciphertext = sealed
    and not exists (select 1 from worka.secret_version n where n.tenant_id = tenant and n.secret_id = secret
      and n.version > s.version)
    and not exists (select 1 from worka.treasury_seal t where t.sealed);
  if not found or held is distinct from said then
    return false;
  end if;
  insert into worka.lease (tenant_id, id, workspace_id, secret_id, secret_version, grant_id, attachment_id, invocation_id,
    endpoint, trace_id, expires_at)
  values (tenant, lease, s.workspace_id, secret, s.version, with_grant, attachment, invocation, place, trace,
    clock_timestamp() + make_interval(secs => seconds));
  insert into worka.event (tenant_id, workspace_id, type, lane, subject, subject_name, actor_kind, actor_id, actor_name,
    on_behalf_of, before, after, cause, data, trace_id)
  select tenant, e.workspace_id, e.type, e.lane, e.subject, e.subject_name, e.actor_kind, e.actor_id, e.actor_name,
    e.on_behalf_of, e.before, e.after, e.cause, e.data, e.trace_id
  from jsonb_to_record(told) as e(workspace_id text, type text, lane text, subject text, subject_name text, actor_kind text,
    actor_id text, actor_name text, on_behalf_of text, before jsonb, after jsonb, cause jsonb, data jsonb, trace_id text);
  perform worka.audit_append(tenant, in_lane, array[body], array[mac]);
  return true;
end $$;
