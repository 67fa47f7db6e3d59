"""What the author of a Worka pack imports: typed tools, structured results, errors, and a harness for tests.

A pack is one process that speaks MCP over stdio. `Pack` turns annotated functions into its tools and serves them;
`current()` says which invocation is being worked for; `outside` sends requests through the broker; `testing` runs tools
without a platform. Nothing here needs more than Python: what is vendored into a pack has nothing to lock.
"""

from worka_sdk.errors import Declined, NobodyToAsk, ToolError, Wrong
from worka_sdk.invocation import Invocation, current
from worka_sdk.pack import Pack, Tool
from worka_sdk.schema import Field

__version__ = "1.0.0"
__all__ = ["Declined", "Field", "Invocation", "NobodyToAsk", "Pack", "Tool", "ToolError", "Wrong", "current"]
