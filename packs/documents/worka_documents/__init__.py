"""The pack worka.documents."""
