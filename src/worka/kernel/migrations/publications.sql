-- Who asked for a publication, so that it is decided again as them; signatures that come after it; and what a registry may
-- send us to: the service that gives out its tokens, the hosts of its blobs.
alter table worka.publication add column created_kind text;              -- null: older than this column
alter table worka.publication add column originating_person text;
alter table worka.publication add column signatures_there jsonb not null default '[]';  -- hashes of the envelopes that lie there
alter table worka.publication add column signatures_tries integer not null default 0;   -- that failed, one after another
alter table worka.publication add column signatures_next timestamptz;    -- when they are brought; null: not by itself
alter table worka.publication add column signatures_lease timestamptz;   -- until when somebody has it in hand
alter table worka.publication add column signatures_error jsonb;         -- of the last try
create index on worka.publication (signatures_next) where signatures_next is not null;
alter table worka.destination add column token_service text not null default '';
alter table worka.destination add column blob_hosts jsonb not null default '[]';        -- host:port

-- A destination has a rule for each host.
drop index worka.platform_rule_tenant_id_purpose_subject_id_idx;
create unique index platform_rule_one on worka.platform_rule (tenant_id, purpose, subject_id, host, port, path) where ended_at is null;

-- Ids only, over all tenants.
create function worka.signatures_due(most integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.tenant_id, p.id from worka.publication p where p.signatures_next <= clock_timestamp()
    and (p.signatures_lease is null or p.signatures_lease <= clock_timestamp()) order by p.signatures_next limit most
$$;
