//! Writes the documents; `cargo ops schemas` and its sisters run it.

use std::{env, fs, io, path::Path, process::ExitCode};

use documents::{Broken, Document, asyncapi, check, invocations, openapi, repository, schemas};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("say what to write: `schemas`, `openapi`, `asyncapi` or `events`")]
    Usage,
    #[error("{path} cannot be read or written")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is published, and may not change like this: {broken}. Keep the version as it was, and make a new one with \
         an upcaster (shared/contracts/README.md)"
    )]
    Broken { path: String, broken: Box<Broken> },
    #[error("{0} is not JSON")]
    NotJson(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["schemas"] => {
            let documents = schemas();
            refuse_breaking(&documents, &repository())?;
            write(&documents)
        }
        ["openapi"] => write(&[openapi()]),
        ["asyncapi"] => write(&[asyncapi()]),
        ["events"] => write(&invocations()),
        // The same check against another checkout: CI has the published ones there.
        ["check-schemas", published] => refuse_breaking(&schemas(), Path::new(published)),
        _ => Err(Failure::Usage),
    }
}

/// Compares each schema with the one in `published`, if there is one.
fn refuse_breaking(documents: &[Document], published: &Path) -> Result<(), Failure> {
    for document in documents.iter().filter(|document| !document.path.ends_with(".example.json")) {
        let file = published.join(&document.path);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Failure::File { path: file.display().to_string(), source }),
        };
        let old: Value =
            serde_json::from_str(&text).map_err(|_| Failure::NotJson(file.display().to_string()))?;
        check(&old, &document.content)
            .map_err(|broken| Failure::Broken { path: document.path.clone(), broken: Box::new(broken) })?;
    }
    Ok(())
}

fn write(documents: &[Document]) -> Result<(), Failure> {
    for document in documents {
        let file = document.file();
        let failed = |source| Failure::File { path: file.display().to_string(), source };
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        if fs::read_to_string(&file).is_ok_and(|before| before == document.text()) {
            continue;
        }
        fs::write(&file, document.text()).map_err(failed)?;
        println!("wrote {}", document.path);
    }
    Ok(())
}
