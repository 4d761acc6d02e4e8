#!/usr/bin/env python3
"""Compiles each public header alone, and twice in one file, in every supported standard with warnings as errors. Then it
checks them after macros with the names that well-known headers define (macros.txt).

    check_headers.py INCLUDE-DIR C-COMPILER C++-COMPILER
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

C = ["c99", "c11"]
CXX = ["c++17", "c++20"]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only"]
# The libraries of adapters: their pkg-config names in each supported version.
ADAPTERS = {
    "nlohmann.hpp": ["nlohmann_json"],
    "qt.hpp": ["Qt6Core", "Qt6Core Qt6Gui", "Qt5Core", "Qt5Core Qt5Gui"],
    "glib.hpp": ["glib-2.0"],
}
# What macros of the library for an adapter are made of.
NEEDED = {"glib.hpp": {"FALSE", "TRUE"}}


def flags_of(modules):
    """Compiler options for other libraries, whose headers are not checked."""
    done = subprocess.run(["pkg-config", "--cflags", *modules.split()], text=True, capture_output=True, check=True)
    return ["-fPIC", *done.stdout.replace("-I", "-isystem").split()]


def after_macros(root, header, language):
    """The text before a header: the other headers that the public headers include, because they would not compile after
    the macros, and then the macros."""
    ours = [root / header]
    if language == "c++":
        ours += [root / "wslink.h", *root.glob("wslink/*.hpp")]
    if "compat" in header:
        ours.append(root / "wslink/adapters/nlohmann.hpp")
    included = sorted({name for path in ours for name in re.findall(r"^#include <(.*)>", path.read_text(), re.M)})
    lines = []
    for name in included:
        # C++20 headers, if the standard library has them; QtGui headers, if QtGui is used.
        since_20 = f"__cplusplus >= 202002L && __has_include(<{name}>)"
        condition = since_20 if name in ("coroutine", "stop_token") else None
        condition = condition or ("defined(QT_GUI_LIB)" if name.startswith("QtGui/") else None)
        lines += [f"#if {condition}", f"#include <{name}>", "#endif"] if condition else [f"#include <{name}>"]
    for line in Path(__file__).with_name("macros.txt").read_text(encoding="utf-8").splitlines():
        name = line.removesuffix("()")
        if name and not line.startswith("#") and name not in NEEDED.get(Path(header).name, ()):
            parameters = "(...)" if line.endswith("()") else ""
            lines += [f"#undef {name}", f"#define {name}{parameters} ]{name}_is_a_macro_elsewhere["]
    return "\n".join(lines) + "\n"


def uses_macros(compiler, language, standard, include, header, *options):
    """Whether the preprocessor finds one of the macros in the header; it prints them. The output is not compiled,
    because the macros expand to invalid code."""
    source = after_macros(Path(include), header, language) + f'#include "{header}"\n'
    command = [compiler, "-x", language, f"-std={standard}", *options, "-I", include, "-E", "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    found = sorted(set(re.findall(r"\](\w+)_is_a_macro_elsewhere\[", done.stdout)))
    fine = done.returncode == 0 and not found
    what = f" uses names that are macros elsewhere: {', '.join(found)}" if found else ""
    print(f"{'ok    ' if fine else 'FAILED'} {header} {standard} after macros{what}\n{done.stderr}", end="")
    return not fine


def compiles(compiler, language, standard, include, header, *options):
    """Whether a file that includes the header twice compiles; the compiler's messages are printed."""
    source = f'#include "{header}"\n#include "{header}"\nint used_by_no_one(void);\nint used_by_no_one(void) {{ return 0; }}\n'
    command = [compiler, "-x", language, f"-std={standard}", *STRICT, *options, "-I", include, "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    verdict = "ok    " if done.returncode == 0 else "FAILED"
    print(" ".join([verdict, header, standard, *options]) + f"\n{done.stderr}", end="")
    return done.returncode == 0


def main():
    """Check all headers in all standards."""
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
        fine += pool.map(lambda job: not uses_macros(*job), jobs)
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
