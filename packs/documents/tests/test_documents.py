"""Run them with `worka pack test packs/documents`."""

import os
import tempfile
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

    def test_no_path_and_no_link_leaves_the_mount(self) -> None:
        (self.root.parent / "secret.md").write_text("# secret\n")
        os.symlink(self.root.parent / "secret.md", self.root / "link.md")
        for path in ("../secret.md", "link.md", str(self.root.parent / "secret.md"), "sub"):
            self.assertIn("There is no document", self.harness.call("read_section", path=path).text)
        self.assertEqual(self.value("search", words="secret")["total"], 0)
        self.assertEqual(self.value("list_documents")["total"], 2, "the control")
