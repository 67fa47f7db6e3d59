"""Who recorded where a credential would go does not decide on the consent to it."""

from __future__ import annotations

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("alter table worka.approval add column led_by jsonb not null default '[]'")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
