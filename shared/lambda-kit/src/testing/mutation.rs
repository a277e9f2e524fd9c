//! Makes invalid input from valid input: random bytes alone never pass a parser's first check.

use serde_json::{Map, Value, json};

/// Far above real input. serde_json refuses to go deeper than 128.
const DEEP: usize = 300;
const LONG: usize = 70_000;

/// Mutates `seed` as `entropy` directs: odd values, members that are missing or renamed, deep nesting, bytes
/// cut off, changed and inserted. Deterministic.
pub fn mutated(seed: &str, entropy: &[u8]) -> Vec<u8> {
    let mut entropy = Entropy(entropy);
    let mut text = match serde_json::from_str::<Value>(seed) {
        Ok(mut value) => {
            for _ in 0..entropy.up_to(4) {
                change(&mut value, &mut entropy);
            }
            value.to_string().into_bytes()
        }
        Err(_) => seed.as_bytes().to_vec(),
    };
    for _ in 0..entropy.up_to(3) {
        damage(&mut text, &mut entropy);
    }
    text
}

struct Entropy<'a>(&'a [u8]);

impl Entropy<'_> {
    /// 0 when there is none left, so that all ends.
    fn byte(&mut self) -> usize {
        self.0.split_off_first().map_or(0, |byte| usize::from(*byte))
    }

    /// Below `end`.
    fn up_to(&mut self, end: usize) -> usize {
        (self.byte() << 8 | self.byte()) % end.max(1)
    }
}

fn change(value: &mut Value, entropy: &mut Entropy<'_>) {
    let mut places = Vec::new();
    find(value, String::new(), &mut places);
    let place = places.swap_remove(entropy.up_to(places.len()));
    let Some(target) = value.pointer_mut(&place) else { return };
    match entropy.byte() % 4 {
        0 => *target = odd(entropy),
        1 => {
            let inner = target.take();
            *target = (0..entropy.up_to(DEEP)).fold(inner, |inner, _| json!([inner]));
        }
        2 => {
            if let Some((members, name)) = target.as_object_mut().and_then(|it| pick(it, entropy)) {
                members.remove(&name);
            }
        }
        _ => {
            if let Some((members, name)) = target.as_object_mut().and_then(|it| pick(it, entropy)) {
                let value = members.remove(&name).unwrap_or_default();
                members.insert(odd(entropy).as_str().unwrap_or("x").to_owned(), value);
            }
        }
    }
}

fn pick<'a>(
    members: &'a mut Map<String, Value>,
    entropy: &mut Entropy<'_>,
) -> Option<(&'a mut Map<String, Value>, String)> {
    let name = members.keys().nth(entropy.up_to(members.len()))?.clone();
    Some((members, name))
}

/// The JSON pointers of a value and all within it.
fn find(value: &Value, here: String, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find(item, format!("{here}/{index}"), places);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                find(member, format!("{here}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        _ => {}
    }
    places.push(here);
}

fn odd(entropy: &mut Entropy<'_>) -> Value {
    match entropy.byte() % 22 {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(0.5),
        7 => json!(1e300),
        8 => json!(""),
        9 => json!(" "),
        10 => json!("' OR 1=1; DROP TABLE orders; --"),
        11 => json!("$ne"),
        12 => json!("../../etc/passwd"),
        13 => json!("\u{0}"),
        14 => json!("\u{202e}\u{200b}\u{feff}"),
        // One character to a reader, five to a machine.
        15 => json!("\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f466}"),
        // An é of one and of two characters.
        16 => json!("\u{e9}e\u{301}"),
        17 => json!("\u{10ffff}"),
        18 => json!("x".repeat(entropy.up_to(LONG))),
        19 => json!([]),
        20 => json!({}),
        _ => json!(vec![0; entropy.up_to(2000)]),
    }
}

fn damage(text: &mut Vec<u8>, entropy: &mut Entropy<'_>) {
    let at = entropy.up_to(text.len());
    match entropy.byte() % 4 {
        0 => text.truncate(at),
        1 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = u8::try_from(entropy.byte()).unwrap_or(0);
            }
        }
        2 => {
            let tail = text.split_off(at);
            text.extend_from_slice(entropy.0);
            text.extend_from_slice(&tail);
        }
        _ => {
            let again = text[at..].to_vec();
            text.extend_from_slice(&again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_entropy_nothing_happens_and_the_same_entropy_does_the_same() {
        assert_eq!(mutated(r#"{"a":1}"#, &[]), br#"{"a":1}"#);
        let entropy: Vec<u8> = (1..60).collect();
        let changed = mutated(r#"{"a":[1,{"b":"c"}]}"#, &entropy);
        assert_ne!(changed, br#"{"a":[1,{"b":"c"}]}"#);
        assert_eq!(changed, mutated(r#"{"a":[1,{"b":"c"}]}"#, &entropy));
    }
}
