-- A page of the market is read by everybody, so what a stranger lists is bounded in what it brings along: of the manifest and
-- the tools what a page shows, of envelopes the newest few, what a known key signed before what merely came.
create or replace function worka.market(reader text, wanted text[])
returns table (listing_id text, tenant_id text, workspace_id text, release_id text, publisher text, name text, version text,
  visibility text, state text, release_state text, digest text, manifest jsonb, tools jsonb, envelopes jsonb, reviewed boolean,
  since timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(reader);
  return query
  select l.id, r.tenant_id, r.workspace_id, r.id, r.publisher, r.name, r.version,
    coalesce(l.visibility, 'private'), coalesce(l.state, 'unlisted'), r.state, coalesce(l.digest, a.digest),
    jsonb_build_object(
      'display_name', r.manifest->'display_name', 'description', r.manifest->'description', 'license', r.manifest->'license',
      'source', case jsonb_typeof(r.manifest->'source')
        when 'object' then jsonb_build_object('repository', left(r.manifest->'source'->>'repository', 2000),
          'revision', left(r.manifest->'source'->>'revision', 2000))
        else to_jsonb(left(r.manifest->>'source', 2000)) end,
      'dependencies', (select coalesce(jsonb_agg(jsonb_build_object('pack', d.item->'pack') order by d.nth), '[]')
        from jsonb_array_elements(coalesce(r.manifest->'dependencies', '[]')) with ordinality as d (item, nth)),
      'connections', (select coalesce(jsonb_agg(jsonb_build_object('provider', c.item->'provider') order by c.nth), '[]')
        from jsonb_array_elements(coalesce(r.manifest->'connections', '[]')) with ordinality as c (item, nth)),
      'outbound_domains', (select coalesce(
          jsonb_agg(case jsonb_typeof(o.item) when 'string' then o.item else o.item->'host' end order by o.nth), '[]')
        from jsonb_array_elements(coalesce(r.manifest->'outbound_domains', '[]')) with ordinality as o (item, nth))),
    (select coalesce(jsonb_agg(jsonb_build_object('name', t.tool->'name', 'description', coalesce(left(t.tool->>'description', 1000), ''),
        'side_effect', t.tool->'side_effect') order by t.nth), '[]')
      from jsonb_array_elements(r.tools) with ordinality as t (tool, nth) where t.nth <= 100),
    (select coalesce(jsonb_agg(e.envelope order by e.verified desc, e.id desc), '[]') from (
      select t.envelope, t.verified, t.id from worka.attestation t
      where t.tenant_id = r.tenant_id and t.release_id = r.id
      order by t.verified desc, t.id desc limit 8) e),
    exists (select 1 from worka.release_review v where v.tenant_id = r.tenant_id and v.release_id = r.id
      and v.digest = coalesce(l.digest, a.digest)),
    coalesce(l.since, r.since)
  from worka.release r
  left join worka.listing l on l.tenant_id = r.tenant_id and l.release_id = r.id
  left join lateral (select x.digest from worka.artifact x where x.tenant_id = r.tenant_id and x.release_id = r.id
    order by x.id desc limit 1) a on true
  where r.id = any (wanted) and worka.market_shows(reader, r.tenant_id, r.state, l);
end $$;
