//! Whether a function can run in Lambda's image: its C library must not be newer than the image's.

use local_stack::{Function, Settings};

/// glibc of Amazon Linux 2023, which provided.al2023 is made of (AL2023 user guide, "Comparing AL2 and AL2023").
const GLIBC: u32 = 34;
/// The symbol prefix by which a program names the versions that it needs, such as `GLIBC_2.34`.
const MARK: &[u8] = b"GLIBC_2.";

/// Says so if one of the functions needs a newer C library than Lambda has; else nothing.
pub fn hint(settings: &Settings, functions: &[Function]) -> String {
    let needs = |function: &Function| {
        let bootstrap = settings.target.join("lambda").join(&function.name).join("bootstrap");
        needed(&std::fs::read(bootstrap).unwrap_or_default())
    };
    match functions.iter().filter_map(needs).max() {
        Some(minor) if minor > GLIBC => format!(
            " The functions were built for this machine's C library, glibc 2.{minor}; Lambda's is 2.{GLIBC}: add --build."
        ),
        _ => String::new(),
    }
}

/// The minor version of the newest glibc that a program names.
fn needed(program: &[u8]) -> Option<u32> {
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let versions = marks.filter_map(|(at, _)| {
        let rest = program.get(at + MARK.len()..)?;
        let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse().ok()
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts() {
        assert_eq!(needed(b"\0GLIBC_2.2.5\0GLIBC_2.38\0GLIBC_2.17\0"), Some(38));
        assert_eq!(needed(b"\x7fELF statically linked"), None);
    }
}
