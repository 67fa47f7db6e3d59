"""Jobs and messages of tenants take turns; moves that nobody carries are found."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "turns.sql").read_text())
    app = context.config.attributes["app_role"]
    owner = run("select current_user").scalar_one()
    run(f'create policy lookup on worka.attachment_move for select to "{owner}" using (true)')
    for function in ("moves_left(interval, integer)", "move_left(text, timestamptz, integer, interval)"):
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
