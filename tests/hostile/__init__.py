"""Hostile cases: what must not get through, judged from outside."""
