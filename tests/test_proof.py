"""docs/proof.md has a table for everything that proof.py measures, and none that has gone stale."""

from __future__ import annotations

import re

import pytest
from faults import FAULTS
from proof import PAGE, SECTIONS, table, write

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SECTIONS)
def test_every_table_stands_on_the_page_with_its_command(name: str) -> None:
    found = re.search(f"<!-- begin: python tests/proof.py {name} -->\n(.*?)<!-- end: {name} -->", TEXT, re.DOTALL)
    assert found, "no place for it"
    assert len(found[1].splitlines()) > 3, "it was never measured"
    assert f"\npython tests/proof.py {name}\n" in TEXT


def test_the_page_lists_the_faults_that_there_are_and_all_were_caught() -> None:
    rows = re.findall(r"^\| (.*) \| `(test_.*)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert [(what, test) for what, test, _ in rows] == [(f.what, f.test) for f in FAULTS]
    assert {verdict for *_, verdict in rows} == {"yes"}


def test_writing_a_table_changes_nothing_else(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "proof.md"
    page.write_text(TEXT)
    monkeypatch.setattr("proof.PAGE", page)
    write("digits", table(("a", "b"), [(1, r"\2")]))
    written = page.read_text()
    assert "| a | b |\n| --- | --- |\n| 1 | \\2 |\n" in written
    before, after = (re.split(r"<!-- (?:begin|end): .*digits -->", text) for text in (TEXT, written))
    assert [before[0], before[2]] == [after[0], after[2]]
