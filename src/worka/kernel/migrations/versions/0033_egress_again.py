"""What nearly every request to the outside writes is one statement."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

FUNCTION = (
    "egress_again(text, text, text, date, integer, text, text, integer, integer, text, bigint, bigint, double precision, text,"
    " text, double precision, double precision, double precision)"
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "egress_again.sql").read_text())
    run(f"revoke execute on function worka.{FUNCTION} from public")
    run(f'grant execute on function worka.{FUNCTION} to "{context.config.attributes["app_role"]}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
