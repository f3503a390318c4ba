# SPDX-License-Identifier: ISC
"""The examples of README and man pages.

Each stands in a literal block (man pages: ```; README: ``` or four blanks) behind a line that no reader sees and that
says how it is run: `; run: KIND ARGUMENT...` in scdoc, `<!-- run: KIND ARGUMENT... -->` in Markdown."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "packaging/man").glob("*.scd"))]
MARK = re.compile(r"^(?:; run: (.*)|<!-- run: (.*) -->)$")


@dataclasses.dataclass
class Example:
    page: str
    line: int
    kind: str  # "" when nothing says how to run it
    args: list
    text: str

    @property
    def id(self):
        return f"{self.page}:{self.line}"


def examples_of(path):
    """All literal blocks of a page, in their order."""
    found, mark, lines = [], [], path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        start = at
        words = MARK.match(lines[at])
        at += 1
        if words:
            mark = (words.group(1) or words.group(2)).split()
            continue
        if lines[start].startswith("```"):
            while not lines[at].startswith("```"):
                at += 1
            text, at = lines[start + 1:at], at + 1
        elif path.suffix == ".md" and lines[start].startswith("    "):
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            text = [line[4:] for line in lines[start:at]]
        else:
            if lines[start].strip():
                mark = []  # it belonged to nothing
            continue
        found.append(Example(path.name, start + 1, mark[0] if mark else "", mark[1:], "\n".join(text) + "\n"))
        mark = []
    return found


EXAMPLES = [example for page in PAGES for example in examples_of(page)]


def examples(*kinds):
    return [example for example in EXAMPLES if example.kind in kinds]


def only(kind):
    found = examples(kind)
    assert len(found) == 1, found
    return found[0]


def connection_table():
    """{client: [code, ...]} of the table in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.search(r"(?s)\| Client \| Connection \|\n\|---\|---\|\n(.*?)\n\n", text).group(1).splitlines()
    cells = [row.strip("|").split("|", 1) for row in rows]
    return {name.strip(): re.findall(r"`([^`]+)`", code) for name, code in cells}
