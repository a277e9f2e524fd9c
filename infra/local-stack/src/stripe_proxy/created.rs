//! Lists of what was made within a time: `created[gte]` and `created[lt]`, which localstripe refuses.

use serde_json::{Value, json};

/// A list's query by creation time, which localstripe does not support.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    from: i64,
    until: i64,
    starting_after: Option<String>,
    limit: usize,
}

impl Query {
    /// The query of `/path?query`, if it has a time.
    pub fn of(path_and_query: &str) -> Option<Self> {
        let url = reqwest::Url::parse(&format!("http://localhost{path_and_query}")).ok()?;
        let (mut asks, mut query) =
            (false, Self { from: 0, until: i64::MAX, starting_after: None, limit: 10 });
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "created[gte]" => (asks, query.from) = (true, value.parse().ok()?),
                "created[lt]" => (asks, query.until) = (true, value.parse().ok()?),
                "starting_after" => query.starting_after = Some(value.into_owned()),
                "limit" => query.limit = value.parse().ok()?,
                _ => {}
            }
        }
        asks.then_some(query)
    }

    /// The requested page of all objects.
    pub fn page(&self, all: Vec<Value>) -> Value {
        let made = |object: &Value| object["created"].as_i64().unwrap_or_default();
        let mut found: Vec<Value> =
            all.into_iter().filter(|object| (self.from..self.until).contains(&made(object))).collect();
        if let Some(after) = &self.starting_after {
            let place = found.iter().position(|object| object["id"] == after.as_str());
            found.drain(..place.map_or(0, |place| place + 1));
        }
        let has_more = found.len() > self.limit;
        found.truncate(self.limit);
        json!({"object": "list", "data": found, "has_more": has_more})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_time_has_what_was_made_in_it_page_by_page() {
        let all: Vec<Value> = (0..5).map(|n| json!({"id": format!("pi_{n}"), "created": 100 + n})).collect();
        let page = |rest: &str| {
            let path = format!("/v1/payment_intents?created%5Bgte%5D=101&created%5Blt%5D=104{rest}");
            Query::of(&path).unwrap().page(all.clone())
        };
        let ids = |page: &Value| -> Vec<String> {
            page["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
        };
        let first = page("&limit=2");
        assert_eq!((ids(&first), &first["has_more"]), (vec!["pi_1".into(), "pi_2".into()], &json!(true)));
        let last = page("&limit=2&starting_after=pi_2");
        assert_eq!((ids(&last), &last["has_more"]), (vec!["pi_3".into()], &json!(false)));
        assert_eq!(Query::of("/v1/payment_intents?limit=1"), None);
    }
}
