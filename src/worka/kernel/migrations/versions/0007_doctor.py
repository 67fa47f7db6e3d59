"""What `worka doctor` may read across tenants: the schema's version, ids of keys, a time, public certificates."""

from __future__ import annotations

from alembic import context, op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FUNCTIONS = """
create function worka.master_keys_in_use() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select distinct k.master_key_id from worka.tenant_key k
$$;
create function worka.ledger_moved_at() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select max(e.at) from worka.audit_head h join worka.audit_entry e
    on e.tenant_id = h.tenant_id and e.lane = h.lane and e.seq = h.seq
$$;
create function worka.authorities_in_use() returns table (name text, port integer, ca_pem text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select distinct x.name, x.port, x.ca_pem from worka.network_exception x where x.removed_at is null and x.ca_pem <> ''
   order by 1, 2 limit 1000
$$;
"""
NAMES = "worka.master_keys_in_use(), worka.ledger_moved_at(), worka.authorities_in_use()"


def upgrade() -> None:
    app = context.config.attributes["app_role"]
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run(FUNCTIONS)
    run(f"revoke execute on function {NAMES} from public")
    run(f'grant execute on function {NAMES} to "{app}"')
    run(f'grant select on worka_version to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
