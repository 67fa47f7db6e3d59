"""Attachments that move from one release to another, and definitions that are decided on."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "moving.sql").read_text())
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    run("alter table worka.attachment_move enable row level security")
    run("alter table worka.attachment_move force row level security")
    run(f"create policy tenant_isolation on worka.attachment_move using ({mine}) with check ({mine})")
    # Never deleted: it is the record of what an attachment ran.
    run(f'grant select, insert, update on worka.attachment_move to "{app}"')


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
