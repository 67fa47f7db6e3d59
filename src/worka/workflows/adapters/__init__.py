"""Durable engines behind workflows. One today: DBOS Transact on our own PostgreSQL."""
