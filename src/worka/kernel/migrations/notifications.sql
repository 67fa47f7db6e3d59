-- The platform's own way out, and who is told of what: rules of the platform, webhooks, deliveries and their attempts.
alter table worka.egress add column decision_id text;   -- of the platform's own calls: a pack's is its invocation's

-- What the platform itself may reach, beside what the deployment's settings name. Written with what needs it.
create table worka.platform_rule (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  purpose text not null check (purpose in ('webhook')),
  subject_id text not null,            -- the webhook that it is for
  host text not null,
  port integer not null,
  method text not null,
  path text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (tenant_id, id)
);
create unique index on worka.platform_rule (tenant_id, purpose, subject_id) where ended_at is null;

create table worka.webhook (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  url text not null,
  types jsonb not null,                -- ["approval.requested", "approval.*"]: what it is told of
  description text not null default '',
  state text not null check (state in ('active', 'paused', 'disabled', 'removed')),
  reason text not null,
  since timestamptz not null default now(),
  failing_since timestamptz,           -- the first failure after the last success
  created_by text not null,
  kept_by text not null,               -- who answers for it: who added it, or took it up last
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index on worka.webhook (tenant_id, workspace_id, id);
create table worka.webhook_secret (    -- sealed under the tenant's key; two are valid while one is rotated
  tenant_id text not null,
  id text not null,
  webhook_id text not null,
  sealed bytea not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,              -- null: the newest
  primary key (tenant_id, id),
  foreign key (tenant_id, webhook_id) references worka.webhook
);
create index on worka.webhook_secret (tenant_id, webhook_id);

create table worka.delivery (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  channel text not null check (channel in ('webhook', 'mail')),
  target text not null,                -- the webhook, or the person
  message_id text not null,            -- the same at every attempt and replay: what a receiver tells repeats by
  type text not null,
  payload jsonb not null,
  cause text not null,                 -- the message of the outbox that it came from, or what else asked for it
  state text not null check (state in ('queued', 'sent', 'refused', 'failed', 'skipped')),
  reason text not null,
  attempts integer not null default 0,
  next_at timestamptz,                 -- when it is tried; null: not any more
  claimed_until timestamptz,           -- a worker tries it now; after this it is tried again
  status integer,                      -- what the receiver answered last
  replay_of text,
  created_by text not null default 'platform',
  created_at timestamptz not null default now(),
  since timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, cause, channel, target)
);
create index on worka.delivery (tenant_id, workspace_id, id);
create index on worka.delivery (tenant_id, target, id);
create index on worka.delivery (next_at) where state = 'queued';
create index on worka.delivery (tenant_id, (payload -> 'data' ->> 'approval_id'));
create table worka.delivery_attempt (
  tenant_id text not null,
  delivery_id text not null,
  number integer not null,
  at timestamptz not null default now(),
  reason text not null,
  detail text not null default '',
  status integer,
  duration_ms double precision,
  answer text not null default '',     -- the beginning of what came back, without secrets
  egress_id text,
  primary key (tenant_id, delivery_id, number),
  foreign key (tenant_id, delivery_id) references worka.delivery
);

create table worka.notification_choice (   -- without a row: mail is sent where the deployment sends any
  tenant_id text not null,
  person_id text not null,
  mail boolean not null,
  updated_at timestamptz not null default now(),
  primary key (tenant_id, person_id)
);

-- Ids only, over all tenants. Tenants take turns: who has the fewest under way comes first, and none has more than `of_tenant`
-- at once; of one target there are only so many, so that one that hangs does not hold up the others. Mail is counted by itself.
create function worka.deliveries_due(webhooks integer, mails integer, of_one integer, of_tenant integer)
returns table (tenant_id text, delivery_id text, channel text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with due as (
    select q.tenant_id, q.id, q.channel, q.target, q.next_at, coalesce(q.claimed_until > now(), false) as tried
      from worka.delivery q where q.state = 'queued' and q.next_at <= now()),
  places as (
    select d.*, row_number() over (partition by d.tenant_id, d.channel, d.target order by d.tried desc, d.next_at, d.id) as place
      from due d),
  turns as (
    select p.*, row_number() over (partition by p.tenant_id, p.channel order by p.tried desc, p.place, p.next_at, p.id) as turn
      from places p where p.place <= of_one),
  chosen as (
    select t.*, row_number() over (partition by t.channel order by t.turn, t.next_at, t.id) as nth
      from turns t where not t.tried and t.turn <= of_tenant)
  select c.tenant_id, c.id, c.channel from chosen c
   where c.nth <= case c.channel when 'mail' then mails else webhooks end order by c.channel, c.nth
$$;
