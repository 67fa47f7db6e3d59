"""What waits for a second person before it holds: a network exception, or a record of upstream trust, for a name that a
credential goes to (ADR 0140).

Whoever records where such a name leads, or whose certificates are believed there, receives the credential. So it is kept
aside until somebody else has looked at exactly it; nothing here is read by the broker's wire.
"""
