//! Tells the linker what a Node addon needs.

fn main() {
    // Otherwise it is run again, and all is compiled, for any file that has changed.
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "node")]
    napi_build::setup();
}
