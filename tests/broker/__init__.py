"""The broker: its core as pure functions, and the whole of it with real sockets in a network of its own."""
