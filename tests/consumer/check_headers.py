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
# Adapters for other libraries are compiled by those of the tests that have the library.
ADAPTERS = {"nlohmann.hpp", "qt.hpp", "glib.hpp", "compat.hpp"}


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
    headers = sorted(path for path in root.rglob("*.hpp") if path.name not in ADAPTERS)
    for header in ["wslink.h", *(str(path.relative_to(root)) for path in headers)]:
        jobs += [(cxx_compiler, "c++", standard, include, header) for standard in CXX]
    jobs.append((cxx_compiler, "c++", "c++17", include, "wslink.hpp", "-fno-exceptions", "-fno-rtti"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fine = list(pool.map(lambda job: compiles(*job), jobs))
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
