"""The egress ledger as people read it: rows with what stands behind them, counts, what may be reached at all, one destination
from every side, a request that is only tried, and rules that are only replayed. It writes nothing, and nothing leaves for it
but the question for an address.
"""
