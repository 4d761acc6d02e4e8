#!/usr/bin/env python3
"""Shows that fuzzing can find defects: inserts defects into a copy of the sources, one at a time, and runs the fuzz target
of that part, on the corpus and then on new inputs, for at most 60 seconds.

    fuzz/mutations.py [NAME...]     all, or those whose name or target contains one of the words

WSLINK_FUZZ_SECONDS is the time for each. Takes some minutes. Prints what detects each defect; the exit status is 1 if a
defect is not detected.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# First in the path, because this folder has a mutations.py too.
sys.path.insert(0, str(ROOT / "tests"))
from mutations import COMPLETE, copy_of_the_tree  # noqa: E402

# Name, target, file in src, text that occurs there exactly once, its replacement.
MUTATIONS = [
    ("a 16-bit number loses its sign", "msgpack", "wire/msgpack/decode.rs",
     "i64::from(i16::from_be_bytes(", "i64::from(u16::from_be_bytes("),
    ("a byte after the value is no error", "msgpack", "wire/msgpack/decode.rs",
     "return if r.left() == 0 {", "return if r.left() <= 1 {"),
    ("the upper half of a surrogate pair is shifted wrongly", "json", "wire/json/parse.rs",
     "(unit - 0xD800) << 10)", "(unit - 0xD800) << 9)"),
    ("a number may begin with 0", "json", "wire/json/parse.rs",
     "if digits > 1 && self.text[first] == b'0'", "if digits > 2 && self.text[first] == b'0'"),
    ("a byte of a long piece is lost", "v1_inbound", "session/inbound.rs",
     "data.advance(n);", "data.advance(n - usize::from(n > 99));"),
    ("a chunk of part of a message counts as all of it", "v2_inbound", "wire/chunks.rs",
     "header.total as usize == len", "header.total as usize >= len"),
    ("chunks that touch count as overlapping", "v2_inbound", "wire/chunks.rs",
     "o as usize + part.len() > offset as usize", "o as usize + part.len() >= offset as usize"),
    ("of the chunks that came early only one is used", "v2_inbound", "wire/chunks.rs",
     "while let Some(part) = message.ahead", "if let Some(part) = message.ahead"),
    ("there is an element behind the last one", "values", "wire/value.rs",
     "self.element == WHOLE && index < node.len as usize", "self.element == WHOLE && index <= node.len as usize"),
    ("a topic ends at its first colon", "envelope", "wire/envelope.rs", "rest.rfind(':')", "rest.find(':')"),
    ("a reply completes nothing", "session", "session/core.rs", COMPLETE, "Some(completion) => drop(completion),"),
    ("a call times out a second early", "session", "session/calls.rs", "if deadline > now {",
     "if deadline > now + std::time::Duration::from_secs(1) {"),
    ("a refused call keeps its user data", "c_api", "ffi/session.rs",
     ".map_err(|(error, _user)| error)?;",
     ".map_err(|(error, user)| {\nstd::mem::forget(user);\nerror\n})?;"),
    (
        "a call that failed is completed twice",
        "c_api",
        "ffi/session.rs",
        "completion(user.pointer(), std::ptr::null(), &raw const error);",
        "completion(user.pointer(), std::ptr::null(), &raw const error);\n"
        "completion(user.pointer(), std::ptr::null(), &raw const error);",
    ),
    ("a document is freed while the caller has it", "c_api", "ffi/document.rs",
     "Arc::into_raw(document).cast()", "Arc::as_ptr(&document).cast()"),
]


def fuzz(tree, target, seconds):
    """The finding of the target, and the inputs that led to it; None without a finding."""
    shutil.rmtree(tree / "target", ignore_errors=True)
    env = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target" / "fuzz-mutations"), "RUST_BACKTRACE": "0"}
    command = ["scripts/fuzz", target, str(seconds)]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, check=False)
    text = done.stderr.decode(errors="replace")
    if done.returncode == 0:
        return None
    found = re.search(r"panicked at .*:\n(.*)|AddressSanitizer: (\S+)|(libFuzzer: [\w -]+)", text)
    if not found:
        sys.exit(f"{target} failed without a finding:\n{text[-3000:]}")
    by = "new inputs" if "INITED" in text else "the corpus"
    return f"{by}: {next(filter(None, found.groups()), '')[:100]}"


def main():
    """Test the mutations one by one."""
    words, seconds = sys.argv[1:], int(os.environ.get("WSLINK_FUZZ_SECONDS", "60"))
    wanted = [m for m in MUTATIONS if not words or any(word in m[0] or word in m[1] for word in words)]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        for target in sorted({target for _, target, *_ in wanted}):
            if found := fuzz(tree, target, 1):
                sys.exit(f"{target} finds something without any mutation: {found}")
        for name, target, file, old, new in wanted:
            path = tree / "src" / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f"{name}: {file} has {text.count(old)} places with {old!r}; the mutation has to be adapted")
            path.write_text(text.replace(old, new))
            found = fuzz(tree, target, seconds)
            path.write_text(text)
            print(f"{name:<54} {target:<11} {found or 'UNNOTICED'}", flush=True)
            unnoticed += not found
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
