//! A backup of this machine's stack in files, and restoring it. On AWS, the tables' own backups are used: `backup`
//! checks them, and `restore` prints what to do.

mod file;
mod load;

use std::path::PathBuf;

use jiff::Timestamp;
use local_stack::{LOCAL_STAGE, Progress, Settings};
use serde_json::json;

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::replay::{Projection, Replay};
use crate::stage::Stage;
use crate::tables::{self, LANES, Part};
use file::{Folder, Manifest, TableFile};

/// The contexts whose tables are backed up, in the order in which they are read and written.
// The orders come last: whatever a context holds for an order was read before it, and is there when the restored order's
// events are published. Realtime holds connections and frames, which end with the stack.
const CONTEXTS: [&str; 7] =
    ["users", "catalog", "inventory", "payments", "fulfillment", "notifications", "orders"];

#[derive(Debug, clap::Args)]
pub struct Backup {
    /// On AWS: check that every table can be restored to a point in time. Without it, export this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
    /// The new folder of the export [default: target/backups/ and the time]
    #[arg(long, conflicts_with = "stage")]
    to: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Restore {
    /// On AWS: print how to restore its tables
    #[arg(long, conflicts_with_all = ["from", "deletions"])]
    stage: Option<Stage>,
    /// The folder of an export
    #[arg(long, required_unless_present = "stage")]
    from: Option<PathBuf>,
    /// The folder of a later export, whose deleted accounts are deleted again
    #[arg(long)]
    deletions: Option<PathBuf>,
}

impl Backup {
    /// # Errors
    /// A table cannot be read, or has no backups of its own; or the export cannot be written.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let aws = Aws::of(settings, self.stage.clone(), progress).await?;
        if let Some(stage) = &self.stage {
            return windows(&aws, stage).await;
        }
        let began = Timestamp::now();
        let name = began.strftime("%Y%m%dT%H%M%SZ").to_string();
        let path = self.to.unwrap_or_else(|| settings.target.join("backups").join(name));
        let folder = Folder::create(&path)?;
        let step = progress.step("backing up");
        let lanes = aws.lanes(LANES);
        let mut files = Vec::new();
        for context in CONTEXTS {
            step.at(context);
            let table = aws.name(context);
            let writer = folder.table(context)?;
            let add = |items: Vec<serde_json::Value>| writer.add(&items);
            tables::scan(&lanes, Part { table: &table, attributes: &[] }, &add).await?;
            files.push(writer.finish()?);
        }
        let items: u64 = files.iter().map(|file: &TableFile| file.items).sum();
        folder.complete(&Manifest::new(LOCAL_STAGE, began, Timestamp::now(), files))?;
        step.done(&format!("backed up {items} items"));
        println!("{}", path.display());
        progress.say("It holds personal data: keep it as safe as the stack itself.");
        Ok(())
    }
}

/// The times that the tables of a stage can be restored to.
async fn windows(aws: &Aws, stage: &Stage) -> Result<()> {
    let mut without = Vec::new();
    for context in CONTEXTS {
        let table = aws.name(context);
        let input = json!({"TableName": table});
        let answer = aws.read(Service::DynamoDb, "DescribeContinuousBackups", input).await?;
        let window = &answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
        if window["PointInTimeRecoveryStatus"] != "ENABLED" {
            without.push(table);
            continue;
        }
        let time = |name: &str| window[name].as_str().unwrap_or("unknown").to_owned();
        println!(
            "{table:<40} {} to {}",
            time("EarliestRestorableDateTime"),
            time("LatestRestorableDateTime")
        );
    }
    if without.is_empty() {
        println!(
            "Each table can be restored to any second in its time. `cargo ops restore --stage {stage}` says how."
        );
        return Ok(());
    }
    Err(Error::Backup(format!(
        "no point-in-time recovery: {}.\nThe templates switch it on: deploy the stage again.",
        without.join(", ")
    )))
}

impl Restore {
    /// # Errors
    /// The export is damaged, the stack is not empty, or an item cannot be written.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        if let Some(stage) = &self.stage {
            print!("{}", steps(stage));
            return Ok(());
        }
        let Some(from) = &self.from else { return Err(Error::Backup("--from names the export".to_owned())) };
        let step = progress.step("checking the export");
        let manifest = file::checked(from)?;
        let deletions =
            self.deletions.as_deref().map(|later| load::Deletions::read(later, &manifest)).transpose()?;
        let aws = Aws::of(settings, None, progress).await?;
        load::is_empty(&aws).await?;
        step.done(&format!("checked the export of {}", manifest.began));
        let step = progress.step("restoring");
        let lanes = aws.lanes(LANES);
        let (mut items, mut deleted) = (0, 0);
        for context in CONTEXTS {
            step.at(context);
            let written = load::table(&lanes, from, &manifest, context, deletions.as_ref()).await?;
            items += written.items;
            deleted += written.deleted;
        }
        step.done(&format!("restored {items} items, and deleted {deleted} accounts again"));
        for projection in [Projection::Orders, Projection::Sales] {
            Replay::local(projection).run(settings, progress).await?;
        }
        println!("Open orders go on by themselves. `cargo ops verify` checks the result.");
        Ok(())
    }
}

/// How the tables of a stage on AWS are restored.
fn steps(stage: &Stage) -> String {
    let mut text = String::from(
        "Nothing of this is done by the command. DynamoDB restores into a new table, without its stream, and a stage's \
         tables have fixed names. Order of the steps: infra/RUNBOOK.md, \"Data was lost\".\n\n\
         1. Restore each table as it was at one time (<time>, for example 2026-11-20T12:00:00Z) under another name:\n",
    );
    for context in CONTEXTS {
        text.push_str(&format!(
            "   aws dynamodb restore-table-to-point-in-time --source-table-name ordersaga-{stage}-{context} \\\n      \
             --target-table-name ordersaga-{stage}-{context}-restored --restore-date-time <time>\n"
        ));
    }
    text.push_str(
        "2. Compare, and copy the items that were lost or damaged back into the stage's table.\n\
         3. Delete the accounts again that were deleted after <time>: the stage's users table has them with `erased_at`.\n",
    );
    text.push_str(&format!(
        "4. cargo ops replay orders --stage {stage}\n   cargo ops replay sales --stage {stage}\n   \
         cargo ops verify --stage {stage}\n5. Delete the restored tables.\n"
    ));
    text
}
