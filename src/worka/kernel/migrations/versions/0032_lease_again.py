"""A lease on facts that were decided on before is one statement."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0032"
down_revision = "0026"
branch_labels = None
depends_on = None

FUNCTION = "lease_again(text, text, text, text, text, text, jsonb, bytea, bytea, text, text, integer, jsonb, integer, bytea, bytea)"


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "lease_again.sql").read_text())
    run(f"revoke execute on function worka.{FUNCTION} from public")
    run(f'grant execute on function worka.{FUNCTION} to "{context.config.attributes["app_role"]}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
