//! Makes a module of each function's binary: the simulation runs the code that is deployed, from its configuration on.

use std::{env, fmt::Write, fs, path::Path};

/// The contexts whose functions the simulation runs, in the order of their templates.
const CONTEXTS: [&str; 9] = [
    "orders",
    "inventory",
    "payments",
    "fulfillment",
    "notifications",
    "realtime",
    "catalog",
    "users",
    "storefront",
];
/// What a binary's `main` begins with.
const MAIN: &str = "#[tokio::main(flavor = \"current_thread\")]\nasync fn main()";

fn main() {
    let functions =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../functions");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).to_owned();
    let mut modules = String::new();
    let mut starts = String::new();
    for context in CONTEXTS {
        let folder = functions.join(context).join("src/bin");
        println!("cargo::rerun-if-changed={}", folder.display());
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        for file in files {
            let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let code =
                fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let module = code.replace(MAIN, "pub async fn main()");
            assert_ne!(module, code, "{} does not begin its main with {MAIN:?}", file.display());
            fs::write(out.join(format!("{name}.rs")), module).expect("the module can be written");
            let ident = name.replace('-', "_");
            writeln!(modules, "#[path = \"{}/{name}.rs\"]\nmod {ident};", out.display())
                .expect("it is a string");
            writeln!(starts, "    (\"{name}\", || Box::pin({ident}::main())),").expect("it is a string");
        }
    }
    let list = format!("{modules}\npub const FUNCTIONS: &[(&str, Start)] = &[\n{starts}];\n");
    fs::write(out.join("functions.rs"), list).expect("the list can be written");
    println!("cargo::rustc-env=SIMULATED_CONTEXTS={}", CONTEXTS.join(","));
}
