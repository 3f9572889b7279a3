"""What README.md names exists; its examples run as doctests, by pytest's settings in pyproject.toml."""

import operator
import re
from pathlib import Path

import autograd_c

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def operators_in_table():
    section = README.partition("\n## What it offers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \|([^|]+)\|$", section, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def test_table_names_the_operators_there_are():
    from autograd_c import operators

    table = operators_in_table()
    for name in table:
        assert callable(operator.attrgetter(name)(autograd_c)), name
    assert set(operators.__all__) - table == set()


def test_links_lead_to_files():
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert links
    assert [target for target in links if not (ROOT / target).exists()] == []


def test_two_commands_stand_on_lines_of_their_own():
    lines = README.splitlines()
    assert lines.count('pip install ".[demo]" && autograd-c demo') == 1
    assert lines.count('pip install -e ".[test]" && pytest') == 1
