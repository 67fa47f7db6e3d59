"""Release notes from a git log and an issue list, and their publication. The pack `worka.notes`."""
