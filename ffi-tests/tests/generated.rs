//! What is committed is what the library generates now.

use std::fs;

use ffi_tests::generate;

#[test]
fn the_committed_code_is_what_is_generated() {
    let folder = tempfile::tempdir().unwrap();
    let renews = std::env::var_os("VIGIE_GENERATE").is_some();
    for file in generate(folder.path()).unwrap() {
        if renews {
            fs::create_dir_all(file.path.parent().unwrap()).unwrap();
            fs::write(&file.path, &file.text).unwrap();
        }
        let committed = fs::read_to_string(&file.path).unwrap_or_default();
        if committed != file.text {
            panic!(
                "{} is not what is generated now: VIGIE_GENERATE=1 cargo test -p ffi-tests --test generated",
                file.path.display()
            );
        }
    }
}
