#!/usr/bin/env python3
"""Shows that the tests of the session's state machine can fail: breaks one promise after the other in a copy of the
sources, and demands that the simulation or the unit tests of the session notice.

    tests/mutations.py [NAME...]     all, or those whose name contains one of the words

Takes about ten seconds for each. WSLINK_SESSIONS is how many sessions are simulated for each (3000). Ends with a table
of what noticed; the exit status is 1 if something stayed unnoticed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = "Some(completion) => self.effects.push_back(Effect::Complete(completion, outcome)),"

# Name, file in src/session, what stands there exactly once, what is put in its place.
MUTATIONS = [
    (
        "a reply completes its call twice",
        "core.rs",
        COMPLETE,
        "Some(completion) => {\n"
        "self.effects.push_back(Effect::Complete(completion, outcome.clone()));\n"
        "self.effects.push_back(Effect::Complete(completion, outcome));\n}",
    ),
    ("a reply completes nothing", "core.rs", COMPLETE, "Some(completion) => drop(completion),"),
    ("a reply completes another call", "core.rs", "self.calls.end(n))", "self.calls.end(n ^ 1))"),
    (
        "calls are forgotten when the connection is lost",
        "core.rs",
        "Phase::Ready => {\n                self.end_calls(|| error.clone());\n",
        "Phase::Ready => {\n                self.calls.drain();\n",
    ),
    (
        "calls outlive their connection",
        "core.rs",
        "Phase::Ready => {\n                self.end_calls(|| error.clone());\n",
        "Phase::Ready => {\n",
    ),
    ("calls are forgotten when the session is closed", "core.rs", "self.end_calls(closed_error);", "self.calls.drain();"),
    (
        "a cancelled call is not completed",
        "core.rs",
        "self.effects.push_back(Effect::Complete(completion, Err(error)));\n                true",
        "drop((completion, error));\n                true",
    ),
    ("deadlines of calls are ignored", "calls.rs", "if deadline > now {", "if deadline > now || id > 0 {"),
    (
        "calls time out a second early",
        "calls.rs",
        "if deadline > now {",
        "if deadline > now + std::time::Duration::from_secs(1) {",
    ),
    ("ids of calls are used again", "calls.rs", "self.next += 1;", "self.next = self.first + (id + 1 - self.first) % 4;"),
    ("what is to be done comes out of order", "core.rs", "self.effects.pop_front()", "self.effects.pop_back()"),
    (
        "calls are accepted while nothing is connected",
        "core.rs",
        "Phase::Ready => {}\n            Phase::Closed | Phase::Closing { .. } => return",
        "Phase::Ready | Phase::Waiting { .. } => {}\n            Phase::Closed | Phase::Closing { .. } => return",
    ),
    (
        "a refused secret is tried again",
        "core.rs",
        "if !wanted || error.code() == Code::Auth {",
        "if !wanted {",
    ),
    ("nobody asked to reconnect", "core.rs", "let policy = self.options.reconnect.filter(|_| again);",
     "let policy = self.options.reconnect.filter(|_| again || true);"),
    ("more attempts than allowed", "reconnect.rs", "self.made >= most)", "self.made > most)"),
    ("attempts are not counted anew", "core.rs",
     "self.was_ready = true;\n                self.failure = None;\n                self.attempts.reset();",
     "self.was_ready = true;\n                self.failure = None;"),
    ("an attempt before its time", "core.rs", "Phase::Waiting { until } if now >= until =>",
     "Phase::Waiting { until } if now < until || now >= until =>"),
    ("attempts go on for longer than allowed", "reconnect.rs", ">= total)", "> 2 * total)"),
    ("the deadline of connecting is ignored", "core.rs", "Phase::Opening { deadline, .. } if now >= deadline => {",
     "Phase::Opening { deadline, .. } if now > deadline + self.options.connect_timeout => {"),
    ("closing waits for ever", "core.rs", "Phase::Closing { deadline } if now >= deadline => {",
     "Phase::Closing { deadline } if now > after(deadline, Duration::MAX) => {"),
    ("the heartbeat does not give up", "core.rs", "} else if self.pinged {", "} else if self.pinged && every.is_zero() {"),
    ("the heartbeat gives up a server that is busy", "core.rs", "if !self.calls.is_empty() {",
     "if self.calls.len() > usize::MAX - 1 {"),
    ("a publication is lost", "inbound.rs", "let Some(topic) = envelope::topic(id) else {",
     "let Some(topic) = envelope::topic(id).map(|t| if message.iter().map(|b| usize::from(*b)).sum::<usize>() % 7 == 0 { \"lost\" } else { t }) else {"),
    ("a message that came in pieces is lost", "inbound.rs", "self.completed = Some(text.len() as u64);",
     "self.completed = Some(text.len() as u64);\n                if text.len() % 5 == 0 { return Ok(None); }"),
]


def copy_of_the_tree(to):
    """All files that git knows, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not name.startswith("tests/captures/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / name)


def tests(tree):
    """What notices: names of failed tests, or the code of the compiler's error."""
    env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "mutations")}
    env.setdefault("WSLINK_SESSIONS", "3000")
    env.pop("WSLINK_SEED", None)
    found = []
    for which in (["--test", "simulation"], ["--lib", "session::"]):
        command = ["cargo", "test", "--locked", "--quiet", *which]
        try:
            done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            found.append(f"{which[1]} hangs")
            continue
        text = done.stdout + done.stderr
        error = re.search(r"^error\[(E\d+)\]", text, re.M)
        if error:
            return [f"the compiler ({error[1]})"]
        failed = re.findall(r"^test (\S+) \.\.\. FAILED|^    ([\w:]+)$", text, re.M)
        if done.returncode:
            names = sorted({(a or b).split("::")[-1] for a, b in failed})
            found.append(", ".join(names) or text[-2000:])
    return found


def main():
    """Each mutation by itself."""
    words = sys.argv[1:]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        if found := tests(tree):
            sys.exit(f"the tests fail without any mutation: {found}")
        for name, file, old, new in MUTATIONS:
            if words and not any(word in name for word in words):
                continue
            path = tree / "src" / "session" / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f"{name}: {file} has {text.count(old)} places with {old!r}; the mutation has to be adapted")
            path.write_text(text.replace(old, new))
            found = tests(tree)
            path.write_text(text)
            print(f"{name:<48} {'; '.join(found) or 'UNNOTICED'}", flush=True)
            unnoticed += not found
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
