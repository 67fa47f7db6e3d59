"""Whether an owner set a kill switch: the one whom somebody else stopped may lift it, once they are an owner."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    # Of switches that were set before it is not known: they stay as strict as they were.
    run("alter table worka.kill add column by_owner boolean not null default true")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
