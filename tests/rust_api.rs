//! docs/rust-api.txt lists the Rust API, so that a change of it is seen; docs/abi.md tells what it promises.
//!
//!     cargo test --test rust_api                   (WSLINK_BLESS=1 in the environment writes the list anew)
//!
//! Not among the tests that a plain `cargo test` runs: it reads what rustdoc knows in a format that is not stable yet, so
//! that the crate that reads it and the compiler must fit together.

use std::path::Path;
use std::process::Command;

#[test]
fn the_rust_api_is_the_listed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A folder of its own: with this variable set, cargo builds all dependencies anew.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust-api");
    let status = Command::new(env!("CARGO"))
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .args(["rustdoc", "--locked", "--lib", "--", "-Zunstable-options", "--output-format=json"])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "rustdoc failed");

    let api = public_api::Builder::from_rustdoc_json(target.join("doc/wslink.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .expect("public-api of this version reads what this rustdoc writes");
    // The modules come first; what the crate itself offers comes after them.
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
