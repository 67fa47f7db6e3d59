"""Limits: how much a tenant, a workspace or a member may use, as data with a revision.

Set in layers (deployment, operator for one tenant, tenant, workspace), each of which only tightens what the one above left;
counted per tenant, per workspace, and per member of a workspace. What is counted belongs to other domains: each asks here
for the bounds, and counts in the transaction of the thing counted."""
