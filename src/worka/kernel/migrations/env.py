"""alembic's environment: one connection of the migrator, one transaction, an advisory lock around it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

url: str = context.config.attributes["url"]
engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=pool.NullPool)
with engine.connect() as connection:
    connection.execute(text("select pg_advisory_lock(7201983)"))
    connection.commit()
    context.configure(connection=connection, version_table="worka_version", transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
