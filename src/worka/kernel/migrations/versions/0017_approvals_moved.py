"""What policy says now, of an approval that a later version of policy ended."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("alter table worka.approval add column moved jsonb")  # null: no policy ended it


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
