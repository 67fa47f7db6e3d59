-- What nearly every request writes, in one statement that is its whole transaction: a row of the way out that is there is
-- counted up by `times` requests that are about to leave, the outcome of `requests` before them is written, and what those
-- used is added to the day. Where a kill switch of the tenant is not lifted, or the row is not there, nothing is written and
-- it answers false: then it is gone through one by one. Each statement of it sees what was committed when it began, so the
-- switches are those after the requests came. With the caller's rights: row-level security holds, for the tenant that is set
-- here; a transaction of another tenant does not come by.
create function worka.egress_again(tenant text, entry text, attachment text, on_day date, times integer, new_path text,
  new_address text, requests integer, new_status integer, new_reason text, out_bytes bigint, in_bytes bigint,
  ms double precision, spoken text, upstream text, resolved double precision, connected double precision,
  answered double precision) returns boolean
language plpgsql security invoker set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  if coalesce(current_setting('worka.tenant', true), '') not in ('', tenant) then
    raise insufficient_privilege using message = 'this belongs to another tenant than the transaction';
  end if;
  perform set_config('worka.tenant', tenant, true);
  if times > 0 and exists (select from worka.kill k where k.tenant_id = tenant and k.state <> 'lifted') then
    return false;
  end if;
  if requests > 0 then
    update worka.egress e set count = e.count + times, path = coalesce(new_path, e.path),
      address = coalesce(new_address, e.address), status = new_status, reason = new_reason, bytes_out = e.bytes_out + out_bytes,
      bytes_in = e.bytes_in + in_bytes, duration_ms = ms, protocol = coalesce(spoken, e.protocol), upstream_protocol = upstream,
      resolve_ms = coalesce(resolved, e.resolve_ms), connect_ms = connected, answer_ms = answered,
      last_at = clock_timestamp(), xid = pg_current_xact_id()
    where e.tenant_id = tenant and e.id = entry;
  else
    update worka.egress e set count = e.count + times, path = coalesce(new_path, e.path),
      address = coalesce(new_address, e.address), last_at = clock_timestamp(), xid = pg_current_xact_id()
    where e.tenant_id = tenant and e.id = entry;
  end if;
  if not found then
    return false;
  end if;
  if requests > 0 then
    insert into worka.egress_use as u (tenant_id, attachment_id, day, requests, bytes_out, bytes_in)
    values (tenant, attachment, on_day, requests, out_bytes, in_bytes)
    on conflict (tenant_id, attachment_id, day) do update set requests = u.requests + excluded.requests,
      bytes_out = u.bytes_out + excluded.bytes_out, bytes_in = u.bytes_in + excluded.bytes_in;
  end if;
  return true;
end $$;
