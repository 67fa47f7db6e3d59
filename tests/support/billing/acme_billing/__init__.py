"""A pack that has a bad day: every tool of it really fails in its own way when its arguments say so."""
