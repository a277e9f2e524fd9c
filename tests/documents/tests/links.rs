//! Follows every link of the Markdown files: to files, to headings, and to names in source files.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use documents::repository;

/// A link: its text and its target.
type Link = (String, String);

#[test]
fn every_link_leads_somewhere() {
    let files = markdown(&repository());
    assert!(files.len() > 10, "the documents were not found");
    let broken: Vec<String> = files.iter().flat_map(|file| broken(file)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_link_to_no_file_no_heading_or_no_name_is_seen() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("links");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("place.rs"), "pub fn place() {}\n").expect("a source");
    let page = folder.join("page.md");
    let found = |text: &str| {
        fs::write(&page, text).expect("a page");
        broken(&page).len()
    };
    let good = "# When it fails (`a-b`)\n[x](#when-it-fails-a-b) [y](place.rs) [`place`](place.rs) <https://a.b>\n\
                ```\n[no](link.md)\n```\n";
    assert_eq!(found(good), 0, "{:?}", broken(&page));
    assert_eq!(found("[x](#nothing)\n[y](other.md) [`cancel`](place.rs)\n"), 3);
}

fn broken(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a document");
    let links = links(&text).into_iter().filter(|(_, target)| !target.contains("://"));
    links.filter_map(|link| Some(format!("{}: {}", file.display(), complaint(file, &link)?))).collect()
}

fn complaint(file: &Path, (text, target): &Link) -> Option<String> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let to = match path {
        "" => file.to_owned(),
        path => file.parent().expect("a folder").join(path),
    };
    if !to.exists() {
        return Some(format!("[{text}]({target}): there is no such file"));
    }
    if !heading.is_empty() && !headings(&fs::read_to_string(&to).ok()?).iter().any(|slug| slug == heading) {
        return Some(format!("[{text}]({target}): there is no such heading"));
    }
    let name = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'))?;
    let is_source = to.extension() == Some(OsStr::new("rs")) && !name.contains(['/', '.']);
    let source = fs::read_to_string(&to).ok().filter(|_| is_source)?;
    (!source.contains(name)).then(|| format!("[{text}]({target}): the file does not name it"))
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else { break };
            let (_, text) = before.rsplit_once('[').unwrap_or_default();
            found.push((text.to_owned(), target.to_owned()));
            rest = after;
        }
    }
    found
}

/// The names by which GitHub links to headings.
fn headings(text: &str) -> Vec<String> {
    let titles =
        prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |title: &str| {
        let kept = title.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    titles.map(slug).collect()
}

/// The Markdown files of the repository, without what is built or downloaded.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let built =
        |path: &Path| ["target", ".git", ".aws-sam", "node_modules"].iter().any(|name| path.ends_with(name));
    entries
        .filter(|path| !built(path))
        .flat_map(|path| match path.is_dir() {
            true => markdown(&path),
            false => vec![path],
        })
        .filter(|path| path.extension() == Some(OsStr::new("md")))
        .collect()
}
