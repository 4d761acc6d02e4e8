//! include/wslink.h is what cbindgen makes of src/ffi. WSLINK_BLESS=1 cargo test --test header rewrites it.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    // In an order that suits readers.
    let chapters = [
        "version", "codes", "pointer", "callback", "error", "buffer", "document", "value", "args", "config",
        "listener", "process", "launcher", "session",
    ];
    for file in root.join("src/ffi").read_dir().unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let inside = ["mod.rs", "guard.rs"].contains(&&*name);
        assert!(
            inside || name.strip_suffix(".rs").is_some_and(|name| chapters.contains(&name)),
            "no chapter for {name}"
        );
    }
    let builder = chapters.iter().fold(cbindgen::Builder::new().with_config(config), |builder, chapter| {
        builder.with_src(root.join("src/ffi").join(chapter).with_extension("rs"))
    });
    let mut made = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/wslink.h");
    if std::env::var_os("WSLINK_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "include/wslink.h is out of date: run WSLINK_BLESS=1 cargo test --test header");
}
