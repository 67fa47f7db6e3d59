"""`python -m worka.workers.migrate`: the short process that alone reads the migrator's address (from its stdin)."""

from __future__ import annotations

import sys

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from worka.kernel.db import ROLE_CHECK, DatabaseRoleUnsafe, refuse_unsafe
from worka.kernel.migrate import migrate
from worka.workflows.adapters.dbos_engine import migrate_engine


def main() -> None:
    """Reads three libpq URLs (migrator, application, engine), a line each, and brings both schemas up to date."""
    migrator, app, engine = (line.strip() for line in sys.stdin.read().splitlines()[:3])
    # Before anything is granted to such a role, and again once there are tables that it might own.
    refuse((app, engine))
    engine_role = str(conninfo_to_dict(engine)["user"])
    migrate_engine(migrator, engine_role)
    migrate(migrator, app_role=str(conninfo_to_dict(app)["user"]), engine_role=engine_role)
    refuse((app, engine))


def refuse(urls: tuple[str, ...]) -> None:
    """Ends this process with the reason when one of these roles is not bound by row-level security."""
    for url in urls:
        with psycopg.connect(url, row_factory=dict_row, connect_timeout=10) as conn:
            try:
                refuse_unsafe(conn.execute(ROLE_CHECK).fetchone())
            except DatabaseRoleUnsafe as refused:
                # The last line is what `worka up` shows.
                sys.exit(f"{refused.detail} {refused.remedy}")


if __name__ == "__main__":
    main()
