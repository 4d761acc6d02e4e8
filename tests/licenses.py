#!/usr/bin/env python3
"""Checks the licences and the sources of all Rust packages in the library, and of those that build and test it. It needs
no network.

    tests/licenses.py [--list]     --list: a line for each package of the library

It does not check advisories, whose database needs the network: `cargo install cargo-audit && cargo audit`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "registry+https://github.com/rust-lang/crates.io-index"
# Permissive licences; they only require attribution.
LIBRARY = {"Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0",
           "Unlicense", "Zlib"}
# Packages that only build or test the library are not distributed.
TOOLS = LIBRARY | {"MPL-2.0"}


def allowed(expression, licenses):
    """Whether these licences satisfy an SPDX expression. AND binds tighter than OR; "/" is an old form of OR."""
    tokens = re.findall(r"[()]|[^\s()/]+(?: WITH [^\s()/]+)?|/", expression)

    def either():
        met = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in licenses
        met = either()
        tokens.pop(0)
        return met

    return either() and not tokens


def main():
    """Print the violations."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    data = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    own = data["resolve"]["root"]
    library, waiting = set(), [own]
    while waiting:
        for dep in nodes[waiting.pop()]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]) and dep["pkg"] not in library:
                library.add(dep["pkg"])
                waiting.append(dep["pkg"])
    wrong = []
    for key, package in sorted(packages.items(), key=lambda item: item[1]["name"]):
        name = f"{package['name']} {package['version']}"
        if key != own and package["source"] != SOURCE:
            wrong.append(f"{name} comes from {package['source']}")
        if not allowed(package["license"] or "none", LIBRARY if key in library or key == own else TOOLS):
            wrong.append(f"{name} has the licence {package['license']}")
        if "--list" in sys.argv and key in library:
            print(f"{name:<32} {package['license']}")
    print(f"{len(library)} packages in the library on all platforms together, "
          f"{len(packages) - 1 - len(library)} more build and test it")
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    assert allowed("(MIT OR GPL-3.0) AND ISC", LIBRARY) and allowed("GPL-2.0/MIT", LIBRARY)
    assert not allowed("MIT AND GPL-3.0", LIBRARY) and not allowed("none", LIBRARY)
    main()
