"""Run them with `worka pack test packs/tables`."""

import json
import os
import sqlite3
import tempfile
import tracemalloc
import unittest
from pathlib import Path

from worka_sdk import ToolError
from worka_sdk.testing import Harness
from worka_tables import sources
from worka_tables.tools import Condition, pack, read_rows

ORDERS = "id;customer;amount\n1;Ann;12.5\n2;Bob;7\n3;Ann;1e1\n4;;\n007;Zoë;3\n"


class TablesTest(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.root = sources.ROOT = Path(place.name, "data")
        self.root.mkdir()
        (self.root / "orders.csv").write_text(ORDERS)
        (self.root / "people.json").write_text(json.dumps({"items": [{"name": "Ann", "tags": ["a"]}, {"age": 3}]}))
        with sqlite3.connect(self.root / "shop.db") as conn:
            conn.execute('create table "odd ""name" (a, b)')
            conn.execute('insert into "odd ""name" values (1, x\'00ff\')')
            conn.execute('create view doubled as select a * 2 as twice from "odd ""name"')
        conn.close()
        self.harness = Harness(pack)

    def rows(self, **given: object) -> object:
        found = self.harness.call("read_rows", **given)
        self.assertFalse(found.is_error, found.text)
        return found.value["rows"]

    def test_every_table_of_every_kind_of_file_is_listed(self) -> None:
        (self.root / "broken.csv").write_text("a,b\n1\n")
        found = self.harness.call("list_tables").value
        named = [(item["file"], item["table"]) for item in found["tables"]]
        self.assertEqual(
            named,
            [("orders.csv", "orders"), ("people.json", "people"), ("shop.db", "doubled"), ("shop.db", 'odd "name')],
        )
        self.assertEqual(found["unreadable"], ["broken.csv: broken.csv: row 2 has 1 values, the head has 2."])

    def unreadable(self) -> dict[str, str]:
        """File -> why not, of the listing, which holds the three good ones all the same."""
        found = self.harness.call("list_tables")
        self.assertFalse(found.is_error, found.text)
        self.assertEqual(
            {"orders.csv", "people.json", "shop.db"} - {one["file"] for one in found.value["tables"]}, set()
        )
        return dict(line.split(": ", 1) for line in found.value["unreadable"])

    def test_no_file_ends_the_listing_of_the_others(self) -> None:
        (self.root / "zero.csv").write_text("a\0b,c\n1,2\n")
        (self.root / "half.json").write_text('[{"a": "\\ud800"}]')
        (self.root / "head.jsonl").write_text('{"\\ud800": 1}\n')
        (self.root / "latin.csv").write_bytes(b"a,b\n\xff,2\n")
        (self.root / "deep.jsonl").write_text("[" * 100_000)
        Path(os.fsdecode(os.fsencode(self.root) + b"/\xff.csv")).write_text("a\n1\n")
        os.symlink("circle.csv", self.root / "circle.csv")
        found = self.unreadable()
        self.assertEqual(set(found), {"zero.csv", "half.json", "head.jsonl", "latin.csv", "deep.jsonl", "?.csv"})
        self.assertIn("not UTF-8", found["?.csv"])

    def test_no_name_of_a_file_or_column_is_in_the_way(self) -> None:
        (self.root / "sqlite_x.csv").write_text("a (3),a,a,A\n1,2,3,4\n")
        (self.root / "sqlites.csv").write_text("a\n1\n")
        self.assertEqual(self.unreadable(), {})
        found = self.harness.call("read_rows", file="sqlite_x.csv").value
        self.assertEqual((found["table"], found["columns"]), ("_sqlite_x", ["a (3)", "a", "a (4)", "A (5)"]))
        self.assertEqual(found["rows"], [[1, 2, 3, 4]])
        self.assertEqual(self.harness.call("read_rows", file="sqlites.csv").value["table"], "sqlites")

    def test_a_number_of_any_length_is_read(self) -> None:
        (self.root / "long.csv").write_text(f"a\n{'1' * 5000}\n{'1' * 15}\n")
        (self.root / "endless.json").write_text('[{"a": 1e999}]')
        self.assertIn("[5000 characters]", self.rows(file="long.csv")[0][0])
        self.assertEqual(self.rows(file="long.csv")[1], [111111111111111], "the control")
        self.assertEqual(self.rows(file="endless.json"), [["1e999"]])
        for value in (10**30, "\ud800"):
            with self.assertRaisesRegex(ToolError, "cannot be read so|not UTF-8"):
                read_rows("long.csv", where=[Condition("a", "=", value)])
        with self.assertRaisesRegex(ToolError, "There is no file"):
            read_rows("\ud800.csv")

    def test_no_digit_of_a_number_is_lost_in_reading_showing_or_comparing_it(self) -> None:
        large = 2**53 + 1
        (self.root / "ids.csv").write_text(f"id,x\n{large - 1},0.1\n{large},12345678901234567.5\n-0,-0.0\n{2**63},1e400\n")
        (self.root / "ids.json").write_text(f'[{{"id": {large}}}, {{"id": "{large}"}}, {{"id": NaN}}, {{"id": -Infinity}}]')
        shown = [[str(large - 1), 0.1], [str(large), "12345678901234567.5"], [0, 0.0], [str(2**63), "1e400"]]
        self.assertEqual(self.rows(file="ids.csv"), shown)
        self.assertEqual(self.rows(file="ids.json"), [[str(large)], [str(large)], ["NaN"], ["-Infinity"]])

        def found(file: str, operator: str, value: object) -> object:
            return self.rows(file=file, columns=["id"], where=[{"column": "id", "operator": operator, "value": value}])

        for value in (large, str(large)):
            self.assertEqual(found("ids.csv", "=", value), [[str(large)]])
        self.assertEqual(found("ids.csv", "<", str(large)), [[str(large - 1)], [0]])
        self.assertEqual(found("ids.json", "=", str(large)), [[str(large)], [str(large)]], "a text of digits too")
        self.assertEqual(found("ids.csv", "contains", 74099), [[str(large - 1)], [str(large)]], "7 is not 7.0")

    def test_dates_and_bytes_are_what_they_are(self) -> None:
        with sqlite3.connect(self.root / "days.db") as conn:
            conn.execute("create table days (day date, at timestamp, raw blob, big integer)")
            conn.execute("insert into days values ('2026-01-02', '2026-01-02 03:04:05', x'00', ?)", (2**62,))
        conn.close()
        day = ["2026-01-02", "2026-01-02 03:04:05", "[1 bytes]", str(2**62)]
        self.assertEqual(self.rows(file="days.db"), [day])
        where = [{"column": "big", "operator": ">=", "value": str(2**62)}]
        self.assertEqual(self.rows(file="days.db", where=where), [day])
        where[0]["operator"] = ">"
        self.assertEqual(self.rows(file="days.db", where=where), [], "the control")

    def test_what_is_too_much_is_refused_while_it_is_read(self) -> None:
        before, sources.MOST_ROWS = sources.MOST_ROWS, 2000
        self.addCleanup(setattr, sources, "MOST_ROWS", before)
        (self.root / "rows.csv").write_text("1\n" * 400_000)
        (self.root / "cells.csv").write_text("," * 5_000_000)
        (self.root / "quotes.csv").write_text('"\n",' * 1_000_000)
        (self.root / "rows.jsonl").write_text("{}\n" * 2001)
        (self.root / "big.json").write_text("[" + "{}," * 3_000_000 + "{}]")
        (self.root / "wide.jsonl").write_text("\n".join(json.dumps({f"c{number}": 1}) for number in range(501)))
        (self.root / "much.csv").write_text("n\n" + "1\n" * 2000)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        found = self.unreadable()
        self.assertLess(tracemalloc.get_traced_memory()[1], 15_000_000, "bytes")
        wanted = {
            "rows.csv": "2000 rows",
            "cells.csv": "1048576 characters",
            "quotes.csv": "1048576 characters",
            "rows.jsonl": "2000 rows",
            "big.json": "8 MiB",
            "wide.jsonl": "500 columns",
        }
        self.assertEqual({file: why for file, why in wanted.items() if why not in found.pop(file, "")}, {})
        self.assertEqual(found, {}, "the control: as many rows as there may be")

    def test_rows_are_chosen_ordered_and_counted(self) -> None:
        where = [{"column": "customer", "operator": "=", "value": "Ann"}]
        self.assertEqual(
            self.rows(file="orders.csv", where=where, order_by="amount"), [[3, "Ann", 10.0], [1, "Ann", 12.5]]
        )
        part = self.harness.call("read_rows", file="orders.csv", columns=["id"], limit=2)
        self.assertEqual((part.value["total"], part.value["cut"]), (5, "3 more rows follow; ask with a larger offset."))
        self.assertEqual(self.rows(file="orders.csv", columns=["id"], offset=4), [["007"]], "no zero is lost")
        empty = [{"column": "amount", "operator": "=", "value": None}]
        self.assertEqual(self.rows(file="orders.csv", columns=["id"], where=empty), [[4]])

    def test_sums_are_made_by_group(self) -> None:
        measures = [{"kind": "sum", "column": "amount"}, {"kind": "count"}]
        found = self.harness.call("summarise", file="orders.csv", group_by=["customer"], measures=measures).value
        self.assertEqual(found["groups"][0], {"of": ["Ann"], "measures": [22.5, 2]})
        self.assertEqual(found["measures"], ["sum amount", "count"])

    def test_a_column_is_described(self) -> None:
        found = self.harness.call("describe_table", file="orders.csv").value
        amount = next(column for column in found["columns"] if column["name"] == "amount")
        self.assertEqual((found["rows"], amount["types"], amount["empty"]), (5, ["integer", "number"], 1))
        self.assertEqual((amount["least"], amount["most"]), (3, 12.5))

    def test_a_database_is_read_with_its_views_and_odd_names(self) -> None:
        self.assertEqual(self.rows(file="shop.db", table="doubled"), [[2]])
        self.assertEqual(self.rows(file="shop.db", table='odd "name'), [[1, "[2 bytes]"]])
        unnamed = self.harness.call("read_rows", file="shop.db")
        self.assertIn("Name one of: doubled", unnamed.text)

    def test_what_a_caller_writes_never_becomes_sql(self) -> None:
        before = (self.root / "shop.db").read_bytes()
        for name in ('a" from x; drop table y; --', "1=1", "rowid"):
            found = self.harness.call("read_rows", file="shop.db", table="doubled", columns=[name])
            self.assertTrue(found.is_error)
            self.assertIn("has no column", found.text)
        where = [{"column": "customer", "operator": "contains", "value": "' or 1=1 --"}]
        self.assertEqual(self.rows(file="orders.csv", where=where), [])
        self.assertEqual((self.root / "shop.db").read_bytes(), before)

    def test_no_path_and_no_link_leaves_the_mount(self) -> None:
        outside = self.root.parent / "secret.csv"
        outside.write_text("a\n1\n")
        os.symlink(outside, self.root / "link.csv")
        for file in ("../secret.csv", str(outside), "link.csv", "nothing.csv"):
            found = self.harness.call("read_rows", file=file)
            self.assertIn("There is no file", found.text)
        self.assertEqual(self.rows(file="people.json", columns=["name"]), [["Ann"], [None]], "the control")

    def test_a_query_without_end_is_ended(self) -> None:
        before, sources.SECONDS = sources.SECONDS, 0.2
        self.addCleanup(setattr, sources, "SECONDS", before)
        with sqlite3.connect(self.root / "bomb.db") as conn:
            conn.execute(
                "create view forever as with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
            )
        conn.close()
        found = self.harness.call("summarise", file="bomb.db")
        self.assertIn("took longer", found.text)
