"""Run them with `worka pack test packs/documents`."""

import os
import tempfile
import time
import unittest
from pathlib import Path

from worka_sdk.testing import Harness

from worka_documents import reading
from worka_documents.tools import pack

GUIDE = """# The guide

Words of the *start*, see [below](#set-up-1) and [other](sub/other.md#usage) and ![a picture](missing.png).

## Set up

First `[no](link.md)` here.

```md
# not a heading
[no](link.md)
```

## Set up

Second, with [a heading that is gone](sub/other.md#gone), [out](../../etc/passwd), <a id="mine"></a>[own](#mine),
[the web](https://example.org/x.md) and [the root](/guide.md).
"""


class DocumentsTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = reading.ROOT = Path(place.name, "docs")
        (self.root / "sub").mkdir(parents=True)
        (self.root / "guide.md").write_text(GUIDE)
        (self.root / "sub" / "other.md").write_text("Other\n\n# Usage\nUse the START of it.\n")
        self.harness = Harness(pack)

    def value(self, tool: str, **given: object) -> dict:
        found = self.harness.call(tool, **given)
        self.assertFalse(found.is_error, found.text)
        return found.value

    def test_documents_are_listed_with_their_titles(self) -> None:
        found = self.value("list_documents")
        self.assertEqual([(one["path"], one["title"]) for one in found["documents"]],
                         [("guide.md", "The guide"), ("sub/other.md", "Usage")])  # fmt: skip

    def test_an_outline_counts_no_code_and_tells_equal_headings_apart(self) -> None:
        found = self.value("outline", path="guide.md")
        self.assertEqual([one["anchor"] for one in found["headings"]], ["the-guide", "set-up", "set-up-1"])

    def test_a_section_is_read_alone(self) -> None:
        found = self.value("read_section", path="guide.md", anchor="set-up")
        self.assertTrue(found["text"].startswith("## Set up\n\nFirst"))
        self.assertNotIn("Second", found["text"])
        wrong = self.harness.call("read_section", path="guide.md", anchor="nothing")
        self.assertIn("outline names the anchors", wrong.text)

    def test_a_search_names_the_section(self) -> None:
        found = self.value("search", words="use start")
        self.assertEqual([(hit["path"], hit["section"]) for hit in found["hits"]], [("sub/other.md", "Usage")])
        self.assertEqual(self.value("search", words="start", limit=1)["total"], 2)

    def test_links_that_lead_nowhere_are_found_and_no_others(self) -> None:
        found = self.value("broken_links")
        self.assertEqual(
            [(one["target"], one["why"]) for one in found["broken"]],
            [
                ("missing.png", "there is no such file"),
                ("sub/other.md#gone", "sub/other.md has no such heading"),
                ("../../etc/passwd", "it leads out of the folder"),
            ],
        )
        self.assertEqual((found["documents"], found["links"]), (2, 8))

    def test_a_document_that_cannot_be_read_is_named_and_the_others_are_read(self) -> None:
        (self.root / "big.md").write_text("x" * 2_097_153)
        (self.root / "long.md").write_text("\n" * 100_001)
        (self.root / "most.md").write_text("start\n" + "x" * 2_000_000)
        Path(os.fsdecode(os.fsencode(self.root) + b"/\xff.md")).write_text("# Named oddly\n")
        os.symlink("circle.md", self.root / "circle.md")
        (self.root / "away.md").write_text("[gone](gone.md) [big](big.md)\n")
        why = [
            "big.md: big.md has more than 2097152 bytes. Split it.",
            "long.md: long.md has more than 100000 lines. Split it.",
        ]
        found = {tool: self.harness.call(tool, **given) for tool, given in
                 (("list_documents", {}), ("search", {"words": "start"}), ("broken_links", {}))}  # fmt: skip
        for tool, said in found.items():
            self.assertFalse(said.is_error, said.text)
            self.assertEqual(said.value["unreadable"], why, tool)
            self.assertIn("2 documents cannot be read", said.text)
        listed = [one["path"] for one in found["list_documents"].value["documents"]]
        self.assertEqual(listed, ["away.md", "guide.md", "most.md", "sub/other.md", "?.md"])
        self.assertEqual(found["search"].value["total"], 3)
        self.assertEqual(found["broken_links"].value["broken"][0]["target"], "gone.md")
        self.assertEqual(found["broken_links"].value["documents"], 5)

    def test_a_link_with_a_name_that_no_file_has_is_broken(self) -> None:
        long = "n" * 300
        (self.root / "odd.md").write_text(
            f"[a](a%00b) [b](/x%00) [c]({long}.md) [d](/guide.md?x=1) [e](guide%2Emd#the-guide)\n"
        )
        broken = [
            (one["target"], one["why"]) for one in self.value("broken_links")["broken"] if one["path"] == "odd.md"
        ]
        self.assertEqual(broken, [(name, "there is no such file") for name in ("a%00b", "/x%00", f"{long}.md")])
        for name in ("a\0b.md", f"{long}.md"):
            self.assertIn("There is no document", self.harness.call("outline", path=name).text)

    def test_a_line_as_long_as_a_document_takes_no_time(self) -> None:
        lines = ["# " + " " * 500_000 + "x", "# x" + "[" * 500_000, "# x" + "[](" * 200_000, "x" + "`" * 500_000,
                 "".join("`" * number + "x" for number in range(1, 900)), "[a](" + " " * 500_000,
                 '[a](x "' * 100_000, '[a](x "' + " " * 500_000, "[" * 500_000, "[a](x(" * 100_000, "[" + "x[]" * 200_000]  # fmt: skip
        started = time.monotonic()
        for line in lines:
            (self.root / "line.md").write_text(line + "\n[gone](gone.md)\n")
            found = self.value("broken_links")["broken"]
            self.assertIn(("line.md", "gone.md"), [(one["path"], one["target"]) for one in found])
        (self.root / "line.md").write_text("# mine\n" + "[a](#mine)\n" * 20_000)
        self.assertEqual([one for one in self.value("broken_links")["broken"] if one["path"] == "line.md"], [])
        self.assertLess(time.monotonic() - started, 20, "seconds, and they would be hours")

    def test_headings_and_links_are_read_as_markdown_says(self) -> None:
        titles = ["# a ##", "## C#", "### [b](x(y)) ### ", "#### ####", "##### a # b", "# a #\t"]
        links = [
            "[a](<b c.md> 'w')",
            '[d [e]](f(g).md "t")',
            "``[no](`no`)`` [h](i.md)",
            "`[j](k.md)",
            "[n](o.md  (p) )",
        ]
        (self.root / "all.md").write_text("\n".join(titles + links))
        outline = self.value("outline", path="all.md")["headings"]
        self.assertEqual([one["title"] for one in outline], ["a", "C#", "[b](x(y))", "", "a # b", "a"])
        self.assertEqual([one["anchor"] for one in outline], ["a", "c", "b", "", "a--b", "a-1"])
        broken = [one["target"] for one in self.value("broken_links")["broken"] if one["path"] == "all.md"]
        self.assertEqual(broken, ["x(y)", "b c.md", "f(g).md", "i.md", "k.md", "o.md"])

    def test_no_path_and_no_link_leaves_the_mount(self) -> None:
        (self.root.parent / "secret.md").write_text("# secret\n")
        os.symlink(self.root.parent / "secret.md", self.root / "link.md")
        for path in ("../secret.md", "link.md", str(self.root.parent / "secret.md"), "sub"):
            self.assertIn("There is no document", self.harness.call("read_section", path=path).text)
        self.assertEqual(self.value("search", words="secret")["total"], 0)
        self.assertEqual(self.value("list_documents")["total"], 2, "the control")
