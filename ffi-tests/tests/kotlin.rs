//! Kotlin on the JVM, through the real library.
use ffi_tests::kotlin::Toolchain;

#[test]
fn it_compiles() {
    let toolchain = Toolchain::find().unwrap();
    println!("{:?}", toolchain.bindings().unwrap());
}
