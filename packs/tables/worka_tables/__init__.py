"""The pack worka.tables."""
