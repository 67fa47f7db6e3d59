"""What the rows about packs look for in the tables once the load is over: that nothing is half done, and nothing is there
twice. The tables are not believed where something outside knows better."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.harness.judge import Verdict
from tests.faults.harness.packing import processes_of
from tests.faults.harness.stage import Stage, Tenant

SETTLED_WITHIN = 15.0


def publications(verdict: Verdict, stage: Stage, tenant: Tenant, lacks: Callable[[str], str]) -> None:
    """Nothing stands half published; what is listed lies at its destination, whole, and was published once."""
    workspace = tenant.ids["workspace"]
    open_ = "select id, state, reason from worka.publication where workspace_id = %s and state in ('queued', 'pushing')"
    deadline = time.monotonic() + SETTLED_WITHIN
    while (left := stage.instance.rows(open_, workspace)) and time.monotonic() < deadline:
        time.sleep(0.2)
    verdict.say(not left, f"publications of {tenant.name} are in nobody's hands: {left[:2]}")
    listed = stage.instance.rows(
        "select l.release_id, l.digest, p.state from worka.listing l join worka.publication p on p.id = l.publication_id"
        " where l.workspace_id = %s and l.state = 'listed'",
        workspace,
    )
    for row in listed:
        verdict.say(row["state"] == "published", f"{row['release_id']} is listed, and its publication {row['state']}")
        lost = lacks(row["digest"])
        verdict.say(not lost, f"{row['release_id']} is listed, and at the registry {lost}")
    twice = stage.instance.rows(
        "select release_id, count(*) as n from worka.publication where workspace_id = %s group by 1 having count(*) > 1",
        workspace,
    )
    verdict.say(not twice, f"one request made several publications: {twice[:2]}")


def once(verdict: Verdict, stage: Stage, releases: list[str]) -> None:
    """Each release was built, kept and released once; none stands half registered."""
    rest = (
        "select id, state from worka.release where id = any(%s) and state not in ('released', 'failed', 'quarantined')"
    )
    half = stage.instance.rows(rest, releases)
    verdict.say(not half, f"releases stand half registered: {half[:2]}")
    for table in ("artifact", "attestation"):
        twice = stage.instance.rows(
            f"select release_id, count(*) as n from worka.{table} where release_id = any(%s) group by 1"
            " having count(*) > 1",
            releases,
        )
        verdict.say(not twice, f"more than one {table} of a release: {twice[:2]}")
    again = stage.instance.rows(
        "select subject, count(*) as n from worka.event where type = 'pack.release.moved' and after ->> 'state' = 'released'"
        " and before ->> 'state' = 'probed' and subject = any(%s) group by 1 having count(*) > 1",
        releases,
    )
    verdict.say(not again, f"released more than once: {again[:2]}")


def attachments(verdict: Verdict, stage: Stage, packs: list[str]) -> None:
    """Of packs that were attached, moved and detached: nothing is under way, nothing is left, nothing was done twice."""
    rows = stage.instance.rows("select id, state, uid, release_id from worka.attachment where pack = any(%s)", packs)
    ids = [row["id"] for row in rows]
    verdict.say(
        all(row["state"] == "detached" for row in rows),
        f"not detached: {[r for r in rows if r['state'] != 'detached'][:2]}",
    )
    per_pack = stage.instance.rows(
        "select pack from worka.attachment where pack = any(%s) group by 1 having count(*) > 1", packs
    )
    verdict.say(not per_pack, f"one request made several attachments: {per_pack[:2]}")
    open_ = "select id, state from worka.attachment_move where attachment_id = any(%s) and ended_at is null"
    moves = stage.instance.rows(open_, ids)
    verdict.say(not moves, f"moves are in nobody's hands: {moves[:2]}")
    twice = stage.instance.rows(
        "select attachment_id, to_release from worka.attachment_move where attachment_id = any(%s) and state = 'moved'"
        " group by 1, 2 having count(*) > 1",
        ids,
    )
    verdict.say(not twice, f"moved there more than once: {twice[:2]}")
    receipts = stage.instance.rows(
        "select subject, act from worka.withdrawal where subject = any(%s) group by 1, 2 having count(*) > 1",
        [*ids, *{row["release_id"] for row in rows}],
    )
    verdict.say(not receipts, f"more than one receipt of one act: {receipts[:2]}")
    waiting = "select id from worka.approval where state = 'open' and subject_id = any(%s)"
    verdict.say(not stage.instance.rows(waiting, ids), "approvals of what is detached are open")
    folders = [stage.home / "clones" / name for name in ids]
    uids = {row["uid"] for row in rows}
    deadline = time.monotonic() + SETTLED_WITHIN
    while True:
        clones = [folder.name for folder in folders if folder.exists()]
        alive = [pid for uid in uids for pid in processes_of(uid)]
        if (not clones and not alive) or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    verdict.say(not clones, f"{len(clones)} clones of what was detached are left: {clones[:2]}")
    verdict.say(not alive, f"{len(alive)} processes of what was detached are left")
    verdict.figures["attachments"] = len(rows)
