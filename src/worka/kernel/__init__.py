"""Words without opinions: context, ids, clock, errors, database, outbox, events, settings, telemetry, explanation.

The kernel owns no business rule. Every domain stands on it; it imports none of them. Whatever a domain plugs in
(authorizer, audit recorder, sealer) is a protocol in `kernel.context`.
"""
