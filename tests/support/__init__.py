"""What tests share: a real PostgreSQL, contexts for principals, whole instances."""
