-- What an egress row tells of the wire. The row is the first request's of its kind; these are the last request's.
alter table worka.egress add column protocol text;            -- of the pack's side: http/1.1 | h2 | websocket | tls
alter table worka.egress add column upstream_protocol text;   -- of the other side, which is chosen by itself
alter table worka.egress add column resolve_ms double precision;   -- what duration_ms was made of, each from its own begin
alter table worka.egress add column connect_ms double precision;   -- null: a connection that was there already
alter table worka.egress add column answer_ms double precision;    -- from the request to the head of its answer
alter table worka.egress add column secret_id text;           -- whose value was put on the wire; never the value
alter table worka.egress add column trust_id text;            -- the operator's record of how its certificate was checked

-- What left for an attachment on one day (UTC), which its limits are held against.
create table worka.egress_use (
  tenant_id text not null,
  attachment_id text not null,
  day date not null,
  requests bigint not null default 0,
  bytes_out bigint not null default 0,
  bytes_in bigint not null default 0,
  primary key (tenant_id, attachment_id, day)
);

-- How the certificate of an outside name is checked, and with which one of ours we answer. By the operator.
create table worka.upstream_trust (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  name text not null,                  -- the host a pack sees
  port integer not null,
  attachment_id text not null default '',   -- one attachment, '' : all of the workspace
  ca_pem text not null default '',     -- trusted instead of the public ones, '' : those
  client_cert_pem text not null default '',   -- ours, '' : none
  client_key_secret_id text,           -- its key, a secret; the broker alone opens it
  reason text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  removed_at timestamptz,
  primary key (tenant_id, id)
);
create unique index on worka.upstream_trust (tenant_id, workspace_id, name, port, attachment_id) where removed_at is null;
