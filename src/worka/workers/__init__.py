"""Process roles: each is one module with `run()`, and `wiring` plugs the domains into the kernel's protocols for all of them.

`supervisor` starts and restarts the roles on one machine; `worker` runs the durable engine; `migrate` is the short process
that alone reads the migrator's address.
"""
