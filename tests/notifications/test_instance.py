"""A whole Worka of its own, with a mail server and a receiver outside, used as an operator uses it: by the command line."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.notifications.mailbox import PASSWORD, USER, Mailbox, mailbox
from tests.notifications.receiver import Receiver, Verifier, answer, receiver
from tests.support.instance import Instance, make_instance
from worka.cli.demo import Demo

pytestmark = pytest.mark.timeout(300)
HOST = "hooks.worka.test"


@dataclass
class Place:
    """The instance with its people, and what stands outside."""

    instance: Instance
    demo: Demo
    mail: Mailbox
    hooks: Receiver

    def worka(self, *words: str, code: int = 0, who: str = "owner") -> str:
        api = getattr(self.demo, who)
        before = ["--url", self.instance.url, "--token", api.token, "--workspace", self.demo.ids["workspace"]]
        done = self.instance.worka(*before, *words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return str(done.stdout if code in (0, 1, 6) else done.stderr)

    def json(self, *words: str, code: int = 0, who: str = "owner") -> Any:
        return json.loads(self.worka("-o", "json", *words, code=code, who=who))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = make_instance("test-ntf-")
    with mailbox() as mail, receiver() as hooks:
        try:
            made.start(
                WORKA_MAIL__HOST="mail.worka.test",
                WORKA_MAIL__PORT=str(mail.port),
                WORKA_MAIL__ADDRESS="127.0.0.1",
                WORKA_MAIL__CA_PEM=mail.authority.pem.decode(),
                WORKA_MAIL__USER=USER,
                WORKA_MAIL__PASSWORD=PASSWORD,
                WORKA_MAIL__SENDER="worka@example.com",
            )
            demo = Demo(interactive=False, quiet=True)
            demo.home, demo.url = made.home, made.url
            demo.people()
            yield Place(made, demo, mail, hooks)
        finally:
            made.stop()
            shutil.rmtree(made.home, ignore_errors=True)


def soon(what: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
    return found


@pytest.mark.capability("DOR-6", part="at the command line, over real processes")
def test_a_webhook_is_added_tried_and_explained_at_a_terminal(place: Place) -> None:
    would = place.worka("webhook", "add", f"https://{HOST}/in", "--dry-run")
    assert "nothing was kept" in would
    assert place.json("webhook", "list")["items"] == []
    made = place.json("webhook", "add", f"https://{HOST}/in", "--type", "approval.*")
    # Nobody has recorded where that is: the test says so, and what to do.
    failed = place.worka("webhook", "test", made["id"], code=1)
    assert "name_not_resolved" in failed or "private_address" in failed
    place.demo.owner.post(
        place.demo.owner.ws("/network-exceptions"),
        {
            "name": HOST, "port": 443, "address": "127.0.0.1", "real_port": place.hooks.port,
            "ca_pem": place.hooks.authority.pem.decode(), "reason": "the receiver of the test",
        },
    )  # fmt: skip
    assert place.json("webhook", "test", made["id"])["state"] == "sent"
    verifier = Verifier(made["secret"])
    got = place.hooks.got[-1]
    assert verifier.verify(got.body, got.headers)["type"] == "webhook.test"

    place.hooks.behave = answer(500, b"out of order")
    broken = place.json("webhook", "test", made["id"], code=1)
    assert "the receiver answered 500" in place.worka("why", broken["id"])
    assert "out of order" in place.worka("webhook", "deliveries", broken["id"])
    place.hooks.behave = answer(204)
    assert "1 would be sent again" in place.worka(
        "webhook", "replay", made["id"], "--delivery", broken["id"], "--dry-run"
    )
    fresh = place.json("webhook", "rotate", made["id"])
    assert (fresh["secrets"], fresh["secret"] != made["secret"]) == (2, True)
    assert "nothing was changed" in place.worka("webhook", "rotate", made["id"], "--dry-run")
    assert place.json("webhook", "pause", made["id"])["state"] == "paused"
    assert place.json("webhook", "resume", made["id"])["state"] == "active"
    assert place.json("webhook", "change", made["id"], "--type", "approval.requested")["types"] == [
        "approval.requested"
    ]
    shown = place.worka("webhook", "show", made["id"])
    assert made["id"] in shown
    assert made["secret"] not in shown


@pytest.mark.capability("DOR-6", part="at the command line, over real processes")
def test_an_approval_that_is_asked_for_reaches_the_approver_by_mail_and_the_receiver(place: Place) -> None:
    before, heard = len(place.mail.got), len(place.hooks.got)
    owner = place.demo.owner
    assert place.json("webhook", "list")["items"], "the webhook of the test before"
    asked = owner.post(
        owner.ws("/connections"),
        {"provider": "tracker", "name": "Tracker", "host": "tracker.worka.test", "access": "read issues"},
    )
    mail = soon(lambda: place.mail.got[before:])[0]
    assert str(mail["Subject"]) == "Your yes is needed: Connect Tracker (tracker)"
    assert asked["approval_id"] in mail.get_content()
    got = soon(lambda: [one for one in place.hooks.got[heard:] if one.message["type"] == "approval.requested"])[0]
    assert got.message["data"]["approval_id"] == asked["approval_id"]
    told = soon(
        lambda: next(
            (found for found in [place.json("mail", "told", asked["approval_id"])]
             if all(item["delivery"]["state"] == "sent" for item in found["told"])), None,
        )
    )  # fmt: skip
    assert {item["delivery"]["channel"] for item in told["told"]} == {"mail", "webhook"}
    assert "were accepted by their receivers" in told["headline"]
    # None of it came from the worker's process: the broker alone has connections to the outside.
    rows = place.instance.rows("select kind, verdict, decision_id from worka.egress where attachment_id = 'platform'")
    assert {row["kind"] for row in rows} == {"http", "tunnel"}
    assert all(row["decision_id"] for row in rows)


@pytest.mark.capability("DOR-6", part="at the command line, over real processes")
def test_mail_is_tried_turned_off_and_looked_at_by_the_doctor(place: Place) -> None:
    before = len(place.mail.got)
    assert place.json("mail", "test", who="approver")["state"] == "sent"
    assert [str(mail["Subject"]) for mail in place.mail.got[before:]] == ["Worka can send you mail"]
    assert "would be off" in place.worka("mail", "off", "--dry-run", who="approver")
    assert place.json("mail", "show", who="approver") == {"mail": True, "sent": True}
    assert "off" in place.worka("mail", "off", who="approver")
    assert place.json("mail", "show", who="approver") == {"mail": False, "sent": True}
    assert "on" in place.worka("mail", "on", who="approver")
    settings = {
        "WORKA_MAIL__HOST": "mail.worka.test", "WORKA_MAIL__PORT": str(place.mail.port),
        "WORKA_MAIL__ADDRESS": "127.0.0.1", "WORKA_MAIL__CA_PEM": place.mail.authority.pem.decode(),
        "WORKA_MAIL__USER": USER, "WORKA_MAIL__PASSWORD": PASSWORD, "WORKA_MAIL__SENDER": "worka@example.com",
    }  # fmt: skip

    def doctor(**changes: str) -> dict[str, Any]:
        done = place.instance.worka(
            "--output", "json", "--url", place.instance.url, "doctor", **{**settings, **changes}
        )
        return {item["name"]: item for item in json.loads(done.stdout)["items"]}["mail"]

    well = doctor()
    assert (well["state"], "answers over starttls" in well["detail"]) == ("ok", True)
    wrong = doctor(WORKA_MAIL__PASSWORD="another-password")
    assert (wrong["state"], "535" in wrong["detail"]) == ("failed", True)
    assert "another-password" not in json.dumps(wrong)


@pytest.mark.capability("DOR-6", part="at the command line, over real processes")
def test_no_log_of_the_instance_holds_a_secret(place: Place) -> None:
    secrets = [PASSWORD]
    hook = place.json("webhook", "add", f"https://{HOST}/other")
    secrets += [hook["secret"], hook["secret"].removeprefix("whsec_")]
    place.worka("webhook", "test", hook["id"])
    place.worka("webhook", "remove", hook["id"], "--dry-run")
    assert place.json("webhook", "remove", hook["id"])["state"] == "removed"
    for log in (place.instance.home / "log").iterdir():
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log
