-- Attachments that move from release to release (packs/moving).
alter table worka.attachment add column definitions jsonb not null default '{}';  -- {tool: {pin, definition, decision, by, why}}
alter table worka.attachment add column followed_by text;   -- on whose account it follows new releases
alter table worka.attachment add column followed_for text;  -- the person behind them
create table worka.attachment_move (
  tenant_id text not null,
  id text not null,
  workspace_id text not null,
  attachment_id text not null,
  pack text not null,
  kind text not null check (kind in ('asked', 'followed', 'back')),
  from_release text not null,
  to_release text not null,
  state text not null,                    -- planned | awaiting_approval | awaiting_connection | awaiting_dependency | trying | moved | failed | refused | superseded
  reason text not null,
  since timestamptz not null default clock_timestamp(),
  difference jsonb not null,              -- packs/moving/difference.py
  widens boolean not null,
  redefines boolean not null,
  mounts jsonb not null default '[]',     -- as attachment.mounts, for the release that it leads to
  requester_kind text not null,
  requester_id text not null,
  originating_person text,
  why text not null default '',
  decision_id text,
  approval_id text,
  error jsonb,
  runs integer not null default 0,        -- how often the engine was handed a part of it
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  primary key (tenant_id, id),
  foreign key (tenant_id, attachment_id) references worka.attachment,
  foreign key (tenant_id, from_release) references worka.release,
  foreign key (tenant_id, to_release) references worka.release
);
create unique index attachment_move_one on worka.attachment_move (tenant_id, attachment_id) where ended_at is null;
create index on worka.attachment_move (tenant_id, attachment_id, id);
create index on worka.attachment_move (tenant_id, workspace_id, state);
