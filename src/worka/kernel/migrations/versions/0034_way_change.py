"""Where a name leads that a credential goes to waits for a second person."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "way_change.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    mine = "tenant_id = current_setting('worka.tenant', true)"
    run("alter table worka.way_change enable row level security")
    run("alter table worka.way_change force row level security")
    run(f"create policy tenant_isolation on worka.way_change using ({mine}) with check ({mine})")
    run(f'create policy lookup on worka.way_change for select to "{owner}" using (true)')
    run(f'grant select, insert, update on worka.way_change to "{app}"')


def downgrade() -> None:
    raise RuntimeError("restore a backup instead")
