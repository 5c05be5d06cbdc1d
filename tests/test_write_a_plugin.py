"""The how-to for plugin authors shows the example plugin as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text()
SNIPPETS = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)


def test_page_has_snippets():
    assert len(SNIPPETS) >= 5


@pytest.mark.parametrize(("file", "text"), SNIPPETS, ids=[file for file, _ in SNIPPETS])
def test_snippet_is_in_the_example(file, text):
    assert text in (ROOT / "examples" / "plugin" / file).read_text()


def test_example_imports_public_names_only():
    sources = [*(ROOT / "examples" / "plugin").rglob("*.py")]
    imports = {
        line for path in sources for line in path.read_text().splitlines() if re.match(r"(from|import) ferkit\b", line)
    }
    modules = {line.split()[1] for line in imports}
    assert modules <= {"ferkit", "ferkit.testing"}
