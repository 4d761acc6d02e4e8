//! docs/rust-api.txt lists the Rust API, so that a change is visible; docs/abi.md describes what the API promises.
//!
//!     cargo test --test rust_api                   (with WSLINK_BLESS=1 in the environment it rewrites the list)
//!
//! A plain `cargo test` does not run this test: rustdoc's output format is unstable, so the crate that reads it and the compiler
//! must match.

use std::path::Path;
use std::process::Command;

#[test]
fn the_rust_api_is_the_listed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The folder of this build, in which the dependencies have been checked already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .env("RUSTDOC", root.join("tests/rustdoc-json"))
        .env("CARGO_TARGET_DIR", target)
        // It is for the tests, and would build the library anew.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .args(["rustdoc", "--locked", "--lib", "--", "-Zunstable-options", "--output-format=json"])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "rustdoc failed");

    let api = public_api::Builder::from_rustdoc_json(target.join("doc/wslink.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .expect("public-api of this version reads what this rustdoc writes");
    // The modules come first, the items of the crate root after them.
    let lines: Vec<String> = api.items().map(ToString::to_string).collect();
    let of_the_crate =
        |line: &String| line.split(" wslink::").nth(1).is_some_and(|path| path.starts_with(char::is_uppercase));
    let first = lines.iter().position(of_the_crate).expect("the crate offers types");
    let made = lines[first..].join("\n") + "\n";

    let list = root.join("docs/rust-api.txt");
    if std::env::var_os("WSLINK_BLESS").is_some() {
        std::fs::write(&list, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&list).unwrap_or_default();
    for line in made.lines().filter(|line| !committed.lines().any(|known| known == *line)) {
        println!("+ {line}");
    }
    for line in committed.lines().filter(|line| !made.lines().any(|known| known == *line)) {
        println!("- {line}");
    }
    assert!(
        made == committed,
        "the Rust API differs from docs/rust-api.txt: if that is meant, WSLINK_BLESS=1 writes it anew"
    );
}
