"""Pure decisions of workflows: what a definition may hold, how references resolve, why a state is what it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import jsonschema
import re2
from pydantic import ValidationError
from referencing.exceptions import Unresolvable

from worka.kernel import canonical, schemas
from worka.kernel.reasons import Reason, register
from worka.workflows.errors import DefinitionInvalid, InputsInvalid, ReferenceMissing
from worka.workflows.schema import Definition, PublishViewStep, ToolStep

REFERENCES: Final = ("$input", "$step", "$task", "$join")
TASK_FIELDS: Final = ("id", "title", "workspace_id", "trace_id")
MAX_DEFINITION_BYTES: Final = 256 * 1024
MAX_INPUT_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
SWEPT_WITHIN: Final = timedelta(seconds=2)
"""A lease that has passed is noticed by the next sweep of a living worker; after this long nobody has."""

_ABSENT: Final = object()

# A call that broke before the pack could answer: worth another try where trying twice is safe.
BROKEN: Final = frozenset(
    {
        "broker_lost",
        "broker_unavailable",
        "egress_not_recorded",
        "ended_by_revocation",
        "handshake_failed",
        "host_unavailable",
        "pack_crashed",
        "pack_signalled",
        "pack_timeout",
        "secret_unavailable",
    }
)
# Of those, what is the platform's own doing: it passes by itself, and the pack has no part in it.
OURS: Final = frozenset(
    {"broker_lost", "broker_unavailable", "egress_not_recorded", "host_unavailable", "secret_unavailable"}
)
PAUSES: Final = (0.0, 1.0)
"""Seconds before the second and the third try of a step that is safe to repeat; then it fails."""
PAUSES_OURS: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""The same where what broke is the platform's own: longer than a database or a broker takes to come back."""
MAX_REOFFERS: Final = 10
"""How often a task without any progress is offered again before it fails visibly (a poison task must not run for
ever)."""


def pause(reason: str, attempt: int) -> float | None:
    """Seconds before the try after this one (1 is the first); None: there is no other."""
    pauses = PAUSES_OURS if reason in OURS else PAUSES
    return pauses[attempt - 1] if attempt <= len(pauses) else None


def digest(definition: Definition) -> str:
    """SHA-256 over the canonical definition."""
    return canonical.sha256_hex(definition.model_dump(mode="json"))


def read(document: dict[str, Any]) -> Definition:
    """The definition in `document`, fully checked. Raises DefinitionInvalid with `errors` [{field, message}]."""
    try:
        size = len(canonical.dumps(document))
    except Exception as error:
        raise DefinitionInvalid("The definition is not plain JSON.") from error
    if size > MAX_DEFINITION_BYTES:
        raise DefinitionInvalid(f"The definition has {size} bytes; {MAX_DEFINITION_BYTES} is the most.")
    try:
        definition = Definition.model_validate(document)
    except ValidationError as error:
        raise DefinitionInvalid(
            "Some fields are not acceptable.",
            errors=[
                {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
                for item in error.errors()
            ],
        ) from error
    errors = list(_complaints(definition))
    if errors:
        raise DefinitionInvalid("; ".join(item["message"] for item in errors[:3]), errors=errors)
    return definition


def _complaints(definition: Definition) -> Iterator[dict[str, str]]:
    schema = definition.inputs
    if schema.get("type") != "object":
        yield {"field": "inputs.type", "message": "inputs must be a JSON Schema of type object"}
    if any("$ref" in item and not str(item["$ref"]).startswith("#") for item in _objects(schema)):
        yield {"field": "inputs", "message": "inputs may refer only to itself ($ref must begin with #)"}
    yield from ({"field": "inputs", "message": fault} for fault in schemas.check(schema))
    inputs = set(schema.get("properties") or {})
    declared = {tool for member in definition.members for tool in member.tools}
    if len(definition.steps) > definition.limits.steps:
        yield {"field": "limits.steps", "message": f"{len(definition.steps)} steps are more than limits.steps allows"}
    yield from _reference_complaints(definition.title, "title", inputs, set(), allowed=("$input", "$join"))
    seen: set[str] = set()
    for index, step in enumerate(definition.steps):
        where = f"steps.{index}"
        if step.name in seen:
            yield {"field": f"{where}.name", "message": f"two steps are called {step.name}"}
        if isinstance(step, ToolStep):
            if step.tool not in declared:
                yield {"field": f"{where}.tool", "message": f"no member declares the tool {step.tool}"}
            yield from _reference_complaints(step.arguments, f"{where}.arguments", inputs, seen)
        else:
            for part in ("title", "document", "links"):
                yield from _reference_complaints(getattr(step, part), f"{where}.{part}", inputs, seen)
        seen.add(step.name)


def _reference_complaints(
    template: Any, field: str, inputs: set[str], steps: set[str], allowed: tuple[str, ...] = REFERENCES, depth: int = 0
) -> Iterator[dict[str, str]]:
    if depth > MAX_DEPTH:
        yield {"field": field, "message": f"nested deeper than {MAX_DEPTH}"}
        return
    if isinstance(template, list):
        for index, item in enumerate(template):
            yield from _reference_complaints(item, f"{field}.{index}", inputs, steps, allowed, depth + 1)
        return
    if not isinstance(template, dict):
        return
    kind = next((key for key in template if key.startswith("$")), None)
    if kind is None:
        for key, item in template.items():
            yield from _reference_complaints(item, f"{field}.{key}", inputs, steps, allowed, depth + 1)
    elif kind not in allowed or set(template) - {kind, "path" if kind == "$step" else kind}:
        yield {"field": field, "message": f"{sorted(template)} is not a reference; known here: {', '.join(allowed)}"}
    elif kind == "$input" and template[kind] not in inputs:
        yield {"field": field, "message": f"there is no input {template[kind]!r}"}
    elif kind == "$step" and template[kind] not in steps:
        yield {"field": field, "message": f"no earlier step is called {template[kind]!r}"}
    elif kind == "$step" and not isinstance(template.get("path", ""), str):
        yield {"field": field, "message": "path must be a text"}
    elif kind == "$task" and template[kind] not in TASK_FIELDS:
        yield {"field": field, "message": f"a task has no field {template[kind]!r}"}
    elif kind == "$join":
        if not isinstance(template[kind], list):
            yield {"field": field, "message": "$join takes a list"}
        else:
            yield from _reference_complaints(template[kind], field, inputs, steps, allowed, depth + 1)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


_formats = jsonschema.FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time needs its zone")
    return True


def check_inputs(definition: Definition, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with top-level defaults filled in. Raises InputsInvalid with `errors` [{field, message}]."""
    schema = {"additionalProperties": False, **definition.inputs}
    filled = dict(inputs)
    for name, rule in (definition.inputs.get("properties") or {}).items():
        if name not in filled and isinstance(rule, dict) and "default" in rule:
            filled[name] = rule["default"]
    try:
        found = schemas.errors(schema, filled, formats=_formats)
    except (schemas.TooCostly, re2.error, Unresolvable, RecursionError) as error:
        raise InputsInvalid("The schema of the inputs cannot be applied in bounded time.") from error
    errors = [
        {"field": ".".join(str(part) for part in error.absolute_path) or "inputs", "message": error.message[:300]}
        for error in found
    ]
    if errors:
        raise InputsInvalid("; ".join(f"{item['field']}: {item['message']}" for item in errors[:3]), errors=errors[:20])
    try:
        size = len(canonical.dumps(filled))
    except Exception as error:
        raise InputsInvalid("The inputs are not plain JSON.") from error
    if size > MAX_INPUT_BYTES:
        raise InputsInvalid(f"The inputs have {size} bytes; {MAX_INPUT_BYTES} is the most.")
    return filled


def resolve(template: Any, *, inputs: dict[str, Any], results: dict[str, Any], task: dict[str, Any]) -> Any:
    """`template` with its references replaced. Raises ReferenceMissing, naming the reference, never the values around
    it."""
    value = _resolve(template, inputs, results, task)
    return None if value is _ABSENT else value


def _resolve(template: Any, inputs: dict[str, Any], results: dict[str, Any], task: dict[str, Any]) -> Any:
    if isinstance(template, list):
        items = (_resolve(item, inputs, results, task) for item in template)
        return [item for item in items if item is not _ABSENT]
    if not isinstance(template, dict):
        return template
    if "$input" in template:
        return inputs.get(template["$input"], _ABSENT)
    if "$task" in template:
        return task[template["$task"]]
    if "$step" in template:
        name = template["$step"]
        if name not in results:
            raise ReferenceMissing(f"The step {name!r} has no result.")
        return _walk(results[name], template.get("path", ""), name)
    if "$join" in template:
        parts = (_resolve(item, inputs, results, task) for item in template["$join"])
        return "".join(words(part) for part in parts if part is not _ABSENT)
    pairs = ((key, _resolve(item, inputs, results, task)) for key, item in template.items())
    return {key: item for key, item in pairs if item is not _ABSENT}


def _walk(value: Any, path: str, step: str) -> Any:
    for part in path.split(".") if path else ():
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise ReferenceMissing(f"The result of step {step!r} has nothing at {path!r} (looked for {part!r}).")
    return value


def words(value: Any) -> str:
    """A value as text: numbers and truth values as JSON writes them, None as nothing, objects as canonical JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: ""}[value]
    if isinstance(value, int | float):
        return str(value)
    return canonical.dumps(value).decode()


def steps_named(template: Any) -> set[str]:
    """Names of the steps that a template refers to."""
    return {str(item["$step"]) for item in _objects(template) if "$step" in item}


def title(definition: Definition, inputs: dict[str, Any]) -> str:
    """What a task of this definition and these inputs is called, at most 200 characters, on one line."""
    text = words(resolve(definition.title, inputs=inputs, results={}, task={})) or definition.name.replace("-", " ")
    return " ".join(text.split())[:200]


def may_call(definition: Definition, member_name: str, tool: str) -> bool:
    """Whether this definition lets this team member call this tool (an undeclared one is refused at run time)."""
    return any(tool in member.tools for member in definition.members if member.name in ("*", member_name))


def may_take_part(definition: Definition, member_name: str) -> bool:
    """Whether this definition lets this team member take part."""
    return any(member.name in ("*", member_name) for member in definition.members)


def idempotency_key(task_id: str, step_name: str) -> str:
    """Made of task and step (decisions.md 12), the same over every retry. Printable ASCII, at most 100 characters."""
    return f"{task_id}:{step_name}"


def shown_state(task: dict[str, Any], at: datetime) -> tuple[str, str]:
    """(state, reason) of a task's row as people are told it: running is legal only inside the step's window and while its
    holder gives signs of life; otherwise the task is stalled."""
    if task["state"] == "running":
        # Whose holder is gone is past its window sooner or later too: the cause is told, not what follows from it.
        if task["lease_until"] is not None and at > task["lease_until"] + SWEPT_WITHIN:
            return "stalled", "holder_silent"
        if at > task["last_progress"] + timedelta(seconds=task["expected_seconds"]):
            return "stalled", "stalled"
    return task["state"], task["reason"]


def step_seconds(step: ToolStep | PublishViewStep) -> int:
    """How long the step may be silent."""
    return step.seconds


def _reason(code: str, layer: str, meaning: str, causes: str, check: str, remedy: str) -> Reason:
    return Reason(code, "workflows", layer, meaning, causes, check, remedy)


register(
    _reason(
        "queued_waiting_for_worker",
        "capacity",
        "The task is ready and waits for a worker to take it.",
        "Every worker is busy, or none runs.",
        "`GET /v1/platform` lists the processes and their last sign of life.",
        "Start a worker (`worka up` supervises one), or wait for running tasks to end.",
    ),
    _reason(
        "queued_over_quota",
        "capacity",
        "As many tasks run as a limit allows, so this one waits in line for a place.",
        "A limit on tasks at once, of the deployment, the tenant, the workspace or a member.",
        "`worka limits show`: the limit, how much of it is in use, who set it and why.",
        "It begins by itself when one of those that run ends; whoever set the limit can raise it.",
    ),
    _reason(
        "not_reached",
        "platform",
        "An earlier step of the task is not finished, so this one has not begun.",
        "Steps run one after the other, and the task waits, runs, or is queued before this one.",
        "`worka task show` lists the steps.",
        "Clear what the earlier step waits for.",
    ),
    _reason(
        "running_step",
        "platform",
        "A worker runs a step, and its last progress is inside the step's expected window.",
        "A worker holds the task, and its step is inside the time that it may take.",
        "`worka task show` names the step and the worker.",
        "Wait: past the window it is called stalled. Cancel the task if it is not wanted any more.",
    ),
    _reason(
        "stalled",
        "platform",
        "A step has been silent for longer than it may take.",
        "A pack hangs, a worker was stopped, or the window in the definition is too short.",
        "Look at the invocation of the step, and at the worker's last sign of life.",
        "It is offered to another worker once its lease has passed; cancel the task if the step cannot end.",
    ),
    _reason(
        "waiting_for_approval",
        "approval",
        "A rule asks for a person's approval of exactly this action.",
        "A governance rule asks at this boundary: an effect outside, a destructive action, or a rule of your own.",
        "Open the approval: it names who may decide and what is missing.",
        "An eligible person approves or rejects it.",
    ),
    _reason(
        "retrying",
        "pack",
        "A step failed in a way that is safe to repeat and is tried again with the same key.",
        "The pack crashed or did not answer in time, and its manifest says that the tool is idempotent.",
        "Look at the invocation of the failed try.",
        "Nothing, unless it keeps failing: then look at the pack.",
    ),
    _reason(
        "holder_silent",
        "platform",
        "The worker that holds this task gives no sign of life, and no other has taken it over yet.",
        "The worker was killed or stopped, the machine is overloaded, or the worker lost the database; and no other"
        " worker is alive to notice.",
        "`worka doctor` lists the workers and the age of their last sign of life.",
        "Start a worker (`worka up` does it by itself): within a second or two it takes the task over.",
    ),
    _reason(
        "engine_disagrees",
        "platform",
        "The task's row and the durable engine's record of it say different things, for longer than a hand-over takes.",
        "The engine's tables were restored, pruned or edited without ours, or a worker of another slot died with a run"
        " in its hands and never came back.",
        "`worka task why` names both, with the engine's run under its evidence.",
        "A queued, retrying or running task is offered again by itself once it has been silent for the lease; otherwise"
        " start a worker of the slot that held the run, or cancel the task.",
    ),
    _reason(
        "worker_lost",
        "platform",
        "The worker that ran this task fell silent; the task is offered to another.",
        "The worker was killed, stopped, or lost the database.",
        "`worka doctor` shows workers and their last sign of life.",
        "Nothing: finished steps do not run again, and a step in flight repeats only where that is safe.",
    ),
    _reason(
        "unknown_outcome",
        "upstream",
        "The effect of a step may or may not have happened: nobody recorded its outcome.",
        "The worker or the pack died between the intent and the outcome, and the tool is not declared idempotent.",
        "Look at the outside system for the idempotency key of the step.",
        "Resolve the task: `retry` with the same key, or end it as failed.",
    ),
    _reason(
        "all_steps_done",
        "platform",
        "Every step of the definition is finished.",
        "The last step's outcome was recorded.",
        "`worka task show` lists the steps and their results.",
        "Nothing to do.",
    ),
    _reason(
        "step_done",
        "platform",
        "The step's outcome is recorded, once and for good.",
        "The call came back with a result, or the view's revision was written.",
        "`worka task show ID` lists the steps; the step's invocation has the road that its call went.",
        "Nothing to do.",
    ),
    _reason(
        "step_failed",
        "pack",
        "A step ended without success, and the definition has no other way on.",
        "The pack answered with an error, or the call was refused on its way.",
        "Open the invocation: the failing leg of its road is marked.",
        "Remove the cause, then start a new task.",
    ),
    _reason(
        "step_refused",
        "governance",
        "Policy does not allow this step to the team member, to the person behind it, or to both together.",
        "The team member, the person behind it or the attachment lacks the right, or a rule denies it.",
        "Open the decision: it names the rule and its inputs.",
        "Ask for the right, or change the policy; then start a new task.",
    ),
    _reason(
        "definition_refused",
        "governance",
        "The definition does not allow what a step wants to do.",
        "An undeclared tool, member or reference.",
        "Compare the step with `members` of its definition.",
        "Save a corrected version and start a new task.",
    ),
    _reason(
        "approval_rejected",
        "approval",
        "The approval that a step needed was rejected.",
        "A person who may decide read the card and said no, to what was to be done or to how.",
        "`worka approvals show ID`: who rejected it, when, and the comment.",
        "Talk to the person; start a new task when the cause is removed.",
    ),
    _reason(
        "approval_expired",
        "approval",
        "Nobody decided the approval that a step needed in time.",
        "No eligible person saw it within WORKA_APPROVALS__EXPIRES_HOURS, or those who may decide are away.",
        "`worka approvals show ID`: who could have decided, since when it was open, and when it expired.",
        "Start the task again and tell the approvers.",
    ),
    _reason(
        "approval_withdrawn",
        "approval",
        "The approval that a step needed was withdrawn.",
        "The requester took it back, or what it was for ended or was removed meanwhile.",
        "`worka changes` around the time at which the task ended: the entry that withdrew it, and its cause.",
        "Start a new task if the work is still wanted: it asks anew.",
    ),
    _reason(
        "limit_reached",
        "capacity",
        "The task used up the time or the steps that its definition allows.",
        "The limits are too small, or a step is too slow.",
        "Compare `limits` of the definition with the task's steps.",
        "Save a version with other limits and start a new task.",
    ),
    _reason(
        "given_up",
        "platform",
        "The task was offered again and again and no worker made progress.",
        "A step kills its worker each time.",
        "Read the log of the worker at the times of the offers.",
        "Remove the cause, then start a new task.",
    ),
    _reason(
        "cancelled_by_person",
        "platform",
        "A person ended the task before it was done; its waits were cleared and its open approvals withdrawn.",
        "Somebody who may change the workspace cancelled it.",
        "The changes of the workspace name who and why.",
        "Start a new task when it is wanted after all.",
    ),
    _reason(
        "task_ended",
        "platform",
        "The task ended before this step was reached.",
        "An earlier step failed, or a person cancelled.",
        "`worka task why` explains the task's end.",
        "Remove the cause, then start a new task.",
    ),
    _reason(
        "resolved_as_failed",
        "upstream",
        "A person looked and ended a task whose outcome was unknown.",
        "The outside system shows that the effect is not wanted twice, or did not happen.",
        "`worka changes --since 24h`: who resolved it, when, and the note about what was found outside.",
        "Start a new task when the cause is removed.",
    ),
)
