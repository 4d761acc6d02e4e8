#!/usr/bin/env python3
"""Shows that the tests can fail: breaks one promise after the other in a copy of the sources, and demands that they
notice. For the session's state machine these are the simulation and the unit tests of the session, for publications that
wait the unit tests of the I/O floor, for reads that wait those of stalled transfers, for the tape those of the wire floor, for
the synchronisation of threads the models of tests/loom.

    tests/mutations.py [NAME...]     all, or those whose name or file contains one of the words

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

# Name, file in src/session, src/io or src/wire, what stands there exactly once, what is put in its place.
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
    ("a message of another form is taken for one like the last", "recognition.rs", "after.starts_with(common)",
     "!common.is_empty()"),
    ("a topic is taken for one that begins like it", "inbound.rs",
     "number.iter().all(u8::is_ascii_digit).then_some(same)", "Some(number.is_empty() || same)"),
    ("what is left undecoded is taken for one like the last", "inbound.rs",
     "last.recognize(Protocol::V2, message) != Some(true)", "last.recognize(Protocol::V2, message).is_none()"),
    ("a reply is taken for the last one", "inbound.rs", "ReplyId::number(number)", "ReplyId::number(b\"1\")"),
    ("a message that came in pieces is lost", "inbound.rs", "self.completed = self.completed.max(Some(text.len() as u64));",
     "self.completed = self.completed.max(Some(text.len() as u64));\n                if text.len() % 5 == 0 { return Ok(None); }"),
]

SYNCHRONISATION = [
    ("taking a callback back does not wait", "callback.rs", "while state.running.iter().any(|t| *t != me) {",
     "while state.running.iter().filter(|t| **t != me).count() > 9 {"),
    ("taking a callback back waits for its own thread", "callback.rs", "while state.running.iter().any(|t| *t != me) {",
     "while state.running.iter().any(|t| *t == me || *t != me) {"),
    ("nobody is told that a callback has returned", "callback.rs", "self.idle.notify_all();", ""),
    ("a slot is idle before its callback is dropped", "callback.rs", "guarded(|| drop(callback));", ""),
    ("nobody knows who is inside a callback", "callback.rs", "state.running.push(me);", ""),
    (
        "the version of a callback changes later than it",
        "callback.rs",
        "self.version.fetch_add(1, AcqRel);\n"
        "            std::mem::replace(&mut state.callback, callback)\n        };",
        "std::mem::replace(&mut state.callback, callback)\n        };\n        self.version.fetch_add(1, AcqRel);",
    ),
    ("the version of a callback never changes", "callback.rs", "self.version.fetch_add(1, AcqRel);", ""),
    (
        "nobody looks again after letting go of the socket",
        "link.rs",
        "Ok(Flushed::Everything) if pending.messages.is_empty() && pending.controls.is_empty() => {",
        "Ok(Flushed::Everything) if pending.messages.len() < usize::MAX => {",
    ),
    ("control frames are not looked for again", "link.rs", " && pending.controls.is_empty() => {", " => {"),
    (
        "a message that is put in counts as written",
        "link.rs",
        "        self.at_rest.store(false, Release);\n        pending.messages.push",
        "        pending.messages.push",
    ),
    (
        "a control frame that is put in counts as written",
        "link.rs",
        "        self.at_rest.store(false, Release);\n        queue_control",
        "        queue_control",
    ),
    (
        "all counts as written when the socket is full",
        "link.rs",
        "                    report.blocked = true;",
        "                    report.blocked = true;\n                    self.at_rest.store(true, Release);",
    ),
    ("the socket is let go of after the last look", "link.rs",
     "            drop(active);\n            self.waiting", "            self.waiting"),
    (
        "a flush counts for the next connection",
        "link.rs",
        "            drop(active);\n            self.waiting",
        "            drop(active);\n            drop(pending);\n            let mut pending = self.pending.lock();\n            self.waiting",
    ),
    ("the last flush does not wait", "link.rs", "if wait { Some", "if wait && most == 0 { Some"),
    ("a full socket is not told of", "link.rs", "report.blocked = true;", ""),
    ("nobody is told that there is more to write", "link.rs", "report.more = true;", ""),
    ("nobody is told that writing failed", "link.rs", "report.failed = true;", ""),
    (
        "the socket is taken to ask for a failure",
        "link.rs",
        "        self.pending.lock().failed.take()",
        "        let _socket = self.active.try_lock()?;\n        self.pending.lock().failed.take()",
    ),
    ("why writing failed is forgotten", "link.rs", "pending.failed = Some(e);", "drop(e);"),
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

WAITING = [
    ("a publication that waits undecoded is dropped with another", "room.rs", "        if part.len() == 0 {", "        if part.len() < 9 {"),
    ("one more is dispatched than was asked for", "room.rs", "(taken..together).for_each", "(taken..=together).for_each"),
    ("what waits undecoded takes no memory", "room.rs", "messages.memory() as u64", "messages.memory() as u64 * 0"),
    ("the memory of what is dropped is still counted", "room.rs", "        freed\n    }", "        freed * 0\n    }"),
    ("one that another takes the turn of is not counted", "delivery.rs",
     "inner.bytes -= waiting.drop_first(dropped);\n                lost += 1;", "inner.bytes -= waiting.drop_first(dropped);"),
    ("a room keeps more than it shall", "room.rs", "Policy::All(most) if full || self.len >= most =>",
     "Policy::All(most) if full || self.len > most =>"),
    ("nobody counts what cannot be decoded", "taking.rs", "self.count.fetch_add(1, Relaxed);", ""),
    ("what follows one that cannot be decoded is lost", "taking.rs", "self.malformed.note(error);",
     "self.malformed.note(error);\n                        return false;"),
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
    ("floats of the messages before are kept", "tape.rs", "            wide.floats.clear();\n", ""),
    ("a very long key is not found", "value.rs", "|| !name.is_self_contained() && document.any_text(name) == Some(key)", ""),
    ("a list of strings ends at a very long one", "document.rs", "(node.tag == Tag::Str).then(|| self.slice(node))", "None"),
    ("the beginning of another message is taken with its floats", "msgpack/decode.rs",
     "entries.iter().all(|entry| entry.is_self_contained())", "true"),
]

READING = [
    ("a read that must not wait does", "tcp.rs", "if wait && self.can_wait()", "if self.can_wait()"),
    ("no read waits", "tcp.rs", "if wait && self.can_wait()", "if false && wait"),
    ("only their number ends a row of reads that wait", "thread.rs", "c.readable && !(c.slow && long())", "c.readable"),
    ("a read waits although something is to be written", "receiving.rs", "self.flows && shared.link.is_at_rest()", "self.flows"),
]

SESSION_TESTS = (["--test", "simulation"], ["--lib", "session::"])
WAITING_TESTS = (["--lib", "io::"],)
TAPE_TESTS = (["--lib", "wire::"],)
READING_TESTS = (["--lib", "io::tcp::"], ["--test", "stalled_transfers"])
MODELS = (["--no-fail-fast", "--manifest-path", "tests/loom/Cargo.toml"],)


def copy_of_the_tree(to):
    """All files that git knows, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not name.startswith("tests/captures/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / name)


def tests(tree, which_tests):
    """What notices: names of failed tests, or the code of the compiler's error."""
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
    """Each mutation by itself."""
    words = sys.argv[1:]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        if found := tests(tree, [*SESSION_TESTS, *WAITING_TESTS, *READING_TESTS, *TAPE_TESTS, *MODELS]):
            sys.exit(f"the tests fail without any mutation: {found}")
        groups = (
            (MUTATIONS, "session", SESSION_TESTS),
            (WAITING, "io", WAITING_TESTS),
            (READING, "io", READING_TESTS),
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
