"""A lease on facts that were decided on before is one statement; registrations know who asked, and end."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "lease_again(text, text, text, text, text, text, jsonb, bytea, bytea, text, text, integer, jsonb, integer, bytea, bytea)",
    "releases_stuck(interval, integer)",
    "objects_named()",
    "attachments_held(text[])",
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "lease_again.sql").read_text())
    # Who stands behind a registration: an automatic try is decided as they would be. Null: older than this record.
    run("alter table worka.release add column asked_kind text, add column asked_by text, add column asked_for text")
    run(
        # Ids only, over all tenants.
        "create function worka.releases_stuck(age interval, most integer) returns table (tenant_id text, id text)"
        " language sql stable security definer set search_path = pg_catalog, pg_temp as $$"
        " select r.tenant_id, r.id from worka.release r where r.state in ('draft', 'built', 'published', 'registered', 'probed')"
        " and r.since <= clock_timestamp() - age order by r.since limit most $$"
    )
    run(
        # What lies on the disk under its digest is shared by all tenants: digests only.
        "create function worka.objects_named() returns setof text"
        " language sql stable security definer set search_path = pg_catalog, pg_temp as $$"
        " select r.source->>'contents' from worka.release r where r.source->>'contents' is not null"
        " union select s.contents from worka.pack_source s"
        " union select s.artifact_digest from worka.pack_source s where s.artifact_digest is not null"
        " union select a.digest from worka.artifact a"
        " union select l.digest from worka.listing l where l.digest is not null $$"
    )
    run(
        # A folder of clones that does not say whose it is.
        "create function worka.attachments_held(ids text[]) returns table (tenant_id text, id text)"
        " language sql stable security definer set search_path = pg_catalog, pg_temp as $$"
        " select a.tenant_id, a.id from worka.attachment a where a.id = any (ids) $$"
    )
    app = context.config.attributes["app_role"]
    for function in FUNCTIONS:
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
