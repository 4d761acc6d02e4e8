#!/usr/bin/env python3
"""Compiles every C and C++ block of README.md and docs/, and runs the blocks that are marked for it.

    snippets.py --library libwslink.so [--cc cc] [--cxx c++] [page.md...]

An HTML comment on the line before a block says how to treat it, with these words:

    run       a program that takes the URL of the server as its first argument: it is run against both servers
              (WSLINK_TEST_URL_V1 and _V2, see with_servers.py), and must end with status 0
    output    no code: the block is the output of the program before it, with both servers
    file      declarations instead of statements, compiled unchanged
    c++20     compiled as C++20; all other blocks are compiled as C++17

A block with `main(` is a program, compiled and linked unchanged. Any other block is put into a function that has
`wslink::session session` (by reference; C: `wslink_session *session` and `wslink_error *err`), std::chrono_literals
and the headers below. Compiler messages name the page and the line.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parents[1]
WORDS = {"run", "output", "file", "c++20"}
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# A block may show how to get a value without using it.
STATEMENTS = ["-Wno-unused-variable", "-Wno-unused-but-set-variable"]
CXX_STANDARDS = ["c++17", "c++20"]
TIMEOUT = 120
# Programs run one at a time, because a server sends the publications for one program to all clients.
ONE_PROGRAM = Lock()

HEADERS = {
    "cpp": "wslink.hpp algorithm array chrono cmath cstdio cstdlib cstring fstream functional future iostream map "
    "memory mutex optional string string_view thread utility vector",
    "c": "wslink.h stdint.h stdio.h stdlib.h string.h",
}
BEFORE = {
    "cpp": "void snippet(wslink::session &session);\n"
    "void snippet([[maybe_unused]] wslink::session &session) {{ using namespace std::chrono_literals;",
    "c": "void snippet(wslink_session *session, wslink_error *err);\n"
    "void snippet(wslink_session *session, wslink_error *err) {{ (void)session; (void)err;",
}
# Modules of other libraries, by the includes of a block; the first installed set is used.
MODULES = [
    (r"<glib|<gio|adapters/glib", ["glib-2.0"]),
    (r"<Q[A-Z]|adapters/qt", ["Qt6Widgets Qt6Core", "Qt5Widgets Qt5Core"]),
]


class Block:
    """A fenced block of a page."""

    def __init__(self, page, line, language, words):
        self.page, self.line, self.language, self.words = page, line, language, words
        self.text = ""
        self.output = None

    @property
    def place(self):
        """Its page and line."""
        return f"{self.page}:{self.line}"

    @property
    def is_program(self):
        """Whether it has a main function."""
        return re.search(r"\bmain\s*\(", self.text) is not None

    def source(self):
        """The translation unit."""
        here = f'#line {self.line + 1} "{self.page}"\n'
        if self.is_program:
            return here + self.text
        headers = "".join(f"#include <{name}>\n" for name in HEADERS[self.language].split())
        if "file" in self.words:
            using = "using namespace std::chrono_literals;\n" if self.language == "cpp" else ""
            return headers + using + here + self.text
        # Includes must be outside of the function.
        included = "".join(re.findall(r"^#include.*\n", self.text, re.M))
        body = re.sub(r"^#include.*", "", self.text, flags=re.M)
        return f"{headers}{included}{BEFORE[self.language]}\n{here}{body}\n}}}}\n"


def blocks_of(path, page):
    """The blocks of a page that are C, C++ or the output of a program."""
    blocks, block, fence, words = [], None, None, set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if fence:
            if line.strip() == fence:
                fence = block = None
            elif block:
                block.text += line + "\n"
            continue
        begin = re.match(r"\s*(`{3,}|~{3,})\s*([\w+-]*)", line)
        comment = re.fullmatch(r"<!--\s*([\w+ ]+?)\s*-->", line.strip())
        if begin:
            fence, language = begin[1], {"c++": "cpp"}.get(begin[2], begin[2])
            if "output" in words:
                if not blocks or "run" not in blocks[-1].words:
                    sys.exit(f"{page}:{number}: no program that is run comes before this output")
                block = Block(page, number, "output", words)
                blocks[-1].output = block
            elif language in HEADERS:
                block = Block(page, number, language, words)
                blocks.append(block)
            elif words:
                sys.exit(f"{page}:{number}: neither C nor C++, but marked as {' '.join(sorted(words))}")
        words = set(comment[1].split()) if comment and set(comment[1].split()) <= WORDS else set()
    if fence:
        sys.exit(f"{page}: a block does not end")
    for each in blocks:
        if "run" in each.words and not each.is_program:
            sys.exit(f"{each.place}: marked to be run, but has no main function")
    return blocks


def library_flags(block):
    """The flags of the libraries besides wslink that the block includes."""
    text, flags = block.text, []
    wanted = ["--cflags", "--libs"] if block.is_program else ["--cflags"]
    for pattern, candidates in MODULES:
        if not re.search(rf"#include.*({pattern})", text):
            continue
        for modules in candidates:
            found = subprocess.run(
                ["pkg-config", *wanted, *modules.split()], capture_output=True, text=True, check=False
            )
            if found.returncode == 0:
                # No warnings from their headers.
                flags += [re.sub("^-I", "-isystem", flag) for flag in shlex.split(found.stdout)] + ["-fPIC"]
                break
        else:
            raise RuntimeError(f"not installed: {' or '.join(candidates)}")
    return flags


def precompile(options, folder):
    """Compile the headers that come before the blocks, once for each standard; compile_block() names them to the compiler."""
    for standard in CXX_STANDARDS:
        header = folder / standard / "headers.hpp"
        header.parent.mkdir()
        header.write_text("".join(f"#include <{name}>\n" for name in HEADERS["cpp"].split()), encoding="utf-8")
        command = [options.cxx, f"-std={standard}", *WARNINGS, f"-I{ROOT / 'include'}", "-x", "c++-header", str(header)]
        subprocess.run([*command, "-o", f"{header}.gch"], check=True)


def compile_block(block, options, folder):
    """Compile, and link if it is a program. Returns the program or None; raises the compiler's messages."""
    cpp = block.language == "cpp"
    source = folder / ("block.cpp" if cpp else "block.c")
    source.write_text(block.source(), encoding="utf-8")
    standard = "c99" if not cpp else "c++20" if "c++20" in block.words else "c++17"
    command = [options.cxx if cpp else options.cc, f"-std={standard}", *WARNINGS, f"-I{ROOT / 'include'}", str(source)]
    program = None
    if block.is_program:
        program = folder / "program"
        library = options.library.resolve()
        command += ["-o", str(program), str(library), f"-Wl,-rpath,{library.parent}", "-pthread"]
    else:
        command += ["-fsyntax-only", *STATEMENTS]
        if cpp:
            command += ["-include", str(options.precompiled / standard / "headers.hpp")]
    command += library_flags(block)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return program


def run_program(block, program, url, folder):
    """Run a program with a server; raises if it fails or if its output differs from the page."""
    try:
        with ONE_PROGRAM:
            done = subprocess.run(
                [program, url],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"with {url}: still running after {TIMEOUT} s") from late
    if done.returncode != 0:
        raise RuntimeError(f"with {url}: ended with status {done.returncode}\n{done.stdout}{done.stderr}")
    if block.output and done.stdout != block.output.text:
        raise RuntimeError(
            f"with {url}: prints\n{done.stdout}and {block.output.place} says\n{block.output.text}{done.stderr}"
        )


def check(block, options, urls):
    """Check one block. Returns the failure, or None."""
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            program = compile_block(block, options, folder)
            if "run" in block.words:
                for url in urls:
                    run_program(block, program, url, folder)
    except RuntimeError as error:
        return f"{block.place}: {error}"
    return None


def main():
    """Check all pages, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("pages", type=Path, nargs="*")
    options = parser.parse_args()
    urls = [os.environ[f"WSLINK_TEST_URL_{version}"] for version in ("V1", "V2")]

    pages = options.pages or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        block for path in pages for block in blocks_of(path, os.path.relpath(path.resolve(), ROOT))
    ]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        options.precompiled = Path(name)
        precompile(options, options.precompiled)
        failures = [why for why in pool.map(lambda block: check(block, options, urls), blocks) if why]
    for why in failures:
        print(why, file=sys.stderr)
    run = sum("run" in block.words for block in blocks)
    print(f"{len(blocks)} blocks of {len(pages)} pages, {run} of them run; {len(failures)} failed")
    return 1 if failures or not blocks else 0


if __name__ == "__main__":
    sys.exit(main())
