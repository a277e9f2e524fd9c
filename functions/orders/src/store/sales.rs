//! Sales by day. orders-views adds to these sums in the transaction that also stores, in the order's view, the
//! version up to which the order is counted. So each event counts once, however often it is delivered. (Deleting a
//! view deletes this version with it: the order is counted again, until the sales are replayed.)
//!
//! The projection has versions, of which one is active. A replay rebuilds the next one order by order, and
//! activates it when it is complete; meanwhile orders are counted in both. The previous version stays until the
//! next replay, for requests that are reading it at that moment. The table calls them generations.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use jiff::civil::Date;
use lambda_kit::dynamodb::{
    Conflict, Expression, Item, SK, TableError, Write, key, number, number_of, string,
};

use super::{
    Store, StoreError,
    item::{ItemError, count, text},
};
use crate::domain::{DailyTotals, SalesMetric};

const OPERATION: &str = "reading the sales";
/// The number of sums of an abandoned version that are deleted at a time.
const DELETED_AT_ONCE: usize = 25;

/// An order's contribution to the sums of one projection version.
pub type TotalsByDay = BTreeMap<Date, DailyTotals>;

/// The versions of the sales projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectionVersions {
    /// The one that is read.
    pub active: u64,
    /// The one that a replay is building.
    pub rebuilding: Option<u64>,
    /// None is older.
    pub oldest: u64,
}

impl ProjectionVersions {
    /// Before the first replay.
    const FIRST: Self = Self { active: 1, rebuilding: None, oldest: 1 };

    /// The versions that an order must be counted in.
    pub fn wanted(self) -> impl Iterator<Item = u64> {
        std::iter::once(self.active).chain(self.rebuilding)
    }
}

/// `pk = PROJECTION#sales`, `sk = GENERATIONS`.
fn pointer() -> Item {
    key("PROJECTION#sales", "GENERATIONS")
}

/// `pk = SALES#<generation>#<number>`, `sk = <day>`.
fn partition(projection_version: u64, number: u16) -> String {
    format!("SALES#{projection_version}#{number}")
}

impl Store {
    /// The versions of the projection, read consistently.
    pub async fn projection_versions(&self) -> Result<ProjectionVersions, StoreError> {
        let Some(item) = self.table.get_item(OPERATION, pointer()).await? else {
            return Ok(ProjectionVersions::FIRST);
        };
        let read = || Ok::<_, ItemError>((count(&item, "live")?, count(&item, "oldest")?));
        let (active, oldest) = read().map_err(|e| TableError::item(OPERATION, e))?;
        Ok(ProjectionVersions { active, rebuilding: number_of(&item, "building"), oldest })
    }

    /// Begins a new version, instead of one that was begun and never finished. Returns its number. Deletes the
    /// versions before the active one.
    pub async fn begin_projection_version(&self) -> Result<u64, StoreError> {
        let known = self.projection_versions().await?;
        let new = known.rebuilding.unwrap_or(known.active) + 1;
        // Before the pointer changes. When the function dies in between, the pointer still names them, and
        // the next replay deletes them.
        for old in (known.oldest..new).filter(|projection_version| *projection_version != known.active) {
            self.delete_projection_version(old).await?;
        }
        let next = ProjectionVersions { active: known.active, rebuilding: Some(new), oldest: known.active };
        if self.put_projection_versions(next, known).await? {
            Ok(new)
        } else {
            Err(StoreError::ReplaySuperseded)
        }
    }

    /// Activates the version that was rebuilt. A repeat is a success.
    pub async fn activate_projection_version(&self, projection_version: u64) -> Result<(), StoreError> {
        let known = self.projection_versions().await?;
        // A repeat of the last part, whose answer was lost.
        if known.active == projection_version {
            return Ok(());
        }
        let next = ProjectionVersions { active: projection_version, rebuilding: None, oldest: known.active };
        let done =
            known.rebuilding == Some(projection_version) && self.put_projection_versions(next, known).await?;
        if done { Ok(()) } else { Err(StoreError::ReplaySuperseded) }
    }

    /// Returns whether the versions were still `known`.
    async fn put_projection_versions(
        &self,
        next: ProjectionVersions,
        known: ProjectionVersions,
    ) -> Result<bool, StoreError> {
        let mut item = pointer();
        let numbers =
            [("live", Some(next.active)), ("oldest", Some(next.oldest)), ("building", next.rebuilding)];
        item.extend(numbers.into_iter().filter_map(|(name, n)| Some((name.to_owned(), number(n?)))));
        let unchanged = match known.rebuilding {
            Some(rebuilding) => Expression::new("live = :live AND building = :building")
                .value(":building", number(rebuilding)),
            None => Expression::new(
                "attribute_not_exists(pk) OR (live = :live AND attribute_not_exists(building))",
            ),
        };
        let unchanged = unchanged.value(":live", number(known.active));
        match self.table.put_if("changing the generations of the sales", item, unchanged).await? {
            Ok(()) => Ok(true),
            // The condition may have failed because of this very write, whose answer was lost. So what is
            // stored decides.
            Err(Conflict) => Ok(self.projection_versions().await? == next),
        }
    }

    /// The sales of each day from `first` to `last` that has any.
    pub async fn sales(&self, first: Date, last: Date) -> Result<BTreeMap<Date, DailyTotals>, StoreError> {
        let active = self.projection_versions().await?.active;
        let partitions = self.partitioning.list.all();
        let sums = partitions.map(|number| self.days(partition(active, number), first, last));
        let mut sales: BTreeMap<Date, DailyTotals> = BTreeMap::new();
        for (day, metric, count) in try_join_all(sums).await?.into_iter().flatten() {
            *sales.entry(day).or_default().entry(metric).or_default() += count;
        }
        Ok(sales)
    }

    async fn days(
        &self,
        partition: String,
        first: Date,
        last: Date,
    ) -> Result<Vec<(Date, SalesMetric, i64)>, TableError> {
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :partition AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":partition", string(partition))
            .expression_attribute_values(":first", string(first.to_string()))
            .expression_attribute_values(":last", string(last.to_string()));
        let mut sums = vec![];
        for item in self.table.query_all(OPERATION, query).await? {
            sums.extend(sums_of(&item).map_err(|e| TableError::item(OPERATION, e))?);
        }
        Ok(sums)
    }

    async fn delete_projection_version(&self, projection_version: u64) -> Result<(), StoreError> {
        for number in self.partitioning.list.all() {
            let partition = partition(projection_version, number);
            let sums = self.days(partition.clone(), Date::MIN, Date::MAX).await?;
            let days: std::collections::BTreeSet<Date> = sums.into_iter().map(|(day, ..)| day).collect();
            for days in days.into_iter().collect::<Vec<_>>().chunks(DELETED_AT_ONCE) {
                let delete =
                    |day: &Date| self.table.delete("deleting old sales", key(&*partition, day.to_string()));
                try_join_all(days.iter().map(delete)).await?;
            }
        }
        Ok(())
    }
}

/// The writes that add these totals to the sums of a projection version.
pub(super) fn add(projection_version: u64, numbered: u16, counts: &TotalsByDay) -> Vec<Write> {
    let write = |(day, totals): (&Date, &DailyTotals)| {
        // Placeholders, because the names have dots, which DynamoDB would read as a path into a map.
        let sums: Vec<String> = (0..totals.len()).map(|n| format!("#{n} :{n}")).collect();
        let mut update = Expression::new(format!("ADD {}", sums.join(", ")));
        for (n, (metric, count)) in totals.iter().enumerate() {
            update = update.name(format!("#{n}"), metric.name()).value(format!(":{n}"), number(count));
        }
        Write::update(key(partition(projection_version, numbered), day.to_string()), update)
    };
    counts.iter().map(write).collect()
}

fn sums_of(item: &Item) -> Result<Vec<(Date, SalesMetric, i64)>, ItemError> {
    let day: Date = text(item, SK)?.parse().map_err(|_| ItemError::Attribute(SK))?;
    let sum = |(name, value): (&String, &AttributeValue)| {
        let count = value.as_n().ok()?.parse().ok()?;
        Some((day, SalesMetric::named(name)?, count))
    };
    Ok(item.iter().filter_map(sum).collect())
}
