"""What a script is told by the exit code of a command that waited for a task."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.support.instance import Instance
from worka.cli.demo import DEFINITION, Demo

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.capability("DOR-2", part="exit codes of waiting for a task"),
]


def created(instance: Instance, who: dict[str, str], workflow: str, *more: str, code: int) -> dict[str, Any]:
    words = ("-o", "json", "task", "create", workflow, "--member", "Rhea", "--input", '{"repository": "pier"}')
    done = instance.worka(*words, *more, **who)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    task: dict[str, Any] = json.loads(done.stdout)
    return task


@pytest.fixture
def of_one_step(stage: Demo) -> Any:
    """Saves a workflow with the first step of the shipped one, and says its name. The step asks nobody."""

    def save(repository: str) -> str:
        shipped = json.loads(DEFINITION.read_text())
        step = shipped["steps"][0]
        step["arguments"]["repo_path"] = repository
        name = f"one-step-{secrets.token_hex(4)}"
        document = {**shipped, "name": name, "title": "One step", "steps": [step]}
        return str(stage.owner.post(stage.owner.ws("/workflows"), {"definition": document})["name"])

    return save


def test_a_task_that_is_waited_for_ends_the_command_with_0_1_or_6(
    instance: Instance, stage: Demo, cli_owner: dict[str, str], of_one_step: Any
) -> None:
    waiting = created(instance, cli_owner, "release-notes", "--wait", code=6)
    assert waiting["state"] == "waiting"
    done = instance.worka("task", "wait", waiting["id"], **cli_owner)
    assert done.returncode == 6, "as its older sister says"
    stage.owner.post(f"/v1/tasks/{waiting['id']}/cancel")
    ended = created(instance, cli_owner, of_one_step("/repo"), "--wait", code=0)
    assert ended["state"] == "succeeded"
    failed = created(instance, cli_owner, of_one_step("/nowhere"), "--wait", code=1)
    assert failed["state"] == "failed"
    # Not waited for: it was started, and that is all the code says.
    begun = created(instance, cli_owner, "release-notes", code=0)
    stage.owner.post(f"/v1/tasks/{begun['id']}/cancel")
