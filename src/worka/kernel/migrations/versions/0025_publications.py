"""Publications: who asked, signatures that come later, token services and hosts of blobs."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "publications.sql").read_text())
    app = context.config.attributes["app_role"]
    run("revoke execute on function worka.signatures_due(integer) from public")
    run(f'grant execute on function worka.signatures_due(integer) to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
