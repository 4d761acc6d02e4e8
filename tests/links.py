#!/usr/bin/env python3
"""Checks the links of README.md and docs/ to files and headings of this repository.

    links.py [page.md...]

A link outside of code must lead to an existing file, and its #anchor to a heading of that page.
Addresses with a scheme (https://...) are not checked.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(
    r"""\]\(\s*<?([^)\s>]+)>?[^)]*\) | ^\s*\[[^\]]+\]:\s*(\S+) | (?:src|srcset|href)="([^"]+)" """, re.X | re.M
)


def without_code(text):
    """The text with all code replaced by blanks; line breaks stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"^\s*(`{3,}|~{3,})[^\n]*\n.*?^\s*\1\s*$", blank, text, flags=re.M | re.S)
    return re.sub(r"(`+)[^`].*?\1", blank, text)


def anchors(path):
    """The anchors that GitHub generates for the headings of a page."""
    found = set()
    text = re.sub(r"^\s*(`{3,}|~{3,})[^\n]*\n.*?^\s*\1\s*$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number, name = 0, slug
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    found.update(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    return found


def broken(path):
    """The broken links of a page."""
    text = path.read_text(encoding="utf-8")
    for match in LINK.finditer(without_code(text)):
        link = match[1] or match[2] or match[3]
        if re.match(r"[a-z][a-z0-9+.-]*:", link, re.I):
            continue
        place = f"{os.path.relpath(path, ROOT)}:{text.count(chr(10), 0, match.start(match.lastindex)) + 1}"
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_relative_to(ROOT) or not target.exists():
            yield f"{place}: {link}: no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            yield f"{place}: {link}: no such heading"


def main():
    """Check all pages, or the named ones."""
    named = [Path(name).resolve() for name in sys.argv[1:]]
    pages = named or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    failures = [why for path in pages for why in broken(path)]
    for why in failures:
        print(why, file=sys.stderr)
    print(f"{len(pages)} pages, {len(failures)} broken links")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
