"""Problems of workflows.

Problem
├── Invalid: DefinitionInvalid, InputsInvalid, ReferenceMissing
├── NotFound: WorkflowNotFound, TaskNotFound
├── Denied: ToolNotDeclared
└── Conflict: Fenced (inside the worker only), NotUnknown
"""

from __future__ import annotations

from worka.kernel import errors


class DefinitionInvalid(errors.Invalid):
    code, title = "workflow_definition_invalid", "The workflow definition is not valid"
    default_remedy = "Correct the fields named in `errors`; the schema is docs/reference/workflow.schema.json."


class InputsInvalid(errors.Invalid):
    code, title = "task_inputs_invalid", "The inputs do not fit the workflow's input schema"
    default_remedy = "Correct the fields named in `errors`; `worka task create --help` shows how inputs are given."


class ReferenceMissing(errors.Invalid):
    code, title = "reference_missing", "A step refers to a value that is not there"
    default_remedy = "Compare the step's reference with the result of the step it names, then save a new version."


class WorkflowNotFound(errors.NotFound):
    code, title = "workflow_not_found", "There is no such workflow in this workspace"
    default_remedy = "List them with `GET /v1/workspaces/{workspace_id}/workflows`."


class TaskNotFound(errors.NotFound):
    code, title = "task_not_found", "There is no such task here"
    default_remedy = "List them with `worka task list`."


class ToolNotDeclared(errors.Denied):
    code, title = "tool_not_declared", "The workflow does not declare this tool for this team member"
    default_remedy = "Declare it under `members` in a new version of the definition."


class Fenced(errors.Conflict):
    """The claim moved on: another worker holds the task, or it was ended. What this worker did is not recorded."""

    code, title = "claim_moved", "Another worker holds this task now"
    default_remedy = "Nothing to do: the worker that holds the task goes on."


class NotUnknown(errors.Conflict):
    code, title = "outcome_is_known", "The outcome of this task is not unknown"
    default_remedy = "Read the task again; only an unknown outcome can be resolved."
