use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use zip::write::SimpleFileOptions;

use crate::emulator::Emulator;
use crate::error::{AboutFile, Error, Result};
use crate::settings::Settings;
use crate::template::Template;

const BUCKET: &str = "ordersaga-local-artifacts";

/// The emulator's bucket for packaged functions.
pub struct Store<'a> {
    emulator: &'a Emulator,
    infra: PathBuf,
}

impl<'a> Store<'a> {
    pub async fn open(emulator: &'a Emulator, settings: &Settings) -> Result<Self> {
        emulator.make_bucket(BUCKET).await?;
        Ok(Self { emulator, infra: settings.infra() })
    }

    /// Uploads what the template names and is not among `uploaded` yet. Answers the template that names the objects.
    pub async fn pack(&self, template: &Template, uploaded: &mut BTreeSet<String>) -> Result<String> {
        let mut objects = BTreeMap::new();
        for path in template.local_paths() {
            let source = self.infra.join(path);
            let missing = |_| Error::Template {
                template: template.file.clone(),
                reason: format!("it names {path}, and there is nothing"),
            };
            let metadata = std::fs::metadata(&source).map_err(missing)?;
            let key = if metadata.is_dir() {
                self.upload_folder(&source, uploaded).await?
            } else {
                self.upload_file(&source, uploaded).await?
            };
            objects.insert(path.to_owned(), format!("s3://{BUCKET}/{key}"));
        }
        Ok(template.with_paths(&objects))
    }

    async fn upload_folder(&self, folder: &Path, uploaded: &mut BTreeSet<String>) -> Result<String> {
        let bootstrap = folder.join("bootstrap");
        let key = format!("{}/{}.zip", name(folder), version(&bootstrap)?);
        if uploaded.contains(&key) {
            return Ok(key);
        }
        let packed = tokio::task::spawn_blocking(move || zip(&bootstrap))
            .await
            .map_err(|error| Error::Deploy(format!("packing {key} failed: {error}")))??;
        self.emulator.put_object(BUCKET, &key, packed).await?;
        uploaded.insert(key.clone());
        Ok(key)
    }

    async fn upload_file(&self, file: &Path, uploaded: &mut BTreeSet<String>) -> Result<String> {
        let key = format!("{}/{}", version(file)?, name(file));
        if !uploaded.contains(&key) {
            let content = std::fs::read(file).about("cannot read", file)?;
            self.emulator.put_object(BUCKET, &key, content).await?;
            uploaded.insert(key.clone());
        }
        Ok(key)
    }
}

/// Uploads a template and returns its address, as SAM does: a template in a request may have 51,200 bytes, one in S3 a
/// million (CloudFormation User Guide, "Understand CloudFormation quotas").
pub async fn upload_template(emulator: &Emulator, stack: &str, body: &str) -> Result<String> {
    let key = format!("templates/{stack}.yaml");
    emulator.put_object(BUCKET, &key, body.as_bytes().to_vec()).await?;
    Ok(format!("https://s3.amazonaws.com/{BUCKET}/{key}"))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Changes when the file does: its time and its size. Reading 23 functions to hash them would take longer than the rest
/// of an unchanged deployment.
fn version(file: &Path) -> Result<String> {
    let metadata = std::fs::metadata(file).about("cannot read", file)?;
    let modified = metadata.modified().about("cannot read", file)?;
    let stamp = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{stamp:x}-{:x}", metadata.len()))
}

/// One executable file, as Lambda wants it.
pub fn zip(bootstrap: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(bootstrap)
        .and_then(|mut file| file.read_to_end(&mut content))
        .about("cannot read", bootstrap)?;
    // Level 1: three times smaller than not packed, in a third of the default's time.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(1))
        .unix_permissions(0o755);
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive
        .start_file("bootstrap", options)
        .map_err(std::io::Error::other)
        .about("cannot pack", bootstrap)?;
    archive.write_all(&content).about("cannot pack", bootstrap)?;
    let packed = archive.finish().map_err(std::io::Error::other).about("cannot pack", bootstrap)?;
    Ok(packed.into_inner())
}
