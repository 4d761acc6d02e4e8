#!/usr/bin/env python3
"""Lists the C ABI as text, so that a change is visible: constants, structs with their layout, callbacks, functions.

    check_abi.py listed HEADER C-COMPILER ABI VERSION LISTING    the listing matches the header
                                                                 (WSLINK_BLESS=1 in the environment writes it)
    check_abi.py compatible SOURCE-FOLDER                        the listing and docs/symbols.txt are compatible with
                                                                 those of the last release, the last tag v*
    check_abi.py prove HEADER C-COMPILER                         changes of the header are detected and classified
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TITLE = """\
# The C ABI on 64-bit systems, made by tests/consumer/check_abi.py from wslink.h; docs/abi.md tells what may change.
"""
# Not part of the ABI: the version, and macros that are only text for the compiler.
OTHER_MACROS = r"WSLINK_(H|API|STR_FROM|VERSION_\w+|\w+_INIT)$"


def parse(header):
    """The declarations of a header from cbindgen: (constants, handles, structs, callbacks, functions)."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.S)
    text = re.sub(r"#ifndef WSLINK_STR_FROM.*?#endif", "", text, flags=re.S)  # an inline function
    macros = re.findall(r"^#define (\w+)\b(?!\()", text, flags=re.M)
    constants = [name for name in macros if not re.match(OTHER_MACROS, name)]
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    text = re.sub(r'extern "C" \{|^\}(?!\s*\w)', "", text, flags=re.M)
    text = " ".join(text.split())

    structs, handles, callbacks, functions = {}, [], [], []

    def struct(match):
        members = [member.strip() for member in match[2].split(";") if member.strip()]
        structs[match[1]] = [re.fullmatch(r"(.*?)\s*(\w+)", member).groups() for member in members]
        return ""

    text = re.sub(r"typedef struct (\w+) \{([^}]*)\} \1;", struct, text)
    for declaration in filter(None, map(str.strip, text.split(";"))):
        if match := re.fullmatch(r"typedef struct (\w+) \1", declaration):
            handles.append(match[1])
        elif match := re.fullmatch(r"typedef (.+?\(\*(\w+)\))\((.*)\)", declaration):
            callbacks.append(match[1] + without_names(match[3]))
        elif match := re.fullmatch(r"WSLINK_API (.+?\w)\s*\((.*)\)", declaration):
            functions.append(match[1] + without_names(match[2]))
        else:
            sys.exit(f"not understood in the header: {declaration}")
    return constants, handles, structs, callbacks, functions


def without_names(parameters):
    """Parameters by type: their names are not part of the ABI."""
    if parameters.strip() == "void":
        return "(void)"
    return "(" + ", ".join(re.sub(r"\s*\w+$", "", parameter.strip()) for parameter in parameters.split(",")) + ")"


def listing(header, compiler, abi, version):
    """The listing of a header; the compiler supplies values and layouts."""
    constants, handles, structs, callbacks, functions = parse(header)
    prints = [f'printf("constant {name} = %lld\\n", (long long){name});' for name in constants]
    for name, members in structs.items():
        # A struct that begins with its size may get new members at its end.
        size = "grows" if members[0] == ("size_t", "size") else "%zu bytes"
        values = f"_Alignof({name})" if size == "grows" else f"sizeof({name}), _Alignof({name})"
        prints.append(f'printf("struct {name}: {size}, aligned to %zu\\n", {values});')
        for kind, member in members:
            prints.append(
                f'printf("member {name}.{member}: {kind} at %zu, %zu bytes\\n", '
                f"offsetof({name}, {member}), sizeof((({name} *)0)->{member}));"
            )
    program = f"#include <stdio.h>\n{header}\nint main(void) {{\n" + "\n".join(prints) + "\nreturn 0;\n}\n"
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "abi.c"), Path(folder, "abi")
        source.write_text(program)
        subprocess.run([compiler, "-std=c11", "-o", binary, source], check=True)
        values = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
    lines = [f"abi {abi}" if abi != "0" else f"abi 0 of version {version.rpartition('.')[0]}"]
    lines += values.splitlines()
    lines += [f"handle {name}" for name in handles]
    lines += [f"callback {callback}" for callback in callbacks]
    lines += [f"function {function}" for function in functions]
    return TITLE + "\n".join([lines[0], *sorted(lines[1:])]) + "\n"


def lost(old, new):
    """The lines of the old listing that the new one lacks; additions are compatible."""
    old, new = ([line for line in text.splitlines() if not line.startswith("#")] for text in (old, new))
    if old[0] != new[0]:
        print(f"a new ABI: {old[0]}, now {new[0]}")
        return []
    return [line for line in old if line not in new]


def listed(header, compiler, abi, version, path):
    """Check that the committed listing matches the header."""
    made = listing(Path(header).read_text(), compiler, abi, version)
    if os.environ.get("WSLINK_BLESS"):
        Path(path).write_text(made)
    committed = Path(path).read_text()
    if made != committed:
        for line in sorted(set(made.splitlines()) ^ set(committed.splitlines())):
            print("+" if line in made.splitlines() else "-", line)
        for line in lost(committed, made):
            print("programs that were built with it break:", line)
        sys.exit(f"the ABI is not the one in {path}; if that is meant (see docs/abi.md), run this with WSLINK_BLESS=1")
    print(f"{len(made.splitlines())} lines agree")


def compatible(root):
    """Check that the committed lists are compatible with those of the last release."""

    def git(*arguments):
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    tag = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    if tag is None:
        print("there is no release yet: the committed listing is all that there is to compare with")
        return
    tag = tag.strip()
    for name in ("abi.txt", "symbols.txt"):
        if git("cat-file", "-e", f"{tag}:docs/{name}") is None:
            sys.exit(f"{tag} has no docs/{name}")
    docs = Path(root, "docs")
    problems = lost(git("show", f"{tag}:docs/abi.txt"), (docs / "abi.txt").read_text())
    old, new = (
        dict(line.split() for line in text.splitlines() if not line.startswith("#"))
        for text in (git("show", f"{tag}:docs/symbols.txt"), (docs / "symbols.txt").read_text())
    )
    for name, since in new.items():
        if since != old.get(name, since):
            problems.append(f"{name} came in {old[name]}, not in {since}")
        if name not in old and number(since) <= number(tag[1:]):
            problems.append(f"{name} is not in {tag}, but said to be since {since}")
    if problems:
        sys.exit(f"not compatible with {tag}:\n" + "\n".join(problems))
    print(f"compatible with {tag}")


def number(version):
    """A version as a tuple that can be compared."""
    return [int(part) for part in re.match(r"\d+\.\d+\.\d+", version)[0].split(".")]


def prove(header, compiler):
    """Change the header in memory, one change at a time, and check what the listing shows."""
    text = Path(header).read_text()
    before = listing(text, compiler, "1", "1.0.0")
    changes = [  # what, pattern, replacement, seen in the listing, breaks programs
        ("a function removed", r"WSLINK_API\s[^;]*\bwslink_session_free\([^;]*;", "", True, True),
        ("a parameter of another type", r"(wslink_version_text\()void", r"\1int32_t style", True, True),
        ("another result", r"uint32_t (wslink_version\()", r"uint64_t \1", True, True),
        ("a constant changed", r"(#define WSLINK_ERR_TIMEOUT) -301", r"\1 -399", True, True),
        ("a constant removed", r"#define WSLINK_KIND_BIGINT 10", "", True, True),
        ("members swapped", r"(uint32_t policy|int32_t policy);(.*?)(uint32_t capacity);", r"\3;\2\1;", True, True),
        ("a struct passed whole grows", r"\} wslink_iter;", "int more; } wslink_iter;", True, True),
        ("a callback gets more", r"(\*wslink_log_fn\)\(void \*user,)", r"\1 int more,", True, True),
        ("a struct with a size grows", r"\} wslink_stats;", "uint64_t more; } wslink_stats;", True, False),
        ("a function added", r"(WSLINK_API uint32_t wslink_version\()", r"WSLINK_API int wslink_more(void);\n\1", True, False),
        ("a constant added", r"(#define WSLINK_OK 0)", r"#define WSLINK_MORE 5\n\1", True, False),
        ("a parameter renamed", r"(wslink_has\(const char \*)capability", r"\1name", False, False),
    ]
    wrong = 0
    for what, pattern, replacement, seen, breaks in changes:
        changed, count = re.subn(pattern, replacement, text, count=1, flags=re.S)
        if count != 1:
            sys.exit(f"{what}: the header has no {pattern}")
        after = listing(changed, compiler, "1", "1.0.0")
        fine = (after != before, bool(lost(before, after))) == (seen, breaks)
        wrong += not fine
        print("ok    " if fine else "WRONG ", what)
    if lost(before, listing(re.sub(r"#define WSLINK_OK 0", "", text), compiler, "2", "2.0.0")):
        sys.exit("a new ABI may lose what it wants")
    sys.exit(1 if wrong else 0)


def main():
    """Run one check."""
    checks = {"listed": (listed, 5), "compatible": (compatible, 1), "prove": (prove, 2)}
    check, arguments = checks.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if check is None or len(sys.argv) - 2 != arguments:
        sys.exit(__doc__)
    check(*sys.argv[2:])


if __name__ == "__main__":
    main()
