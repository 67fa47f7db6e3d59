"""The pack worka.changes."""
