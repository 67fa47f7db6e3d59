"""What was let out lately is found by its time: the operator's question over all tenants read every row there is."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("create index egress_lately on worka.egress (last_at) where verdict = 'allowed'")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
