//! Links the library so that the loader initialises it first.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Before the initialisers of the program's other libraries, so that what
    // they allocate is recorded (C++ statics, for one).
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst");
    // Our handler of forks stays registered, and what we defined is bound: never unload.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
