//! Writes what is generated; `cargo ops schemas`, `openapi`, `asyncapi`, `events`, `ledger`, `templates` and `metrics`
//! run it.

use std::{env, fs, io, path::Path, process::ExitCode};

use documents::{
    Broken, Document, TemplateError, asyncapi, check, invocations, metrics_document, openapi, repository,
    schemas, templates,
};
use serde_json::Value;
use statemachine::{LedgerError, files};

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(
        "say what to write: `schemas`, `openapi`, `asyncapi`, `events`, `ledger`, `templates` or `metrics`"
    )]
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
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
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
        ["ledger"] => files(&repository())?
            .iter()
            .try_for_each(|file| write_text(&repository().join(file.path), file.path, &file.text)),
        ["templates"] => templates(&repository())?
            .iter()
            .try_for_each(|file| write_text(&repository().join(&file.path), &file.path, &file.text)),
        ["metrics"] => {
            let path = "infra/METRICS.md";
            write_text(&repository().join(path), path, &metrics_document()?)
        }
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
    documents.iter().try_for_each(|document| write_text(&document.file(), &document.path, &document.text()))
}

/// Writes a file unless it has this text already.
fn write_text(file: &Path, path: &str, text: &str) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: file.display().to_string(), source };
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if fs::read_to_string(file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::write(file, text).map_err(failed)?;
    println!("wrote {path}");
    Ok(())
}
