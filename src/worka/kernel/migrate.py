"""Migrations: alembic as the runner, SQL inside; run by a short process with the migrator's address."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def newest() -> str:
    """The version to which this build brings the schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return str(ScriptDirectory.from_config(config).get_current_head())


def migrate(migrator_url: str, *, app_role: str, engine_role: str) -> None:
    """Brings schema `worka` to the newest version. Concurrent runs wait for each other on an advisory lock."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = migrator_url
    config.attributes["app_role"] = app_role
    config.attributes["engine_role"] = engine_role
    command.upgrade(config, "head")
