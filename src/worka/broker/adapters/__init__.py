"""The two adapters that touch the outside: name resolution and dialling."""
