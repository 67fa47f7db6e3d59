"""Notifications: real receivers on real sockets, a real broker between, and a judge that is not ours."""
