#!/usr/bin/env python3
"""Compiles statements that have no effect because their value is discarded. The compiler must warn of these and no others.

    check_discarded.py INCLUDE-DIR C++-COMPILER
"""

import re
import subprocess
import sys

WARNED = """
session.request("m");
session.request("m", 1).timeout(1s);
wslink::request(session.request("m")).timeout(1s);
make_request(session);
session.request("m").future();
session.request("m").future<wslink::outcome>();
session.request("m").await();
session.subscribe("t", [](const wslink::publication &) {});
make_subscription(session);
wslink::listener().accept();
wslink::by_reference(data, 1, [] {});
wslink::by_reference(std::vector<int>{1});
"""
QUIET = """
session.call("m");
session.request("m").wait();
session.request("m").then([](wslink::outcome &&) {});
session.request("m").send();
session.request("m").timeout(1s).send([](const wslink::error &) {});
kept.timeout(1s);
kept.arguments().add(1);
"""
BEFORE = """
#include <vector>
#include <wslink.hpp>
using namespace std::chrono_literals;
wslink::request make_request(const wslink::session &);
wslink::subscription make_subscription(const wslink::session &);
void statements(const wslink::session &session, wslink::request kept, const void *data);
void statements(const wslink::session &session, wslink::request kept, const void *data) {
"""


def main():
    """One line of the source for each statement."""
    include, compiler = sys.argv[1:]
    warned, quiet = WARNED.strip().splitlines(), QUIET.strip().splitlines()
    source = BEFORE + '#line 1 "statements"\n' + "\n".join(warned + quiet) + "\n(void)data; }\n"
    command = [compiler, "-x", "c++", "-std=c++20", "-fsyntax-only", "-I", include, "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    lines = {int(n) for n in re.findall(r"^statements:(\d+):.*\bwarning: .*nodiscard", done.stderr, re.M)}
    wrong = [f"no warning: {text}" for n, text in enumerate(warned, 1) if n not in lines]
    wrong += [f"a warning: {text}" for n, text in enumerate(quiet, len(warned) + 1) if n in lines]
    print("\n".join(wrong) or f"{len(warned)} warnings, {len(quiet)} without")
    if done.returncode != 0 or wrong:
        sys.exit(done.stderr)


if __name__ == "__main__":
    main()
