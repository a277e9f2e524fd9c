//! The built functions that templates name: `target/lambda/<function>/bootstrap`.

use std::io::Read;
use std::path::{Path, PathBuf};

use local_stack::Template;

use crate::arch::Arch;
use crate::error::{Error, Result};

/// ELF: the magic number, and where the machine is (two bytes, little-endian).
const MAGIC: [u8; 4] = *b"\x7fELF";
const MACHINE_AT: usize = 18;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// The files that a template's functions are deployed from.
pub fn of(infra: &Path, template: &Template) -> Vec<PathBuf> {
    // Other paths name single files, such as the state machine's definition.
    let folders = template.local_paths().into_iter().filter(|path| path.ends_with('/'));
    folders.map(|path| infra.join(path).join("bootstrap")).collect()
}

/// Checks that every function of the templates is there and runs on `arch`.
///
/// # Errors
/// One is missing or for another processor: it would deploy and then fail at every invocation.
pub fn check(root: &Path, infra: &Path, templates: &[(&str, &Template)], arch: Arch) -> Result<()> {
    let mut wrong = Vec::new();
    for (context, template) in templates {
        for file in of(infra, template) {
            let what = match machine(&file) {
                Ok(Some(found)) if found == arch => continue,
                Ok(Some(found)) => format!("is for {}", found.name()),
                Ok(None) => "is no program for Lambda".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            let shown = file.strip_prefix(infra.join("..")).unwrap_or(&file);
            wrong.push((
                *context,
                format!("  {} {what}", shown.strip_prefix(root).unwrap_or(shown).display()),
            ));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = wrong.iter().map(|(context, _)| *context).collect();
    packages.dedup();
    let packages: String = packages.iter().map(|package| format!(" --package {package}")).collect();
    let lines: Vec<String> = wrong.into_iter().map(|(_, line)| line).collect();
    Err(Error::Deploy(format!(
        "the stage runs on {}, and these functions do not:\n{}\nBuild them with `cargo lambda build --release {}{packages}` \
         or leave out --no-build; --arch deploys for the other processor. Nothing was changed.",
        arch.name(),
        lines.join("\n"),
        arch.build_option(),
    )))
}

/// The processor that a program is for; none, when it is neither of those that Lambda has.
fn machine(file: &Path) -> std::io::Result<Option<Arch>> {
    let mut start = [0; MACHINE_AT + 2];
    let read = std::fs::File::open(file)?.read(&mut start)?;
    if read < start.len() || !start.starts_with(&MAGIC) {
        return Ok(None);
    }
    Ok(match u16::from_le_bytes([start[MACHINE_AT], start[MACHINE_AT + 1]]) {
        X86_64 => Some(Arch::X86_64),
        AARCH64 => Some(Arch::Arm64),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with `infra/x.yaml`, which names the function `x-api`, and what that is.
    fn folder(name: &str, content: &[u8]) -> (PathBuf, Template) {
        let root = std::env::temp_dir().join(format!("ops-bootstraps-{name}-{}", std::process::id()));
        let function = root.join("target/lambda/x-api");
        std::fs::create_dir_all(&function).unwrap();
        std::fs::create_dir_all(root.join("infra")).unwrap();
        std::fs::write(function.join("bootstrap"), content).unwrap();
        let file = root.join("infra/x.yaml");
        let text = "Resources:\n  A:\n    CodeUri: ../target/lambda/x-api/\n    DefinitionUri: ../statemachine/x.json\n";
        std::fs::write(&file, text).unwrap();
        let template = Template::read(&file).unwrap();
        (root, template)
    }

    fn elf(machine: u16) -> Vec<u8> {
        let mut content = vec![0; 64];
        content[..4].copy_from_slice(&MAGIC);
        content[MACHINE_AT..MACHINE_AT + 2].copy_from_slice(&machine.to_le_bytes());
        content
    }

    fn checked(name: &str, content: &[u8], arch: Arch) -> std::result::Result<(), String> {
        let (root, template) = folder(name, content);
        let result = check(&root, &root.join("infra"), &[("x", &template)], arch);
        std::fs::remove_dir_all(&root).unwrap();
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn a_function_for_the_other_processor_is_refused_with_the_command_that_builds_it() {
        checked("same", &elf(AARCH64), Arch::Arm64).unwrap();
        checked("x86", &elf(X86_64), Arch::X86_64).unwrap();
        let said = checked("other", &elf(X86_64), Arch::Arm64).unwrap_err();
        assert!(said.contains("target/lambda/x-api/bootstrap is for x86_64"), "{said}");
        assert!(said.contains("cargo lambda build --release --arm64 --package x"), "{said}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for content in [b"".as_slice(), b"#!/bin/sh\necho hello to you all", &elf(8)] {
            let said = checked("none", content, Arch::Arm64).unwrap_err();
            assert!(said.contains("is no program for Lambda"), "{said}");
        }
    }

    #[test]
    fn a_function_that_was_not_built_is_named() {
        let (root, template) = folder("missing", b"");
        std::fs::remove_file(root.join("target/lambda/x-api/bootstrap")).unwrap();
        let said =
            check(&root, &root.join("infra"), &[("x", &template)], Arch::Arm64).unwrap_err().to_string();
        std::fs::remove_dir_all(&root).unwrap();
        assert!(said.contains("x-api/bootstrap cannot be read"), "{said}");
    }
}
