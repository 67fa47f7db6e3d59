"""Policy on destinations: what a tenant or a workspace refuses of that which releases declare.

Typed data in layers (tenant, workspace), version by version. A layer can only tighten: a request has to be declared by its
release and let through by every layer. It never lets a pack go where its manifest does not. A change that tightens holds
from the next call on; one that lets more through waits for a second owner, where there is one.
"""
