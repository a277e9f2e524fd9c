//! What the stores of a stage hold, as far as the rules need it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    PARKED,
    attribute::plain,
    items::{
        Commit, Contact, DiscountCounter, DiscountUse, Intent, Message, Moves, Payment, Reservation, Shard,
        Shipment, View,
    },
    policy::Policy,
    report::{Report, Rule, Violation},
    rules,
};

/// The items of a stage's tables. Keeps a small part of each.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(crate) items: u64,
    /// By order, then by first version.
    pub(crate) commits: BTreeMap<String, BTreeMap<u64, Commit>>,
    /// By order.
    pub(crate) views: BTreeMap<String, View>,
    /// By user: the number of orders in the customer's list.
    pub(crate) listed: BTreeMap<String, usize>,
    pub(crate) discount_uses: BTreeMap<String, DiscountUse>,
    /// By code, and by code and user.
    pub(crate) discount_counters: BTreeMap<(String, Option<String>), i64>,
    /// By SKU: the shards' stock.
    pub(crate) stock: BTreeMap<String, Vec<i64>>,
    /// By SKU.
    pub(crate) moves: BTreeMap<String, Vec<Moves>>,
    pub(crate) reservations: BTreeMap<String, Reservation>,
    pub(crate) payments: BTreeMap<String, Payment>,
    pub(crate) shipments: BTreeMap<String, Shipment>,
    /// The e-mails by event.
    pub(crate) letters: BTreeMap<String, Message>,
    pub(crate) text_messages: BTreeMap<String, Message>,
    pub(crate) contacts: BTreeMap<String, Contact>,
    /// Records that a relay could not process, by context.
    pub(crate) parked: BTreeMap<String, u64>,
    /// The gateway's books, when they were read.
    pub(crate) intents: Option<Vec<Intent>>,
    pub(crate) unreadable: Vec<Violation>,
}

/// The parts of an item's key.
struct Key<'a> {
    context: &'a str,
    pk: &'a str,
    sk: &'a str,
}

impl Snapshot {
    /// Adds an item of a context's table, in the form of DynamoDB's API. Items without a rule are counted only.
    pub fn add(&mut self, context: &str, item: &Value) {
        self.items += 1;
        let (pk, sk) = (item["pk"]["S"].as_str(), item["sk"]["S"].as_str());
        let (Some(pk), Some(sk)) = (pk, sk) else { return self.unreadable(context, "an item", "no key") };
        let key = Key { context, pk, sk };
        if pk == PARKED {
            *self.parked.entry(context.to_owned()).or_default() += 1;
            return;
        }
        match context {
            "orders" => self.add_orders(&key, item),
            "inventory" => self.add_inventory(&key, item),
            "payments" => {
                if let (Some(order), "PAYMENT") = (pk.strip_prefix("PAYMENT#"), sk) {
                    insert(self.read(&key, item), order, |snapshot| &mut snapshot.payments, self);
                }
            }
            "fulfillment" => {
                if let (Some(order), "SHIPMENT") = (pk.strip_prefix("SHIPMENT#"), sk) {
                    insert(self.read(&key, item), order, |snapshot| &mut snapshot.shipments, self);
                }
            }
            "notifications" => self.add_notifications(&key, item),
            _ => {}
        }
    }

    /// Adds the gateway's books: all charges that it has for this stage.
    pub fn add_books(&mut self, intents: Vec<Intent>) {
        self.intents.get_or_insert_default().extend(intents);
    }

    /// Checks every rule.
    pub fn verify(&self, policy: &Policy) -> Report {
        rules::verify(self, policy)
    }

    fn add_orders(&mut self, key: &Key<'_>, item: &Value) {
        let Key { pk, sk, .. } = *key;
        if let (Some(order), Some(version)) = (pk.strip_prefix("ORDER#"), sk.strip_prefix("COMMIT#")) {
            let Some(commit) = self.read::<Commit>(key, item) else { return };
            if format!("{:08}", commit.first_version) != version {
                self.unreadable(key.context, pk, &format!("{sk} with the version {}", commit.first_version));
            }
            self.commits.entry(order.to_owned()).or_default().insert(commit.first_version, commit);
        } else if let (Some(user), Some((_, order))) =
            (pk.strip_prefix("CUSTOMER#"), sk.strip_prefix("ORDER#").and_then(|rest| rest.rsplit_once('#')))
        {
            *self.listed.entry(user.to_owned()).or_default() += 1;
            insert(self.read(key, item), order, |snapshot| &mut snapshot.views, self);
        } else if let (Some(order), "USE") = (pk.strip_prefix("DISCOUNT_USE#"), sk) {
            insert(self.read(key, item), order, |snapshot| &mut snapshot.discount_uses, self);
        } else if let (Some(code), "DISCOUNT" | "CUSTOMER") = (pk.strip_prefix("DISCOUNT#"), sk) {
            let Some(DiscountCounter { used }) = self.read(key, item) else { return };
            let (code, user) = match code.rsplit_once('#') {
                Some((code, user)) if sk == "CUSTOMER" => (code, Some(user.to_owned())),
                _ => (code, None),
            };
            self.discount_counters.insert((code.to_owned(), user), used);
        }
    }

    fn add_inventory(&mut self, key: &Key<'_>, item: &Value) {
        let Key { pk, sk, .. } = *key;
        if let (Some((sku, _)), "STOCK") = (pk.strip_prefix("STOCK#").and_then(|pk| pk.rsplit_once('#')), sk)
        {
            if let Some(Shard { available }) = self.read(key, item) {
                self.stock.entry(sku.to_owned()).or_default().push(available);
            }
        } else if pk.starts_with("MOVES#") {
            if let Some(moves) = self.read::<Moves>(key, item) {
                self.moves.entry(moves.sku.clone()).or_default().push(moves);
            }
        } else if let (Some(order), "RESERVATION") = (pk.strip_prefix("RESERVATION#"), sk) {
            insert(self.read(key, item), order, |snapshot| &mut snapshot.reservations, self);
        }
    }

    fn add_notifications(&mut self, key: &Key<'_>, item: &Value) {
        let Key { pk, sk, .. } = *key;
        if let Some(event) = pk.strip_prefix("MESSAGE#") {
            let message = self.read(key, item);
            match sk {
                "EMAIL" => insert(message, event, |snapshot| &mut snapshot.letters, self),
                _ => insert(message, event, |snapshot| &mut snapshot.text_messages, self),
            }
        } else if let (Some(user), "CONTACT") = (pk.strip_prefix("CONTACT#"), sk) {
            insert(self.read(key, item), user, |snapshot| &mut snapshot.contacts, self);
        }
    }

    fn read<T: DeserializeOwned>(&mut self, key: &Key<'_>, item: &Value) -> Option<T> {
        let fields = item.as_object().into_iter().flatten();
        let item = fields.map(|(name, attribute)| (name.clone(), plain(attribute))).collect();
        match serde_json::from_value(Value::Object(item)) {
            Ok(read) => Some(read),
            Err(error) => {
                self.unreadable(key.context, &format!("{} {}", key.pk, key.sk), &error.to_string());
                None
            }
        }
    }

    fn unreadable(&mut self, context: &str, item: &str, why: &str) {
        self.unreadable.push(Violation {
            rule: Rule::Item,
            subject: format!("{item} of {context}"),
            expected: "the attributes that its context writes".to_owned(),
            found: why.to_owned(),
        });
    }
}

fn insert<T>(
    item: Option<T>,
    id: &str,
    place: impl FnOnce(&mut Snapshot) -> &mut BTreeMap<String, T>,
    snapshot: &mut Snapshot,
) {
    if let Some(item) = item {
        place(snapshot).insert(id.to_owned(), item);
    }
}
