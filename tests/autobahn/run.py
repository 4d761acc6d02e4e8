#!/usr/bin/env python3
"""Runs the client cases of the Autobahn test suite with the library's reader and writer of frames, and compares the
verdicts with expected.txt.

    tests/autobahn/run.py [--update]
    tests/autobahn/run.py --can-run     succeeds if Python 2.7 was found

The suite is a program for Python 2.7. It is installed with pip, in the pinned versions of requirements.txt, into
target/autobahn; a `python2.7` must be in the PATH, among the versions of pyenv, or be named by PYTHON27.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPECTED = HERE / "expected.txt"
# Sections 12 and 13 test compression, which is not offered.
SECTIONS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
START = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


def python27():
    """The interpreter of the suite."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [os.environ.get("PYTHON27"), *sorted(map(str, pyenv.glob("versions/2.7*/bin/python2.7"))), "python2.7"]
    for candidate in candidates:
        if candidate and shutil.which(candidate):
            works = subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True, check=False)
            if works.returncode == 0:
                return candidate
    sys.exit("autobahn: no Python 2.7 with pip was found, which the suite needs; name one by PYTHON27")


def installed(python):
    """The folder of the suite."""
    wanted = (HERE / "requirements.txt").read_text()
    folder = ROOT / "target" / "autobahn" / "lib"
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    return folder


def free_port():
    """A free port, because the suite does not report a port that the system chooses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, server):
    """Wait until the server listens."""
    for _ in range(300):
        if server.poll() is not None:
            break
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("autobahn: the suite does not start")


def case_names(python, folder):
    """All cases of the sections, in the order of the suite."""
    code = (
        "import site, sys, json; site.addsitedir(sys.argv[1]);"
        "from autobahntestsuite.caseset import CaseSet; from autobahntestsuite import case;"
        "s = CaseSet(case.CaseSetname, case.CaseBasename, case.Cases, case.CaseCategories, case.CaseSubCategories);"
        "print(json.dumps(s.parseSpecCases({'cases': json.loads(sys.argv[2])})))"
    )
    done = subprocess.run([python, "-c", code, folder, json.dumps(SECTIONS)], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def verdicts():
    """The verdicts for each case: for its behaviour, and for the end of the connection."""
    python = python27()
    folder = installed(python)
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--example", "autobahn_client"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    reports = ROOT / "target" / "autobahn" / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    port = free_port()
    spec = reports.parent / "server.json"
    options = {"url": f"ws://127.0.0.1:{port}", "outdir": str(reports), "cases": SECTIONS, "webport": 0}
    spec.write_text(json.dumps({**options, "exclude-cases": [], "exclude-agent-cases": {}}))
    command = [python, "-c", START, folder, "-m", "fuzzingserver", "-s", spec]
    with (reports.parent / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, server)
        cases = case_names(python, folder)
        client = target / "debug" / "examples" / "autobahn_client"
        subprocess.run([client, str(port), *cases], check=True, stderr=subprocess.DEVNULL, timeout=600)
    finally:
        server.terminate()
        server.wait()
    found = json.loads((reports / "index.json").read_text())["wslink"]
    return {case: (found[case]["behavior"], found[case]["behaviorClose"]) for case in cases if case in found}, cases


def main():
    """Compare the verdicts, or rewrite the list."""
    if "--can-run" in sys.argv:
        python27()
        return
    found, cases = verdicts()
    lines = [f"{case:<9} {found[case][0]:<13} {found[case][1]}" for case in cases if case in found]
    missing = [case for case in cases if case not in found]
    if missing:
        sys.exit(f"autobahn: no verdict on {' '.join(missing)}")
    comments = [line for line in EXPECTED.read_text().splitlines() if line.startswith("#")] if EXPECTED.exists() else []
    if "--update" in sys.argv:
        EXPECTED.write_text("\n".join(comments + lines) + "\n")
    expected = [line for line in EXPECTED.read_text().splitlines() if not line.startswith("#")]
    for line in sorted(set(lines) ^ set(expected)):
        print("found:   " if line in lines else "expected:", line)
    count = {}
    for behaviour, _ in found.values():
        count[behaviour] = count.get(behaviour, 0) + 1
    print(f"{len(cases)} cases:", ", ".join(f"{n} {name}" for name, n in sorted(count.items())))
    sys.exit(lines != expected)


if __name__ == "__main__":
    main()
