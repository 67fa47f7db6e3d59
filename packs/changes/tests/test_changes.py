"""Run them with `worka pack test packs/changes`: on a repository that git makes here."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from worka_sdk import ToolError
from worka_sdk.testing import Harness

from worka_changes import reading
from worka_changes.tools import pack


class ChangesTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = reading.ROOT = Path(place.name)
        self.git("init", "-q", "-b", "main")
        self.harness = Harness(pack)

    def git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{what}": "Ann" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(["git", "-C", str(self.root), *arguments], capture_output=True, text=True, check=True,
                              env={**os.environ, **who})  # fmt: skip
        return done.stdout

    def commit(self, *messages: str) -> None:
        for message in messages:
            self.git("commit", "-q", "--allow-empty", "-m", message)

    def value(self, tool: str, **given: object) -> dict:
        found = self.harness.call(tool, **given)
        self.assertFalse(found.is_error, found.text)
        return found.value

    def test_versions_are_in_the_order_of_semver_and_other_tags_are_none(self) -> None:
        for tag in ("v1.9.0", "v1.10.0", "v2.0.0-rc.2", "v2.0.0-rc.10", "2.0.0", "latest", "v1.2"):
            self.commit(f"feat: {tag}")
            self.git("tag", tag)
        found = self.value("list_versions")
        self.assertEqual(
            [item["version"] for item in found["versions"]], ["2.0.0", "2.0.0-rc.10", "2.0.0-rc.2", "1.10.0", "1.9.0"]
        )

    def test_the_next_version_follows_from_the_commits(self) -> None:
        self.commit("feat: first")
        self.assertEqual(self.value("next_version")["next"], "0.1.0")
        self.git("tag", "v1.2.3")
        self.commit("docs: words")
        self.assertEqual((self.value("next_version")["next"], self.value("next_version")["level"]), ("1.2.3", "none"))
        self.commit("fix: a fault")
        self.assertEqual(self.value("next_version")["next"], "1.2.4")
        self.commit("feat(api): a door")
        self.assertEqual(self.value("next_version")["next"], "1.3.0")
        self.commit("refactor!: another shape")
        found = self.value("next_version")
        self.assertEqual((found["next"], found["because"][0]["subject"]), ("2.0.0", "another shape"))

    def test_before_the_first_a_breaking_change_raises_the_minor_number(self) -> None:
        self.commit("feat: first")
        self.git("tag", "-a", "-m", "annotated", "v0.3.1")
        self.commit("fix: it\n\nBREAKING CHANGE: the old way is gone")
        found = self.value("next_version")
        self.assertEqual((found["current"], found["next"], found["level"]), ("0.3.1", "0.4.0", "major"))

    def test_the_change_log_holds_every_commit_once_by_kind(self) -> None:
        self.commit("feat: before")
        self.git("tag", "v1.0.0")
        self.commit("fix(core): a *fault* <b>", "feat: a door", "plain words", "feat!: gone")
        found = self.value("change_log", title="1.1.0")
        self.assertEqual(
            [section["title"] for section in found["sections"]], ["Breaking", "Added", "Fixed", "Other changes"]
        )
        self.assertEqual((found["since"], found["commits"]), ("v1.0.0", 4))
        self.assertIn("- **core:** a \\*fault\\* \\<b\\> (", found["markdown"])

    def test_no_character_of_an_author_breaks_the_log(self) -> None:
        self.commit("feat: first")
        self.git("tag", "v1.0.0")
        for odd in ("\x01", "\x1f", "\u2028", "\x85", "\x1e\n", "\\0"):
            self.commit(f"fix: a{odd}b\n\nBody {odd} of it\n")
        # What no `git commit` writes: a message with NUL, and one that is empty.
        tree, parent = self.git("rev-parse", "HEAD^{tree}").strip(), self.git("rev-parse", "HEAD").strip()
        who = "Ann <ann@example.org> 1700000000 +0000"
        for message in (b"feat: nul\0fix: no\n", b""):
            raw = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n".encode() + message
            made = subprocess.run(["git", "-C", str(self.root), "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
                                  input=raw, capture_output=True, check=True)  # fmt: skip
            parent = made.stdout.decode().strip()
        self.git("update-ref", "HEAD", parent)
        found = self.value("next_version")
        self.assertEqual((found["next"], found["commits"]), ("1.1.0", 8))
        sections = {one["title"]: one["changes"] for one in self.value("change_log")["sections"]}
        self.assertEqual(
            {title: len(changes) for title, changes in sections.items()}, {"Added": 1, "Fixed": 6, "Other changes": 1}
        )
        self.assertEqual(sections["Fixed"][-1]["subject"], "a\x01b")
        self.assertEqual({len(change["commit"]) for changes in sections.values() for change in changes}, {40})

    def test_no_tag_breaks_the_versions(self) -> None:
        self.commit("feat: first")
        sha = self.git("rev-parse", "HEAD").strip()
        odd = ["a\u2028b", "v1\x85", f"v{'9' * 5000}.0.0", f"v1.0.0-{'9' * 5000}", "v1.0.0"]
        (self.root / ".git" / "packed-refs").write_text("".join(f"{sha} refs/tags/{tag}\n" for tag in odd))
        self.assertEqual([one["tag"] for one in self.value("list_versions")["versions"]], ["v1.0.0"])
        for name in ("a\0b", "\ud800"):
            with self.assertRaisesRegex(ToolError, "There is no commit"):
                reading.commit_of(name)

    def test_the_encoding_that_the_repository_asks_for_is_not_taken(self) -> None:
        self.git("config", "i18n.logOutputEncoding", "UTF-16")
        self.commit("feat: Zürich")
        self.assertEqual(self.value("change_log")["sections"][0]["changes"][0]["subject"], "Zürich")

    def test_no_argument_is_an_option_of_git(self) -> None:
        self.commit("feat: first")
        target = self.root / "written"
        for name in (f"--output={target}", "-n1", "HEAD;touch x", "..", "HEAD..HEAD"):
            found = self.harness.call("change_log", until=name)
            self.assertTrue(found.is_error)
            self.assertIn("There is no commit", found.text)
        self.assertFalse(target.exists())
        self.assertEqual(self.value("change_log", until="main")["commits"], 1, "the control")
