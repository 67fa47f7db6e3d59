"""Composes release notes: a pure function of its input. No clock, no network, no file."""

from __future__ import annotations

from pydantic import BaseModel, Field

from worka_notes import reading, writing


class CommitNote(BaseModel):
    """One commit, as it stands in the notes."""

    sha: str
    subject: str
    type: str
    scope: str
    breaking: bool
    author: str
    date: str


class IssueNote(BaseModel):
    """One open issue, as it stands in the notes. `url` is empty when the tracker's link led elsewhere."""

    number: str
    title: str
    url: str
    labels: list[str]


class Group(BaseModel):
    """One section: its key, its heading, and the commits in it."""

    key: str
    title: str
    commits: list[str]


class Cut(BaseModel):
    """What is missing, and the sentences that the notes say about it."""

    commits: bool
    issues: bool
    said: list[str]


class Notes(BaseModel):
    """Release notes. `markdown` is safe to render; the texts in `commits` and `issues` are raw and untrusted."""

    title: str
    markdown: str
    commits: list[CommitNote]
    issues: list[IssueNote]
    groups: list[Group]
    cut: Cut = Field(description="what the sources cut; said in the markdown too")


def compose(
    log_text: str, issues_text: str, repository: str, since: str = "", limit: int = 100, commit_link: str = ""
) -> Notes:
    """Notes over every commit of the log and every open issue, each once.

    `since` and `limit` are what the log was asked for. With `since`, a log that holds `limit` commits may have been
    cut, and the notes say so; without it the newest `limit` commits are what was wanted. `commit_link` is an https
    address with `{sha}` in it. Raises ValueError for texts that cannot be read and for a `commit_link` of another form.
    """
    if commit_link and not (commit_link.startswith("https://") and "{sha}" in commit_link):
        raise ValueError("commit_link is an https address with {sha} in it, or empty")
    commits = reading.commits(log_text)
    if not commits and log_text.strip() not in {"", "Commit history:"}:
        raise ValueError("log_text is not an answer of git_log: no commit can be read from it")
    issues = reading.issues(issues_text)
    commits_cut = bool(since) and len(commits) >= limit
    said = []
    if commits_cut:
        said.append(f"the log was cut at {limit} commits; older commits since {writing.escape(since)} are missing.")
    if issues.cut:
        said.append(f"the tracker's answer was cut; only the first {len(issues.open)} open issues are listed.")
    if issues.unread:
        said.append(f"{issues.unread} entries of the tracker could not be read as issues and are missing.")
    groups = writing.grouped(commits)
    title = f"Release notes of {writing.escape(repository)}"
    lead = _lead(commits, len(issues.open), since, limit)
    return Notes(
        title=f"Release notes of {' '.join(repository.split())[: writing.LONGEST]}",
        markdown=writing.document(title, lead, groups, issues.open, said, commit_link),
        commits=[
            CommitNote(
                sha=c.sha,
                subject=c.subject,
                type=c.kind,
                scope=c.scope,
                breaking=c.breaking,
                author=c.author,
                date=c.date,
            )
            for c in commits
        ],
        issues=[IssueNote(number=i.number, title=i.title, url=i.url, labels=list(i.labels)) for i in issues.open],
        groups=[Group(key=key, title=heading, commits=[c.sha for c in members]) for key, heading, members in groups],
        cut=Cut(commits=commits_cut, issues=issues.cut or bool(issues.unread), said=said),
    )


def _lead(commits: list[reading.Commit], issues: int, since: str, limit: int) -> str:
    count = f"{len(commits)} commit{'' if len(commits) == 1 else 's'}"
    if since:
        what = f"{count} since {writing.escape(since)}"
    elif len(commits) >= limit:
        what = f"The newest {count}"
    else:
        what = f"All {count}" if commits else "No commits"
    dates = sorted(c.date[:10] for c in commits)
    span = f", written {dates[0]} to {dates[-1]}," if dates else ""
    return f"{what}{span} and {issues} open issue{'' if issues == 1 else 's'}."
