"""The registry: where releases come from, what they are as artifacts, where they are published, who vouches for them.

Source, artifact, release, listing and attachment are five records, each with an end of its own. An artifact is an OCI
artifact under its digest, in the layout of this deployment or at a registry outside, reached through the broker alone. What
may be published where is the operator's and the tenant's to say; whose signature counts, the operator's.
"""
