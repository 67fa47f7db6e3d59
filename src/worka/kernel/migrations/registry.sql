-- The registry: where a release comes from, what it is as an artifact, where it was published, how it is listed, who vouches
-- for it. Each is a record of its own: it fails and is tried again by itself.
create table worka.pack_source (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  origin text not null check (origin in ('private', 'trusted', 'marketplace_shared', 'marketplace_public', 'forge')),
  repository text not null default '',
  revision text not null default '',
  contents text not null,              -- SHA-256 over manifest, lock and files as they were handed in
  artifact_digest text,                -- of what was fetched: it is kept as it came, under this digest
  taken_from text not null default '', -- where a fetched one came from, in words
  similar_found jsonb not null default '[]', -- what the registry had that is like it, when it was asked for
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, release_id, contents),
  foreign key (tenant_id, release_id) references worka.release (tenant_id, id)
);
create table worka.artifact (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  source_id text not null,
  digest text not null,                -- sha256:… of the OCI manifest
  size bigint not null,                -- of manifest and layers
  layers jsonb not null,
  contents text not null,              -- of the source that it was made of
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, release_id, digest),
  foreign key (tenant_id, source_id) references worka.pack_source (tenant_id, id)
);
create index on worka.artifact (tenant_id, digest);
create table worka.destination (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,
  host text not null,
  port integer not null,
  repository text not null,
  credential bytea,                    -- sealed under the tenant's key; null: it asks for none
  state text not null default 'active' check (state in ('active', 'removed')),
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create unique index on worka.destination (tenant_id, workspace_id, name) where state = 'active';
create table worka.publication (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  artifact_id text not null,
  destination_id text,                 -- null: the layout of this deployment
  destination text not null,           -- as policy names it: local, or host:port/repository
  visibility text not null check (visibility in ('private', 'shared', 'public')),
  shared_with jsonb not null default '[]',
  state text not null,
  reason text not null,
  since timestamptz not null default now(),
  attempt integer not null default 1,
  error jsonb,
  approval_id text,
  location text,                       -- where it lies, once it is there
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, artifact_id) references worka.artifact (tenant_id, id)
);
create index on worka.publication (tenant_id, workspace_id, id);
create index on worka.publication (tenant_id, release_id);
create table worka.listing (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  publication_id text not null,
  digest text not null,
  visibility text not null check (visibility in ('private', 'shared', 'public')),
  shared_with jsonb not null default '[]',
  state text not null default 'listed' check (state in ('listed', 'withdrawn')),
  why text not null default '',
  since timestamptz not null default now(),
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, release_id),
  foreign key (tenant_id, release_id) references worka.release (tenant_id, id)
);
create table worka.publisher_key (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  publisher text not null,
  key_id text not null,                -- SHA-256 of the public key
  public_key text not null,            -- base64
  secret_id text not null,             -- the private half lies in the treasury
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, key_id)
);
create table worka.attestation (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  digest text not null,                -- of the artifact that it is about
  key_id text not null,                -- of the key whose signature held when it came; else what the envelope claims
  verified boolean not null,           -- whether any key that was known then signed it
  envelope jsonb not null,             -- DSSE over an in-toto statement
  envelope_hash text not null,         -- SHA-256 of its canonical form: a claimed key takes nobody's place
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, release_id, digest, envelope_hash),
  foreign key (tenant_id, release_id) references worka.release (tenant_id, id)
);
create table worka.release_review (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  release_id text not null,
  digest text not null,                -- of the artifact that was looked at
  note text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  foreign key (tenant_id, release_id) references worka.release (tenant_id, id)
);
create table worka.registry_policy (   -- the newest version of a place holds; '' is the whole tenant
  tenant_id text not null,
  workspace_id text not null,
  version integer not null,
  settings jsonb not null,
  note text not null default '',
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, workspace_id, version)
);
-- Whom the deployment's operator trusts to vouch for which publisher: no tenant's, read by every check of a signature.
create table worka.trust_root (
  version integer primary key,
  document jsonb not null,
  created_by text not null,
  created_at timestamptz not null default now()
);
create function worka.trust_root_add(number integer, body jsonb, by_whom text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into worka.trust_root (version, document, created_by)
  select number, body, by_whom where number = coalesce((select max(version) from worka.trust_root), 0) + 1
  on conflict do nothing;
  return found;
end $$;

-- Whether a tenant sees a release, with its listing or null: the one place that says so. Its own that can be attached or was
-- listed; of others what is listed for it or for everybody, and can be attached.
create function worka.market_shows(reader text, owner text, release_state text, l worka.listing) returns boolean
language sql immutable as $$
  select case when owner = reader then l.id is not null or release_state = 'released'
    else coalesce(l.state = 'listed' and release_state = 'released'
      and (l.visibility = 'public' or (l.visibility = 'shared' and l.shared_with ? reader)), false) end
$$;

-- What a tenant may see of these releases: its own that can be attached, and what others listed for it or for everybody.
create function worka.market(reader text, wanted text[])
returns table (listing_id text, tenant_id text, workspace_id text, release_id text, publisher text, name text, version text,
  visibility text, state text, release_state text, digest text, manifest jsonb, tools jsonb, envelopes jsonb, reviewed boolean,
  since timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(reader);
  return query
  select l.id, r.tenant_id, r.workspace_id, r.id, r.publisher, r.name, r.version,
    coalesce(l.visibility, 'private'), coalesce(l.state, 'unlisted'), r.state, coalesce(l.digest, a.digest), r.manifest, r.tools,
    (select coalesce(jsonb_agg(t.envelope order by t.verified desc, t.id), '[]') from worka.attestation t
      where t.tenant_id = r.tenant_id and t.release_id = r.id),
    exists (select 1 from worka.release_review v where v.tenant_id = r.tenant_id and v.release_id = r.id
      and v.digest = coalesce(l.digest, a.digest)),
    coalesce(l.since, r.since)
  from worka.release r
  left join worka.listing l on l.tenant_id = r.tenant_id and l.release_id = r.id
  left join lateral (select x.digest from worka.artifact x where x.tenant_id = r.tenant_id and x.release_id = r.id
    order by x.id desc limit 1) a on true
  where r.id = any (wanted) and worka.market_shows(reader, r.tenant_id, r.state, l);
end $$;

-- What of that has any of these words (none: everything), with the columns that are searched alone: of each pack the newest
-- version that can be had, the tenant's own first, then every other tenant's newest before anybody's second.
create function worka.market_search(reader text, words text[], most integer)
returns table (release_id text, tenant_id text, publisher text, name text, version text, visibility text, manifest jsonb,
  tools jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform worka.need_tenant(reader);
  return query
  with seen as (
    select distinct on (r.tenant_id, r.publisher, r.name) r.id, r.tenant_id as whose, r.publisher as by_whom, r.name as called,
      r.version as number, coalesce(l.visibility, 'private') as wide,
      jsonb_build_object('display_name', r.manifest->>'display_name', 'description', r.manifest->>'description') as about,
      (select coalesce(jsonb_agg(jsonb_build_object('name', t.tool->>'name', 'description', left(t.tool->>'description', 400))
          order by t.nth), '[]')
        from jsonb_array_elements(r.tools) with ordinality as t (tool, nth) where t.nth <= 100) as has
    from worka.release r
    left join worka.listing l on l.tenant_id = r.tenant_id and l.release_id = r.id
    where worka.market_shows(reader, r.tenant_id, r.state, l)
    order by r.tenant_id, r.publisher, r.name, (r.state = 'released') desc, r.id desc
  )
  select s.id, s.whose, s.by_whom, s.called, s.number, s.wide, s.about, s.has
  from seen s
  where cardinality(words) = 0 or exists (select 1 from unnest(words) as w (word)
    where strpos(lower(concat_ws(' ', s.by_whom, s.called, s.about::text, s.has::text)), w.word) > 0)
  order by s.whose = reader desc, row_number() over (partition by s.whose order by s.id desc), s.id desc
  limit most;
end $$;

alter table worka.platform_rule drop constraint platform_rule_purpose_check;
alter table worka.platform_rule add constraint platform_rule_purpose_check check (purpose in ('webhook', 'registry'));
