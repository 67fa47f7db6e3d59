"""What a mail says, and to whom. The text is the card's facts; no argument of a call is in it. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from worka.kernel.clock import now
from worka.kernel.settings import MailSettings

Row = dict[str, Any]
TEST = "mail.test"
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\Z")
_SUBJECTS = {
    "approval.requested": "Your yes is needed: {title}",
    "approval.reminder": "Still needed: your yes to {title}",
    "approval.escalation": "Nobody has decided yet: {title}",
    "approval.decided": "{State}: {title}",
    "approval.expired": "Expired undecided: {title}",
    TEST: "Worka can send you mail",
}


def deliverable(address: str) -> bool:
    """Whether mail can go there at all: one plain mailbox, so nothing of it can be read as anything else."""
    return len(address) <= 320 and _MAILBOX.match(address) is not None


def line(text: str, most: int = 300) -> str:
    """One plain line: what could end a header, or turn a terminal's head, becomes a space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:most]


def compose(row: Row, to: str, settings: MailSettings, *, requester: str, behalf: str, url: str) -> EmailMessage:
    """The message of a delivery. Its Message-ID is the same at every try."""
    data = row["payload"]["data"]
    title = line(str(data.get("title", "")), 120)
    state = str(data.get("state", ""))
    message = EmailMessage(policy=SMTP)
    sender = settings.sender.rpartition("@")
    message["From"] = Address(line(settings.sender_name, 80), sender[0], sender[2])
    message["To"] = to
    message["Subject"] = _SUBJECTS[row["type"]].format(title=title, State=state.capitalize())
    message["Date"] = format_datetime(now().astimezone(UTC))
    message["Message-ID"] = f"<{row['message_id']}.{row['target'][-12:]}@{sender[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_text(row["type"], data, requester, behalf, url)) + "\n", cte="quoted-printable")
    return message


def _text(kind: str, data: Row, requester: str, behalf: str, url: str) -> list[str]:
    if kind == TEST:
        return ["This is a test that you asked for. Mail from Worka reaches you."]
    first = {
        "approval.requested": "Something waits for you: it goes on only with your yes.",
        "approval.reminder": "This still waits, and your yes would let it go on.",
        "approval.escalation": "Nobody decided in time, so you may decide it now as well.",
        "approval.decided": f"What was asked on your behalf was {data['state']}.",
        "approval.expired": "Nobody decided in time, so what was asked on your behalf is not done.",
    }[kind]
    told = [first, ""]
    facts = [
        ("What", data["title"]),
        ("Effect", data["effect"]),
        ("Asked by", requester),
        ("In whose place you decide", behalf),
        ("What waits", ", ".join(str(block.get("name") or block.get("id")) for block in data["blocks"])),
        ("Until", _until(data["expires_at"]) if kind not in ("approval.decided", "approval.expired") else ""),
        ("Decided by", str((data.get("decided_by") or {}).get("name", ""))),
        ("Why", str(data.get("because", ""))),
        ("Approval", data["approval_id"]),
        ("Where", url),
    ]
    told += [f"{name}: {line(str(value))}" for name, value in facts if value]
    told += [
        "",
        "What exactly is asked stands on its card, with its digest; nothing is decided by answering this mail.",
    ]
    return [*told, "You get it since your yes counts there. No more of it: worka mail off."]


def _until(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
