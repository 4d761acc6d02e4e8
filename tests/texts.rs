//! `docs/texts.txt` lists every text that the library shows to people: errors, and lines of the log. A reviewer can read one file
//! next to `docs/error-style.md`, and sees every changed text. `WSLINK_UPDATE=1 cargo test --test texts` rewrites
//! the list.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
}

/// The value of a string literal in its source form, if it is one.
fn string(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let (mut text, mut chars) = (String::new(), inner.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (c, false) => text.push(c),
            (_, true) => match chars.next()? {
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                'n' => text.push_str("\\n"),
                c => text.push(c),
            },
        }
    }
    Some(text)
}

/// Whether a text is for people: it has several words.
fn is_prose(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 1);
    words.count() > 1
}

/// Collects the texts of Rust code. It skips attributes, which include documentation, and tests.
fn of_rust(code: TokenStream, texts: &mut Vec<String>) {
    let mut tokens = code.into_iter().peekable();
    let mut of_tests = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == '!'));
                let is_attribute =
                    |next: &TokenTree| matches!(next, TokenTree::Group(g) if g.delimiter() == Delimiter::Bracket);
                if let Some(attribute) = tokens.next_if(is_attribute) {
                    of_tests |= attribute.to_string().replace(' ', "").starts_with("[cfg(test)]")
                        || attribute.to_string().replace(' ', "").starts_with("[cfg(all(test");
                }
            }
            TokenTree::Group(group) => {
                // The body of the module or function with this attribute.
                let skipped = of_tests && group.delimiter() == Delimiter::Brace;
                of_tests &= !skipped;
                if !skipped {
                    of_rust(group.stream(), texts);
                }
            }
            TokenTree::Punct(p) if p.as_char() == ';' => of_tests = false,
            TokenTree::Literal(literal) => {
                texts.extend(string(&literal.to_string()).filter(|text| is_prose(text)));
            }
            _ => {}
        }
    }
}

/// Collects the texts of a C++ header; adjacent literals are separate texts.
fn of_cpp(code: &str, texts: &mut Vec<String>) {
    for line in code.lines() {
        let line = line.split("//").next().unwrap();
        if line.trim_start().starts_with(['#', '[']) || line.contains("WSLINK_DEPRECATED") {
            continue;
        }
        let inside = line.split('"').skip(1).step_by(2);
        texts.extend(inside.filter(|text| is_prose(text)).map(str::to_owned));
    }
}

#[test]
fn the_texts_are_the_listed_ones() {
    let mut list = String::from(
        "# Every text that the library shows to people, by the file that has it; {} is filled in. Written by tests/texts.rs.\n",
    );
    let mut sources = Vec::new();
    files(&root().join("src"), ".rs", &mut sources);
    files(&root().join("include/wslink"), ".hpp", &mut sources);
    for path in sources.iter().filter(|path| !path.to_str().unwrap().ends_with("_tests.rs")) {
        let code = fs::read_to_string(path).unwrap();
        let mut texts = Vec::new();
        match path.extension().is_some_and(|e| e == "rs") {
            true => of_rust(code.parse().unwrap(), &mut texts),
            false => of_cpp(&code, &mut texts),
        }
        if !texts.is_empty() {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            list += &format!("\n{name}\n");
            texts.iter().for_each(|text| list += &format!("    {text}\n"));
        }
    }
    let path = root().join("docs/texts.txt");
    if std::env::var_os("WSLINK_UPDATE").is_some() {
        fs::write(&path, &list).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == list,
        "docs/texts.txt is out of date: run WSLINK_UPDATE=1 cargo test --test texts and read the change"
    );
}
