"""Key-management services outside, each behind `ring.KeyService`."""
