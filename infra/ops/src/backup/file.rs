//! The files of an export: a folder with one gzip file of JSON lines for each table, and a manifest.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use local_stack::AboutFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;
/// Only the owner reads what holds personal data.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// What an export holds. Written last, so an export without it was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    pub stage: String,
    /// Each table was read at some time between these.
    pub began: Timestamp,
    pub ended: Timestamp,
    pub tables: Vec<TableFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFile {
    pub context: String,
    pub items: u64,
    /// Of the file as it is.
    pub sha256: String,
}

/// An export that is being written.
#[derive(Debug)]
pub struct Folder(PathBuf);

/// One table's file that is being written.
pub struct Writer {
    context: String,
    path: PathBuf,
    file: Mutex<(GzEncoder<File>, u64)>,
}

impl Manifest {
    pub fn new(stage: &str, began: Timestamp, ended: Timestamp, tables: Vec<TableFile>) -> Self {
        Self { version: VERSION, stage: stage.to_owned(), began, ended, tables }
    }
}

impl Folder {
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).about("cannot make", parent)?;
        }
        fs::DirBuilder::new().mode(PRIVATE_FOLDER).create(path).about("cannot make the new folder", path)?;
        Ok(Self(path.to_owned()))
    }

    /// # Errors
    /// The file cannot be made.
    pub fn table(&self, context: &str) -> Result<Writer> {
        let path = file_of(&self.0, context);
        let file = new_file(&path)?;
        let file = Mutex::new((GzEncoder::new(file, Compression::default()), 0));
        Ok(Writer { context: context.to_owned(), path, file })
    }

    /// # Errors
    /// The manifest cannot be written.
    pub fn complete(&self, manifest: &Manifest) -> Result<()> {
        let path = self.0.join(MANIFEST);
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(std::io::Error::other)
            .about("cannot write", &path)?;
        let mut file = new_file(&path)?;
        Ok(file.write_all(&text).and_then(|()| file.sync_all()).about("cannot write", &path)?)
    }
}

impl Writer {
    /// Adds items, one a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&self, items: &[Value]) -> Result<()> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            writeln!(place.0, "{item}").about("cannot write", &self.path)?;
            place.1 += 1;
        }
        Ok(())
    }

    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<TableFile> {
        let (file, items) = self.file.into_inner().unwrap_or_else(PoisonError::into_inner);
        file.finish().and_then(|file| file.sync_all()).about("cannot write", &self.path)?;
        Ok(TableFile { context: self.context, items, sha256: hash(&self.path)? })
    }
}

/// The manifest of an export, whose files are whole.
///
/// # Errors
/// It has no manifest, or a file is not what was written.
pub fn checked(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| {
        Error::Backup(format!("{} cannot be read ({error}): this is no complete export", path.display()))
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Error::Backup(format!("{} cannot be read: {error}", path.display())))?;
    if manifest.version != VERSION {
        let found = manifest.version;
        return Err(Error::Backup(format!("{} has version {found}, and {VERSION} is known", path.display())));
    }
    for table in &manifest.tables {
        let path = file_of(folder, &table.context);
        if hash(&path)? != table.sha256 {
            return Err(Error::Backup(format!(
                "{} is not the file that was written: use another export",
                path.display()
            )));
        }
    }
    Ok(manifest)
}

/// The items of a table in an export.
///
/// # Errors
/// The file cannot be read.
pub fn items(folder: &Path, context: &str) -> Result<impl Iterator<Item = Result<Value>>> {
    let path = file_of(folder, context);
    let file = File::open(&path).about("cannot read", &path)?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Ok(lines.map(move |line| {
        let line = line.about("cannot read", &path)?;
        serde_json::from_str(&line).map_err(|error| Error::Backup(format!("{}: {error}", path.display())))
    }))
}

fn file_of(folder: &Path, context: &str) -> PathBuf {
    folder.join(format!("{context}.jsonl.gz"))
}

fn new_file(path: &Path) -> Result<File> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE).open(path);
    Ok(file.about("cannot make", path)?)
}

fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).about("cannot read", path)?;
    let (mut hash, mut part) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut part).about("cannot read", path)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&part[..read]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn export(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ordersaga-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let folder = Folder::create(&path).unwrap();
        let writer = folder.table("orders").unwrap();
        writer.add(&[json!({"pk": {"S": "A"}}), json!({"pk": {"S": "B"}})]).unwrap();
        let file = writer.finish().unwrap();
        assert_eq!(file.items, 2);
        let at = Timestamp::UNIX_EPOCH;
        folder.complete(&Manifest::new("local", at, at, vec![file])).unwrap();
        path
    }

    #[test]
    fn an_export_is_read_as_it_was_written() {
        let folder = export("whole");
        assert_eq!(checked(&folder).unwrap().stage, "local");
        let items: Vec<Value> = items(&folder, "orders").unwrap().map(Result::unwrap).collect();
        assert_eq!(items, [json!({"pk": {"S": "A"}}), json!({"pk": {"S": "B"}})]);
        assert!(Folder::create(&folder).is_err(), "an export is not written over");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_damaged_or_interrupted_export_is_refused() {
        let folder = export("damaged");
        let file = file_of(&folder, "orders");
        let mut bytes = fs::read(&file).unwrap();
        bytes[12] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(checked(&folder).unwrap_err().to_string().contains("is not the file that was written"));
        fs::remove_file(folder.join(MANIFEST)).unwrap();
        assert!(checked(&folder).unwrap_err().to_string().contains("no complete export"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
