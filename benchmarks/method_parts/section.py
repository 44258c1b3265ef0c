"""One section of a Markdown page, replaced by a script that measures it anew."""

from __future__ import annotations

from pathlib import Path

from compressor.core.files import write_atomically


def with_section(page: str, heading: str, body: str) -> str:
    """The page with `body` under `heading` ("## ..."); at the end where there is no such section yet.

    >>> with_section("# Page\\n\\n## A\\n\\nold\\n\\n## B\\n\\nb\\n", "## A", "new\\n")
    '# Page\\n\\n## A\\n\\nnew\\n\\n## B\\n\\nb\\n'
    """
    lines = page.rstrip("\n").split("\n")
    start = lines.index(heading) if heading in lines else len(lines)
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("## ")), len(lines))
    before, after = "\n".join(lines[:start]).rstrip("\n"), "\n".join(lines[end:])
    parts = [before, heading, body.strip("\n"), after]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_section(path: Path, heading: str, body: str) -> None:
    """Replaces the section in the file."""
    write_atomically(path, with_section(path.read_text(), heading, body))
