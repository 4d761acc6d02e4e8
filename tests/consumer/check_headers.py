#!/usr/bin/env python3
"""Compiles each public header alone, and twice in one file, in every supported standard with warnings as errors.

    check_headers.py INCLUDE-DIR C-COMPILER C++-COMPILER
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

C = ["c99", "c11"]
CXX = ["c++17", "c++20"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only"]
# Adapters need the library that they are for: what pkg-config calls it, in each version that they are for.
ADAPTERS = {
    "nlohmann.hpp": ["nlohmann_json"],
    "qt.hpp": ["Qt6Core", "Qt6Core Qt6Gui", "Qt5Core", "Qt5Core Qt5Gui"],
    "glib.hpp": ["glib-2.0"],
}


def flags_of(modules):
    """The options for other libraries, whose headers are not what is checked."""
    done = subprocess.run(["pkg-config", "--cflags", *modules.split()], text=True, capture_output=True, check=True)
    return ["-fPIC", *done.stdout.replace("-I", "-isystem").split()]


def compiles(compiler, language, standard, include, header, *options):
    """Whether a file that includes the header twice compiles; what the compiler says is printed."""
    source = f'#include "{header}"\n#include "{header}"\nint used_by_no_one(void);\nint used_by_no_one(void) {{ return 0; }}\n'
    command = [compiler, "-x", language, f"-std={standard}", *STRICT, *options, "-I", include, "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    verdict = "ok    " if done.returncode == 0 else "FAILED"
    print(" ".join([verdict, header, standard, *options]) + f"\n{done.stderr}", end="")
    return done.returncode == 0


def main():
    """All headers in all standards."""
    include, c_compiler, cxx_compiler = sys.argv[1:]
    jobs = [(c_compiler, "c", standard, include, "wslink.h") for standard in C]
    root = Path(include)
    for path in [root / "wslink.h", *sorted(root.rglob("*.hpp"))]:
        header = str(path.relative_to(root))
        for flags in map(flags_of, ADAPTERS[path.name]) if path.parent.name == "adapters" else [[]]:
            jobs += [(cxx_compiler, "c++", standard, include, header, *flags) for standard in CXX]
    compat = "wslink/compat/wsWebsocketConnection.h"
    jobs += [(cxx_compiler, "c++", standard, include, compat, *flags_of("nlohmann_json")) for standard in CXX]
    if "clang" in cxx_compiler:  # the other standard library, which lacks some of C++20
        jobs += [(cxx_compiler, "c++", standard, include, "wslink.hpp", "-stdlib=libc++") for standard in CXX]
    without = ["-fno-exceptions", "-fno-rtti"]
    jobs.append((cxx_compiler, "c++", "c++17", include, "wslink.hpp", *without))
    for adapter in ["qt.hpp", "glib.hpp"]:  # their libraries are used in such programs
        flags = [*flags_of(ADAPTERS[adapter][0]), *without]
        jobs.append((cxx_compiler, "c++", "c++17", include, f"wslink/adapters/{adapter}", *flags))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fine = list(pool.map(lambda job: compiles(*job), jobs))
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
