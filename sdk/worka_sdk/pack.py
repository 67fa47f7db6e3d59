"""A pack and its tools: annotated functions, and what is said about each."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from worka_sdk import invocation
from worka_sdk.errors import ToolError, Wrong
from worka_sdk.invocation import Invocation, Peer
from worka_sdk.schema import arguments, convert, dump, object_of, schema_of, structured

SideEffect = Literal["read_only", "write", "external_side_effect", "destructive"]
F = TypeVar("F", bound=Callable[..., Any])
INVALID_PARAMS = -32602


class Refused(Exception):
    """A request that is answered with a JSON-RPC error: nothing of a tool ran."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tool:
    """One tool: its definition as MCP lists it, and its function. `output_schema` None: the result is a text."""

    name: str
    description: str
    side_effect: SideEffect
    idempotent: bool
    function: Callable[..., Any]
    inputs: Mapping[str, tuple[Any, Any]]
    output: Any
    summary: Callable[[Any], str] | None = None

    @property
    def input_schema(self) -> dict[str, Any]:
        """What it takes."""
        return object_of(self.inputs)

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """What it gives."""
        return schema_of(self.output) if structured(self.output) else None

    def listed(self) -> dict[str, Any]:
        """As `tools/list` shows it. The hints say what the author declared; the platform goes by the manifest alone."""
        shown: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": {
                "readOnlyHint": self.side_effect == "read_only",
                "destructiveHint": self.side_effect == "destructive",
                "idempotentHint": self.idempotent,
                "openWorldHint": self.side_effect == "external_side_effect",
            },
        }
        if self.output_schema is not None:
            shown["outputSchema"] = self.output_schema
        return shown


class Pack:
    """The tools of one pack. What they print goes to stderr, and cannot be taken for a message.

    ```python
    pack = Pack("weather", version="1.0.0")

    @pack.tool(side_effect="read_only", idempotent=True)
    def now(city: Annotated[str, Field("name of a city", max_length=80)]) -> Weather:
        \"\"\"Says the weather of a city as it is now.\"\"\"

    if __name__ == "__main__":
        pack.serve()
    ```
    """

    def __init__(self, name: str, *, version: str, instructions: str | None = None) -> None:
        self.name = name
        self.version = version
        self.instructions = instructions
        self.tools: dict[str, Tool] = {}

    def tool(
        self,
        *,
        side_effect: SideEffect,
        idempotent: bool = False,
        name: str | None = None,
        description: str | None = None,
        summary: Callable[[Any], str] | None = None,
    ) -> Callable[[F], F]:
        """Makes a function a tool. Its parameters' annotations are the input, its docstring the description, what it
        returns the result: a dataclass, a TypedDict or `dict[str, T]` is structured content, a `str` is text.

        `idempotent`: the same idempotency key has one effect, so the platform may repeat the call after a crash.
        `summary` makes the text beside a structured result; without it the text is the JSON. Raises TypeError for what
        no schema can be made of, ValueError for a name that is taken.
        """
        if side_effect not in get_args(SideEffect):
            raise ValueError(f"side_effect is one of {', '.join(get_args(SideEffect))}")

        def make(function: F) -> F:
            called = name or function.__name__
            if called in self.tools:
                raise ValueError(f"there are two tools {called}")
            said = description or inspect.getdoc(function) or ""
            if not said.strip():
                raise TypeError(f"{called} needs a docstring: it is what callers read")
            hints = get_type_hints(function, include_extras=True)
            if "return" not in hints:
                raise TypeError(f"{called} needs the annotation of what it returns")
            output = hints["return"]
            if output is not str and not structured(output):
                raise TypeError(f"{called} returns {output}: return a dataclass, or str; wrap a list in a dataclass")
            made = Tool(
                name=called,
                description=said.strip(),
                side_effect=side_effect,
                idempotent=idempotent,
                function=function,
                inputs=_inputs(called, function, hints),
                output=output,
                summary=summary,
            )
            # Made now, so that a type without a schema is told at import, not at the first call.
            made.listed()
            self.tools[called] = made
            return function

        return make

    def call(
        self, name: str, given: Mapping[str, Any], meta: Mapping[str, Any] | None = None, peer: Peer | None = None
    ) -> dict[str, Any]:
        """The result of `tools/call`: {content, structuredContent, isError}. Raises Refused for an unknown tool and for
        arguments that do not fit."""
        tool = self.tools.get(name)
        if tool is None:
            raise Refused(INVALID_PARAMS, f"There is no tool {name}; there are {', '.join(self.tools) or 'none'}.")
        try:
            values = arguments(tool.inputs, given)
        except Wrong as wrong:
            raise Refused(INVALID_PARAMS, f"{name}: {wrong}") from wrong
        call = Invocation(name, dict(meta or {}), *([peer] if peer is not None else []))
        token = invocation._current.set(call)
        try:
            value = tool.function(**values)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            return _result(tool, value)
        except ToolError as error:
            return {"content": [{"type": "text", "text": str(error)}], "isError": True}
        except Exception as error:
            # To stderr, which the platform keeps with the invocation; the caller gets no inside of the pack.
            traceback.print_exc(file=sys.stderr)
            text = f"{name} failed with {type(error).__name__}; its author finds the cause in the pack's output."
            return {"content": [{"type": "text", "text": text}], "isError": True}
        finally:
            invocation._current.reset(token)

    def serve(self) -> None:
        """Serves MCP over stdio until the other side closes."""
        from worka_sdk.serving import Server

        Server(self).run()


def _inputs(called: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{called}({parameter}): a tool's parameters are named, each with its own type")
        if parameter.name not in hints:
            raise TypeError(f"{called}: the parameter {parameter.name} needs an annotation")
        empty = parameter.default is parameter.empty
        found[parameter.name] = (hints[parameter.name], dataclasses.MISSING if empty else parameter.default)
    return found


def _result(tool: Tool, value: Any) -> dict[str, Any]:
    if tool.output is str:
        if not isinstance(value, str):
            raise TypeError(f"{tool.name} says that it returns str, and returned {type(value).__name__}")
        return {"content": [{"type": "text", "text": value}], "isError": False}
    content = dump(value)
    convert(tool.output, content)
    text = tool.summary(value) if tool.summary is not None else json.dumps(content, ensure_ascii=False)
    return {"content": [{"type": "text", "text": text}], "structuredContent": content, "isError": False}
