"""What a domain asks for of its own, beside what policy asks: kept with the approval, so that it never reads as a changed rule."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run("alter table worka.approval add column own_rules jsonb not null default '[]'")
    # What is open or unused now: the two boundaries that ask for somebody of their own.
    run(
        "update worka.approval set own_rules = case boundary when 'policy.change' then '[\"approve:1\"]'::jsonb"
        " else '[\"approve:1 of group:owners\"]'::jsonb end where state in ('open', 'approved') and consumed_at is null"
        " and (boundary = 'policy.change' or (boundary = 'approval.bypass' and rules @> '[\"approve:1 of group:owners\"]'))"
    )


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
