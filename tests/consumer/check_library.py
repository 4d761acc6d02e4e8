#!/usr/bin/env python3
"""Checks the built library and its header for what a compiler does not check.

    check_library.py exports LIBRARY SYMBOLS.TXT    its exports equal the committed list, and all are named wslink_*
    check_library.py soname LIBRARY NAME            it has this SONAME
    check_library.py used SYMBOLS.TXT PROGRAM...    each function of the list is used by one of the programs
    check_library.py declared HEADER SYMBOLS.TXT    the header declares exactly the functions of the list
    check_library.py sanitized SYMBOL FILE...       each file was compiled with the sanitizer that needs the symbol
"""

import re
import subprocess
import sys
from pathlib import Path


def run(*command):
    """The output of a command."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def nm(path, *options):
    """The names that nm lists, without versions."""
    return {line.split()[-1].split("@")[0] for line in run("nm", *options, path).splitlines() if line.strip()}


def committed(path):
    """The names in docs/symbols.txt; the file must be well-formed and sorted."""
    lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]
    for line in lines:
        if not re.fullmatch(r"wslink_[a-z0-9_]+ \d+\.\d+\.\d+", line):
            sys.exit(f"{path}: not a name and a version: {line!r}")
    names = [line.split()[0] for line in lines]
    if names != sorted(set(names)):
        sys.exit(f"{path} is not sorted, or names something twice")
    return set(names)


def same(what, actual, expected):
    """Ends the program with the differences, if there are any."""
    problems = [f"+ {name}" for name in sorted(actual - expected)] + [f"- {name}" for name in sorted(expected - actual)]
    if problems:
        sys.exit(f"{what}\n" + "\n".join(problems))
    print(f"{len(actual)} names agree")


def main():
    """Run one check."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    check, first, second, *more = sys.argv[1:]
    if check == "exports":
        same(f"{first} exports more (+) or less (-) than {second}", nm(first, "-D", "--defined-only"), committed(second))
    elif check == "declared":
        text = re.sub(r"/\*.*?\*/", "", Path(first).read_text(), flags=re.S)
        declared = set(re.findall(r"WSLINK_API\s[^;{]*?\b(wslink_\w+)\s*\(", text))
        same(f"{first} declares more (+) or less (-) than {second}", declared, committed(second))
    elif check == "soname":
        found = re.findall(r"\(SONAME\).*\[(.*)\]", run("readelf", "-d", first))
        if found != [second]:
            sys.exit(f"{first}: the SONAME is {found}, not {second}")
        print(f"SONAME {second}")
    elif check == "used":
        missing = committed(first).difference(*(nm(program, "-u") for program in (second, *more)))
        if missing:
            sys.exit(f"no program uses {', '.join(sorted(missing))}")
        print("every function is used")
    elif check == "sanitized":
        for path in [second, *more]:
            if first not in nm(path):
                sys.exit(f"{path} was not compiled with the sanitizer: there is no {first} in it")
        print(f"{first} is in all of them")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
