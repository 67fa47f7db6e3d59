"""What a page of the market reads of others is bounded."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "market_bounds.sql").read_text())


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
