#!/usr/bin/env python3
"""Shows that the tests can fail: inserts defects into a copy of the sources, one at a time, and checks that the tests
detect each. The simulation and the unit tests of the session check its state machine, unit tests of the event queue check
overflow policies, unit tests of the wire code check the tape, and the models of tests/loom check the synchronisation of
threads.

    tests/mutations.py [NAME...]     all, or those whose name or file contains one of the words

Takes about ten seconds for each. WSLINK_SESSIONS is the number of simulated sessions for each (3000). Prints which tests
detect each defect; the exit status is 1 if a defect is not detected.
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

# Name, file in src/session, src/io or src/wire, text that occurs there exactly once, its replacement.
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
    ("a reply completes another call", "core.rs", "call.and_then(|call| self.calls.end(call))",
     "call.and_then(|call| self.calls.end(call ^ 1))"),
    (
        "calls are forgotten when the connection is lost",
        "core.rs",
        "                self.end_calls(|| error.clone());\n                self.announce(State::Lost",
        "                self.calls.drain();\n                self.announce(State::Lost",
    ),
    (
        "calls outlive their connection",
        "core.rs",
        "                self.end_calls(|| error.clone());\n                self.announce(State::Lost",
        "                self.announce(State::Lost",
    ),
    ("calls are forgotten when the session is closed", "core.rs", "self.end_calls(closed_error);", "self.calls.drain();"),
    (
        "a cancelled call is not completed",
        "core.rs",
        "self.complete(std::iter::once((id, completion, error)));\n                true",
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
        "Phase::Ready => {}\n            Phase::Closed | Phase::Closing { .. } => {",
        "Phase::Ready | Phase::Backoff { .. } => {}\n            Phase::Closed | Phase::Closing { .. } => {",
    ),
    (
        "a refused secret is tried again",
        "core.rs",
        "if !wanted || error.code() == Code::Auth && !self.secret_renewable {",
        "if !wanted {",
    ),
    ("nobody asked to reconnect", "core.rs", "let policy = self.options.reconnect.filter(|_| again);",
     "let policy = self.options.reconnect.filter(|_| again || true);"),
    ("more attempts than allowed", "reconnect.rs", "self.made >= max)", "self.made > max)"),
    ("attempts are not counted from zero after a stable connection", "core.rs", "self.attempts.lost(now, policy);", "let _ = policy;"),
    ("an attempt before its time", "core.rs", "Phase::Backoff { until } if now >= until =>",
     "Phase::Backoff { until } if now < until || now >= until =>"),
    ("attempts go on for longer than allowed", "reconnect.rs", ">= total)", "> 2 * total)"),
    ("the deadline of connecting is ignored", "core.rs", "Phase::Opening { deadline, .. } if now >= deadline => {",
     "Phase::Opening { deadline, .. } if now > deadline + self.options.connect_timeout => {"),
    ("closing waits for ever", "core.rs", "Phase::Closing { deadline } if now >= deadline => {",
     "Phase::Closing { deadline } if now > after(deadline, Duration::MAX) => {"),
    ("the heartbeat does not give up", "core.rs", "} else if self.pinged {", "} else if self.pinged && every.is_zero() {"),
    ("the heartbeat gives up a server that is busy", "core.rs", "if !self.calls.is_empty() {",
     "if self.calls.len() > usize::MAX - 1 {"),
    ("a publication is lost", "inbound.rs", "match envelope::topic(id) {\n            Some(topic) => self.topics.get(topic).map_or",
     "match envelope::topic(id).map(|t| if message.iter().map(|b| usize::from(*b)).sum::<usize>() % 7 == 0 { \"lost\" } else { t }) {\n            Some(topic) => self.topics.get(topic).map_or"),
    ("a message that came in pieces is lost", "inbound.rs", "self.completed = self.completed.max(Some(text.len() as u64));",
     "self.completed = self.completed.max(Some(text.len() as u64));\n                if text.len() % 5 == 0 { return Ok(Received::Nothing); }"),
]

SYNCHRONISATION = [
    ("taking a callback back does not wait", "delivery/callback.rs", "while state.running.iter().any(|t| *t != me) {",
     "while state.running.iter().filter(|t| **t != me).count() > 9 {"),
    ("taking a callback back waits for its own thread", "delivery/callback.rs", "while state.running.iter().any(|t| *t != me) {",
     "while state.running.iter().any(|t| *t == me || *t != me) {"),
    ("nobody is told that a callback has returned", "delivery/callback.rs", "self.idle.notify_all();", ""),
    ("a slot is idle before its callback is dropped", "delivery/callback.rs", "guarded(|| drop(callback));", ""),
    ("nobody knows who is inside a callback", "delivery/callback.rs", "state.running.push(me);", ""),
    (
        "nobody looks again after letting go of the socket",
        "transport/send_queue.rs",
        "Ok(Flushed::Everything) if pending.messages.is_empty() && pending.controls.is_empty() => return report,",
        "Ok(Flushed::Everything) if pending.messages.len() < usize::MAX => return report,",
    ),
    ("control frames are not looked for again", "transport/send_queue.rs", " && pending.controls.is_empty() => return", " => return"),
    ("the socket is let go of after the last look", "transport/send_queue.rs",
     "            drop(active);\n            self.backlog", "            self.backlog"),
    (
        "a flush counts for the next connection",
        "transport/send_queue.rs",
        "            drop(active);\n            self.backlog",
        "            drop(active);\n            drop(pending);\n            let mut pending = self.pending.lock();\n            self.backlog",
    ),
    ("the last flush does not wait", "transport/send_queue.rs", "if wait { Some", "if wait && budget == 0 { Some"),
    ("a full socket is not told of", "transport/send_queue.rs", "report.blocked = true;", ""),
    ("nobody is told that there is more to write", "transport/send_queue.rs", "report.more = true;", ""),
    ("nobody is told that writing failed", "transport/send_queue.rs", "report.failed = true;", ""),
    (
        "the socket is taken to ask for a failure",
        "transport/send_queue.rs",
        "        self.pending.lock().failed.take()",
        "        let _socket = self.active.try_lock()?;\n        self.pending.lock().failed.take()",
    ),
    ("why writing failed is forgotten", "transport/send_queue.rs", "pending.failed = Some(e);", "drop(e);"),
    ("a wake-up that has come counts as on its way", "wake.rs", "self.0.swap(false, AcqRel);", ""),
    ("a wake-up that failed counts as on its way", "wake.rs", ".inspect_err(|_| self.lower())", ""),
    (
        "the flag goes up after the wake-up",
        "wake.rs",
        "if self.0.swap(true, AcqRel) {\n            return Ok(());\n        }\n"
        "        send().inspect_err(|_| self.lower())",
        "if self.0.load(std::sync::atomic::Ordering::Acquire) {\n            return Ok(());\n        }\n"
        "        let sent = send();\n        self.0.swap(sent.is_ok(), AcqRel);\n        sent",
    ),
]

QUEUE = "delivery/queue.rs"
DELIVERY = [
    ("the memory of a dropped publication is still counted", QUEUE, "self.bytes -= bytes;\n            dropped", "dropped"),
    ("the memory of a dispatched publication is still counted", QUEUE, "self.bytes -= backlog.pop()", "self.bytes -= 0 * backlog.pop()"),
    ("a subscription keeps more than its policy allows", QUEUE, "queued < max && fits", "queued <= max && fits"),
    ("a replaced publication is not counted", QUEUE, "subscription.count_dropped((queued - kept) as u64);", ""),
    ("the first subscription always has its turn", QUEUE, "backlog.last_dispatched = self.dispatch_clock;", ""),
    ("a replaceable publication leaves in a batch", QUEUE, "            && !subscription.keeps_last()\n", ""),
    ("a state more than allowed is queued", QUEUE, "if self.states >= MAX_QUEUED_STATES", "if self.states > MAX_QUEUED_STATES"),
]

TAPE = [
    ("an integer of 60 bits loses its sign", "entry.rs", "self.0 as i64 >> FORM_BITS", "(self.0 >> FORM_BITS) as i64"),
    ("an integer of 61 bits is taken for one of 60", "entry.rs", "v << FORM_BITS >> FORM_BITS == v",
     "v << (FORM_BITS - 1) >> (FORM_BITS - 1) == v"),
    ("a length that does not fit is cut", "entry.rs", "|form| (len <= LONGEST && place <= LARGEST_MESSAGE)", "|form| (place <= LARGEST_MESSAGE)"),
    ("a place that does not fit is cut", "entry.rs", "|form| (len <= LONGEST && place <= LARGEST_MESSAGE)", "|form| (len <= LONGEST)"),
    ("a text is found by a length that is cut", "entry.rs", "u64::from(self.head()) == (len as u64) << FORM_BITS | u64::from(form::STR)",
     "self.head() == (len as u32) << FORM_BITS | form::STR"),
    ("a map that ends is not distinct any more", "entry.rs", "Entry(u64::from(self.head()) | u64::from(end) << 32)",
     "Entry(u64::from(self.head() & !1) | u64::from(end) << 32)"),
    ("floats beside the entries count for nothing", "tape.rs", "wide.floats.len() + 2 * wide.nodes.len()", "2 * wide.nodes.len()"),
    ("large integers beside the entries count for nothing", "tape.rs", "wide.floats.len() + 2 * wide.nodes.len()", "wide.floats.len()"),
    ("a very long key is not found", "value.rs", "|| !name.is_self_contained() && document.any_text(name) == Some(key)", ""),
    ("a list of strings ends at a very long one", "document.rs", "(node.tag == Tag::Str).then(|| self.slice(node))", "None"),
]

SESSION_TESTS = (["--test", "simulation"], ["--lib", "session::"])
DELIVERY_TESTS = (["--lib", "io::delivery::"],)
TAPE_TESTS = (["--lib", "wire::"],)
MODELS = (["--no-fail-fast", "--manifest-path", "tests/loom/Cargo.toml"],)


def copy_of_the_tree(to):
    """Copies all files that git knows, in their current state."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not name.startswith("tests/captures/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / name)


def tests(tree, which_tests):
    """The names of the failed tests, or the code of the compiler's error."""
    env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "mutations")}
    env.setdefault("WSLINK_SESSIONS", "3000")
    env.pop("WSLINK_SEED", None)
    found = []
    for which in which_tests:
        command = ["cargo", "test", "--locked", "--quiet", *which]
        try:
            done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            found.append("they hang" if which in MODELS else f"{which[1]} hangs")
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
    """Test the mutations one by one."""
    words = sys.argv[1:]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        if found := tests(tree, [*SESSION_TESTS, *DELIVERY_TESTS, *TAPE_TESTS, *MODELS]):
            sys.exit(f"the tests fail without any mutation: {found}")
        groups = (
            (MUTATIONS, "session", SESSION_TESTS),
            (DELIVERY, "io", DELIVERY_TESTS),
            (TAPE, "wire", TAPE_TESTS),
            (SYNCHRONISATION, "io", MODELS),
        )
        for (name, file, old, new), folder, which_tests in ((m, *rest) for group, *rest in groups for m in group):
            if words and not any(word in name or word in file for word in words):
                continue
            path = tree / "src" / folder / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f"{name}: {file} has {text.count(old)} places with {old!r}; the mutation has to be adapted")
            path.write_text(text.replace(old, new))
            found = tests(tree, which_tests)
            path.write_text(text)
            print(f"{name:<48} {'; '.join(found) or 'UNNOTICED'}", flush=True)
            unnoticed += not found
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
