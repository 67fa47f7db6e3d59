"""A second factor of people, sessions that are stepped up by it, and invitations that are listed and taken back."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "credential_lookup(bytea)",
    "invitation_renew(text, text, text, bytea, timestamptz, text)",
    "invitation_withdraw(text, text, text, text)",
    "invitations_of(text, text)",
    "recovery_code_use(text, bytea)",
    "recovery_codes_renew(text, bytea[])",
    "second_factor_begin(text, bytea, timestamptz)",
    "second_factor_confirm(text, bytea, bigint, bytea[])",
    "second_factor_end(text)",
    "second_factor_of(text)",
    "second_factor_use(text, bytea, bigint)",
    "session_step_up(text, text, timestamptz, text)",
    "sessions_revoke(text)",
    "sign_in_give_back(bytea)",
)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run("set local lock_timeout = '5s'")
    run("set local statement_timeout = '60s'")
    run((Path(__file__).parent.parent / "second_factor.sql").read_text())
    owner = run("select current_user").scalar_one()
    app = context.config.attributes["app_role"]
    for table in ("second_factor", "recovery_code"):
        # Reached through the functions only, as people and sessions are.
        run(f"alter table worka.{table} enable row level security")
        run(f"alter table worka.{table} force row level security")
        run(f'create policy lookup on worka.{table} to "{owner}" using (true) with check (true)')
    for function in FUNCTIONS:
        run(f"revoke execute on function worka.{function} from public")
        run(f'grant execute on function worka.{function} to "{app}"')
    # Called by the functions above only.
    run("revoke execute on function worka.sign_ins_begun_end(text) from public")


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore a backup instead")
