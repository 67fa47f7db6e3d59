"""The functions that write with the owner's rights do it for the caller's own tenant only."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "0002.sql").read_text())
    run(f'grant execute on function worka.need_tenant(text) to "{context.config.attributes["app_role"]}"')


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
