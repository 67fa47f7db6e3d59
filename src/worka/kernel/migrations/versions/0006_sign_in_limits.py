"""Sign-in limits that hold over all processes."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "0006.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    for table in ("sign_in_try", "sign_in_place"):
        # Reached through the functions only, as people and sessions are.
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f'create policy lookup on worka.{table} to "{owner}" using (true) with check (true)')
    for function in (
        "sign_in_take(bytea, integer, interval)",
        "sign_in_known(bytea)",
        "sign_in_went_well(bytea, bytea, bytea[])",
    ):
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
