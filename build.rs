//! Gives the shared library its SONAME: the number of the ABI, see docs/abi.md.

/// Grows with every incompatible change of the C ABI.
const ABI: &str = "0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=WSLINK_ABI={ABI}");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "freebsd" | "android") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwslink.so.{ABI}");
        }
        Ok("macos") => println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libwslink.{ABI}.dylib"),
        _ => {}
    }
}
