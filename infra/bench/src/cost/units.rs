//! DynamoDB's rules for capacity:
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>,
//! item sizes: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.

use std::ops::AddAssign;

use serde_json::{Map, Value};

/// One write unit writes this much of an item.
const WRITE_BYTES: u64 = 1024;
/// One read unit reads this much, strongly consistent.
const READ_BYTES: u64 = 4096;

/// Capacity that a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    pub writes: u64,
    /// In halves: an eventually consistent read of 4 KB is one half.
    pub half_reads: u64,
}

impl AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.half_reads += other.half_reads;
    }
}

/// Whether a read sees writes just before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    Eventual,
    Strong,
    Transactional,
}

impl Consistency {
    const fn halves(self) -> u64 {
        match self {
            Self::Eventual => 1,
            Self::Strong => 2,
            Self::Transactional => 4,
        }
    }
}

/// The parts of a secondary index that determine its cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub keys: Vec<String>,
    pub projection: Projection,
}

/// The attributes that an index holds in addition to the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    All,
    /// These, and the table's keys.
    Only(Vec<String>),
}

/// The units of reading `bytes`: an item, or all items that a Query evaluated. An empty result is charged,
/// too.
pub fn read_units(bytes: u64, consistency: Consistency) -> Units {
    Units { writes: 0, half_reads: bytes.div_ceil(READ_BYTES).max(1) * consistency.halves() }
}

/// Writing one item, without its indexes, where `bytes` is the larger of what was there and what is to be there. A
/// condition that does not hold costs the same.
pub fn write_units(bytes: u64) -> Units {
    Units { writes: bytes.div_ceil(WRITE_BYTES).max(1), half_reads: 0 }
}

/// The units of an item's write in one index: none when its entry is unchanged, two writes when it moves.
pub fn index_units(index: &Index, before: Option<&Value>, after: Option<&Value>) -> Units {
    let (before, after) = (index.entry(before), index.entry(after));
    let cost = |entry: &Value| write_units(item_bytes(entry)).writes;
    let writes = match (&before, &after) {
        (None, None) => 0,
        (Some(one), None) | (None, Some(one)) => cost(one),
        (Some(old), Some(new)) if old == new => 0,
        (Some(old), Some(new)) if index.keys.iter().all(|key| old[key] == new[key]) => {
            cost(old).max(cost(new))
        }
        (Some(old), Some(new)) => cost(old) + cost(new),
    };
    Units { writes, half_reads: 0 }
}

impl Index {
    /// The item's entry in the index; `None` when it lacks one of the keys.
    fn entry(&self, item: Option<&Value>) -> Option<Value> {
        let item = item?.as_object()?;
        if !self.keys.iter().all(|key| item.contains_key(key)) {
            return None;
        }
        let held: Map<String, Value> = match &self.projection {
            Projection::All => item.clone(),
            Projection::Only(names) => item
                .iter()
                .filter(|(name, _)| names.contains(name) || self.keys.contains(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        };
        Some(Value::Object(held))
    }
}

/// The size of an item in DynamoDB's JSON.
pub fn item_bytes(item: &Value) -> u64 {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| length(name) + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> u64 {
    let Some((kind, content)) = value.as_object().and_then(|object| object.iter().next()) else { return 0 };
    let each = || content.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "S" => length(&text(content)),
        "N" => number_bytes(&text(content)),
        "B" => binary_bytes(&text(content)),
        "SS" => each().map(|value| length(&text(value))).sum(),
        "NS" => each().map(|value| number_bytes(&text(value))).sum(),
        "BS" => each().map(|value| binary_bytes(&text(value))).sum(),
        // 3 bytes for a list or a map, and one for each element of it.
        "L" => 3 + each().map(|value| 1 + value_bytes(value)).sum::<u64>(),
        "M" => {
            let members = content.as_object().into_iter().flatten();
            3 + members.map(|(name, value)| 1 + length(name) + value_bytes(value)).sum::<u64>()
        }
        // BOOL and NULL.
        _ => 1,
    }
}

/// About one byte for two significant digits, and one more.
fn number_bytes(number: &str) -> u64 {
    let mantissa = number.trim_start_matches('-').split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let leading = digits.trim_start_matches('0');
    length(leading.trim_end_matches('0')).div_ceil(2) + 1
}

/// The length of the data that a base64 text encodes.
fn binary_bytes(text: &str) -> u64 {
    length(text.trim_end_matches('=')) * 3 / 4
}

fn length(text: &str) -> u64 {
    text.len() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An item of exactly this size: `pk` and 1 for the key, 1 for the name of the rest.
    fn item_of(bytes: usize) -> Value {
        json!({"pk": {"S": "k"}, "d": {"S": "x".repeat(bytes - 4)}})
    }

    #[test]
    fn an_items_size_is_that_of_its_names_and_values() {
        assert_eq!(item_bytes(&item_of(1024)), 1024);
        assert_eq!(item_bytes(&json!({"ü": {"S": "ü"}})), 4);
        assert_eq!(item_bytes(&json!({"n": {"N": "0"}})), 2);
        assert_eq!(item_bytes(&json!({"n": {"N": "-0012345.60"}})), 1 + 3 + 1);
        assert_eq!(item_bytes(&json!({"n": {"N": "1200000"}})), 1 + 1 + 1);
        assert_eq!(item_bytes(&json!({"b": {"B": "AAEC"}})), 1 + 3);
        assert_eq!(item_bytes(&json!({"b": {"B": "AAE="}})), 1 + 2);
        assert_eq!(item_bytes(&json!({"t": {"BOOL": true}, "u": {"NULL": true}})), 4);
        assert_eq!(item_bytes(&json!({"s": {"SS": ["ab", "c"]}})), 1 + 3);
        assert_eq!(item_bytes(&json!({"l": {"L": [{"S": "ab"}, {"N": "1"}]}})), 1 + 3 + (1 + 2) + (1 + 2));
        assert_eq!(item_bytes(&json!({"m": {"M": {"k": {"S": "v"}}}})), 1 + 3 + (1 + 1 + 1));
    }

    #[test]
    fn a_write_costs_a_unit_for_each_started_kilobyte() {
        let writes = |bytes| write_units(bytes).writes;
        // Nothing: a delete of what is not there, a condition that failed on nothing.
        assert_eq!([0, 1, 1024, 1025, 3000].map(writes), [1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_read_costs_by_four_kilobytes_and_by_consistency() {
        let halves = |bytes, consistency| read_units(bytes, consistency).half_reads;
        assert_eq!(halves(0, Consistency::Eventual), 1);
        assert_eq!(halves(4096, Consistency::Eventual), 1);
        assert_eq!(halves(4097, Consistency::Eventual), 2);
        assert_eq!(halves(0, Consistency::Strong), 2);
        assert_eq!(halves(4097, Consistency::Strong), 4);
        assert_eq!(halves(100, Consistency::Transactional), 4);
    }

    #[test]
    fn an_index_costs_when_its_entry_comes_goes_changes_or_moves() {
        let index = Index { keys: vec!["g".into()], projection: Projection::Only(vec!["pk".into()]) };
        let item = |g: Option<&str>, other: &str| {
            let mut item = json!({"pk": {"S": "k"}, "other": {"S": other}});
            if let Some(g) = g {
                item["g"] = json!({"S": g});
            }
            item
        };
        let cost = |old: &Value, new: &Value| index_units(&index, Some(old), Some(new)).writes;
        assert_eq!(cost(&item(None, ""), &item(None, "x")), 0);
        assert_eq!(cost(&item(None, ""), &item(Some("1"), "")), 1);
        assert_eq!(cost(&item(Some("1"), ""), &item(None, "")), 1);
        assert_eq!(cost(&item(Some("1"), ""), &item(Some("1"), "not in the index")), 0);
        assert_eq!(cost(&item(Some("1"), ""), &item(Some("2"), "")), 2);
        let all = Index { projection: Projection::All, ..index.clone() };
        assert_eq!(index_units(&all, Some(&item(Some("1"), "")), Some(&item(Some("1"), "x"))).writes, 1);
        assert_eq!(index_units(&all, None, Some(&item(Some("1"), "x"))).writes, 1);
    }
}
