//! The files that are generated from the ledger are checked in as they are generated.

use std::{fs, path::Path};

use statemachine::files;

#[test]
fn the_files_are_what_the_ledger_says() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in files(&repository).expect("every part has its place") {
        let text = fs::read_to_string(repository.join(file.path)).unwrap_or_default();
        assert!(text == file.text, "{} differs from the ledger: run `cargo ops ledger`", file.path);
    }
}
