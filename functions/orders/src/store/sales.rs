//! Sales by day. orders-views adds to these sums in the transaction that stores, in the order's view, up to
//! which version the order is counted. So each event counts once, however often it is delivered. (Deleting a
//! view deletes this version with it: the order is counted again, until the sales are replayed.)
//!
//! The sums exist in generations, of which one is live. A replay builds the next one order by order, and
//! makes it live when it is complete; meanwhile orders are counted in both. The previous generation stays
//! until the next replay, for requests that are reading it at that moment.

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
use crate::domain::{Measure, Tally};

const OPERATION: &str = "reading the sales";
/// The number of sums of an abandoned generation that are deleted at a time.
const DELETED_AT_ONCE: usize = 25;

/// An order's contribution to one generation's sums.
pub type Counts = BTreeMap<Date, Tally>;

/// The generations of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    /// The one that is read.
    pub live: u64,
    /// The one that a replay is building.
    pub building: Option<u64>,
    /// None is older.
    pub oldest: u64,
}

impl Generations {
    /// Before the first replay.
    const FIRST: Self = Self { live: 1, building: None, oldest: 1 };

    /// Those that an order has to be counted in.
    pub fn wanted(self) -> impl Iterator<Item = u64> {
        std::iter::once(self.live).chain(self.building)
    }
}

/// `pk = PROJECTION#sales`, `sk = GENERATIONS`.
fn pointer() -> Item {
    key("PROJECTION#sales", "GENERATIONS")
}

/// `pk = SALES#<generation>#<number>`, `sk = <day>`.
fn partition(generation: u64, number: u16) -> String {
    format!("SALES#{generation}#{number}")
}

impl Store {
    /// The generations, read consistently.
    pub async fn generations(&self) -> Result<Generations, StoreError> {
        let Some(item) = self.table.get_item(OPERATION, pointer()).await? else {
            return Ok(Generations::FIRST);
        };
        let read = || Ok::<_, ItemError>((count(&item, "live")?, count(&item, "oldest")?));
        let (live, oldest) = read().map_err(|e| TableError::item(OPERATION, e))?;
        Ok(Generations { live, building: number_of(&item, "building"), oldest })
    }

    /// Begins a new generation, in the place of one that was begun and never finished; its number. Those before the live
    /// one are deleted.
    pub async fn begin_generation(&self) -> Result<u64, StoreError> {
        let known = self.generations().await?;
        let new = known.building.unwrap_or(known.live) + 1;
        for old in (known.oldest..new).filter(|generation| *generation != known.live) {
            self.delete_generation(old).await?;
        }
        let next = Generations { live: known.live, building: Some(new), oldest: known.live };
        if self.put_generations(next, known).await? { Ok(new) } else { Err(StoreError::Replayed) }
    }

    /// Makes a generation that was built the live one. A repeat is a success.
    pub async fn finish_generation(&self, generation: u64) -> Result<(), StoreError> {
        let known = self.generations().await?;
        if known.live == generation {
            return Ok(());
        }
        let next = Generations { live: generation, building: None, oldest: known.live };
        let done = known.building == Some(generation) && self.put_generations(next, known).await?;
        if done { Ok(()) } else { Err(StoreError::Replayed) }
    }

    /// Returns whether the generations were still `known`.
    async fn put_generations(&self, next: Generations, known: Generations) -> Result<bool, StoreError> {
        let mut item = pointer();
        let numbers = [("live", Some(next.live)), ("oldest", Some(next.oldest)), ("building", next.building)];
        item.extend(numbers.into_iter().filter_map(|(name, n)| Some((name.to_owned(), number(n?)))));
        let unchanged = match known.building {
            Some(building) => {
                Expression::new("live = :live AND building = :building").value(":building", number(building))
            }
            None => Expression::new(
                "attribute_not_exists(pk) OR (live = :live AND attribute_not_exists(building))",
            ),
        };
        let unchanged = unchanged.value(":live", number(known.live));
        match self.table.put_if("changing the generations of the sales", item, unchanged).await? {
            Ok(()) => Ok(true),
            // The condition may have failed because of this very write, whose answer was lost.
            Err(Conflict) => Ok(self.generations().await? == next),
        }
    }

    /// The sales of each day from `first` to `last` that has any.
    pub async fn sales(&self, first: Date, last: Date) -> Result<BTreeMap<Date, Tally>, StoreError> {
        let live = self.generations().await?.live;
        let partitions = self.partitioning.list.all();
        let sums = partitions.map(|number| self.days(partition(live, number), first, last));
        let mut sales: BTreeMap<Date, Tally> = BTreeMap::new();
        for (day, measure, count) in try_join_all(sums).await?.into_iter().flatten() {
            *sales.entry(day).or_default().entry(measure).or_default() += count;
        }
        Ok(sales)
    }

    async fn days(
        &self,
        partition: String,
        first: Date,
        last: Date,
    ) -> Result<Vec<(Date, Measure, i64)>, TableError> {
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

    async fn delete_generation(&self, generation: u64) -> Result<(), StoreError> {
        for number in self.partitioning.list.all() {
            let partition = partition(generation, number);
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

/// The writes that add these counts to a generation's sums.
pub(super) fn add(generation: u64, numbered: u16, counts: &Counts) -> Vec<Write> {
    let write = |(day, tally): (&Date, &Tally)| {
        let sums: Vec<String> = (0..tally.len()).map(|n| format!("#{n} :{n}")).collect();
        let mut update = Expression::new(format!("ADD {}", sums.join(", ")));
        for (n, (measure, count)) in tally.iter().enumerate() {
            update = update.name(format!("#{n}"), measure.name()).value(format!(":{n}"), number(count));
        }
        Write::update(key(partition(generation, numbered), day.to_string()), update)
    };
    counts.iter().map(write).collect()
}

fn sums_of(item: &Item) -> Result<Vec<(Date, Measure, i64)>, ItemError> {
    let day: Date = text(item, SK)?.parse().map_err(|_| ItemError::Attribute(SK))?;
    let sum = |(name, value): (&String, &AttributeValue)| {
        let count = value.as_n().ok()?.parse().ok()?;
        Some((day, Measure::named(name)?, count))
    };
    Ok(item.iter().filter_map(sum).collect())
}
