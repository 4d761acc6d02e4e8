//! Unsafe code is only in `src/ffi` and `src/platform`, each block says why it is sound, and `docs/unsafe.txt` lists all blocks.
//! `WSLINK_UPDATE=1 cargo test --test unsafe_code` rewrites the list.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All source files, by their paths in the repository.
fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    found.sort();
    let name = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap()
}

/// Whether a line of code has the word `unsafe`.
fn is_unsafe(line: &str) -> bool {
    without_comment(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}

/// A declaration of a function for C. Its documentation tells callers the conditions; its body is checked like all other code.
fn declares(line: &str) -> bool {
    ["unsafe extern \"C\"", "#[unsafe(no_mangle)]", "unsafe fn"].iter().any(|what| line.contains(what))
}

#[test]
fn unsafe_code_is_at_the_borders_only() {
    let mut permissions = Vec::new();
    for (name, text) in all_sources() {
        for (number, line) in text.lines().enumerate() {
            let at_the_border = ["src/ffi/", "src/platform/"].iter().any(|folder| name.starts_with(folder));
            assert!(at_the_border || !is_unsafe(line), "{name}:{}: {line}", number + 1);
            if without_comment(line).contains("allow(unsafe") {
                permissions.push(name.clone());
            }
        }
    }
    assert_eq!(permissions, ["src/ffi/mod.rs", "src/platform/mod.rs"], "the only places that permit unsafe code");
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(library.contains("#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]"));
}

#[test]
fn threads_are_started_only_where_signals_are_blocked() {
    for (name, text) in all_sources().iter().filter(|(name, _)| name != "src/platform/threads.rs") {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let starts = ["thread::spawn(", "thread::Builder", "thread::scope("].iter().any(|how| line.contains(how));
            assert!(!starts, "{name}:{}: {line}: use platform::threads::spawn", number + 1);
        }
    }
}

/// The comment that begins with `SAFETY:` directly above a line, or above the statement that ends with the line.
fn reason(lines: &[&str]) -> Option<String> {
    let begin = lines.iter().rposition(|line| line.trim_start().starts_with("// SAFETY:"))?;
    let (comment, code): (Vec<&str>, Vec<&str>) =
        lines[begin..].iter().map(|line| line.trim()).partition(|line| line.starts_with("//"));
    if code.len() > 3 {
        return None;
    }
    let words: Vec<_> = comment.iter().map(|line| line.trim_start_matches('/').trim()).collect();
    Some(words.join(" ").trim_start_matches("SAFETY:").trim().to_owned())
}

#[test]
fn every_block_of_unsafe_code_has_its_reason_and_is_listed() {
    let mut list = String::new();
    for (name, text) in all_sources() {
        let lines: Vec<_> = text.lines().collect();
        for number in (0..lines.len()).filter(|n| is_unsafe(lines[*n]) && !declares(lines[*n])) {
            let inside = lines[..=number].iter().rev().find_map(|line| {
                let rest = line.trim_start().trim_start_matches("pub").trim_start_matches("(super)").trim_start();
                let rest = rest.trim_start_matches("unsafe extern \"C\"").trim_start();
                let item = rest.strip_prefix("fn ").or(rest.strip_prefix("unsafe impl "));
                Some(item?.split(['(', '<', '{']).next()?.trim().to_owned())
            });
            let reason = reason(&lines[..number]).unwrap_or_else(|| panic!("{name}:{}: no reason", number + 1));
            list += &format!("{name} {}: {reason}\n", inside.unwrap_or_default());
        }
    }
    let path = root().join("docs/unsafe.txt");
    if std::env::var_os("WSLINK_UPDATE").is_some() {
        fs::write(&path, &list).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), list, "docs/unsafe.txt; see the top of this file");
}
