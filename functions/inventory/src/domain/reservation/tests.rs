use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MUG: &str = "MUG";
const CUP: &str = "CUP";

fn event_context() -> EventContext {
    EventContext {
        order_id: OrderId::try_from("ord_00000000000000000000000000000001").unwrap(),
        user_id: Some(UserId::try_from("usr_00000000000000000000000000000002").unwrap()),
        correlation_id: CorrelationId::try_from("cor").unwrap(),
        causation_id: "ord_00000000000000000000000000000001.ReserveInventory".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn taken(sku: &str, shard: u32, quantity: u32) -> Allocation {
    Allocation { sku: Sku::try_from(sku).unwrap(), shard, quantity }
}

fn written(current: Option<&Reservation>, command: Command) -> Change {
    match decide(current, command, &event_context()) {
        Ok(Decision::Write(change)) => change,
        other => panic!("expected a write, got {other:?}"),
    }
}

fn held() -> Reservation {
    written(None, Command::Reserve { taken: vec![taken(MUG, 0, 2)] }).reservation
}

fn rejected() -> Reservation {
    written(None, Command::Reject { short: vec![Sku::try_from(MUG).unwrap()] }).reservation
}

fn released() -> Reservation {
    written(Some(&held()), Command::Release).reservation
}

fn forestalled() -> Reservation {
    written(None, Command::Release).reservation
}

fn committed() -> Reservation {
    written(Some(&held()), Command::Commit).reservation
}

#[test]
fn a_change_is_recorded_with_the_command_that_caused_it() {
    let later = EventContext {
        correlation_id: CorrelationId::try_from("cor_release").unwrap(),
        causation_id: "release".to_owned(),
        at: Timestamp::from_second(60).unwrap(),
        ..event_context()
    };
    let Ok(Decision::Write(change)) = decide(Some(&held()), Command::Release, &later) else {
        panic!("what is held can be released")
    };
    let event = &change.events().unwrap()[0];
    assert_eq!((&event.correlation_id, event.occurred_at), (&later.correlation_id, later.at));
    assert_eq!(event.causation_id, "release");
    assert_eq!(change.reservation.created_at, event_context().at);
}

#[test]
fn a_refusal_names_what_is_short() {
    let short = [MUG, CUP].map(|sku| Sku::try_from(sku).unwrap()).to_vec();
    assert_eq!(Rejected::NotAvailable { short }.to_string(), "there is too little stock of MUG, CUP");
}

/// The effect of a command on a state, in one word.
fn word(current: Option<&Reservation>, command: Command) -> String {
    match decide(current, command, &event_context()) {
        Ok(Decision::Keep(reservation)) => {
            assert_eq!(Some(&reservation), current, "keeping changes nothing");
            "keep".to_owned()
        }
        Ok(Decision::Write(change)) => format!("{:?}", change.reservation.status).to_lowercase(),
        Err(rejected) => {
            let debug = format!("{rejected:?}");
            debug.split([' ', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

#[test]
fn every_state_answers_every_command() {
    let reserve = || Command::Reserve { taken: vec![taken(MUG, 0, 2)] };
    let reject = || Command::Reject { short: vec![Sku::try_from(MUG).unwrap()] };
    let row = |current: Option<&Reservation>| {
        [reserve(), reject(), Command::Release, Command::Commit].map(|command| word(current, command))
    };
    assert_eq!(row(None), ["held", "rejected", "released", "NothingReserved"]);
    assert_eq!(row(Some(&held())), ["keep", "keep", "released", "committed"]);
    assert_eq!(row(Some(&rejected())), ["NotAvailable", "NotAvailable", "keep", "NotHeld"]);
    assert_eq!(row(Some(&released())), ["AlreadyReleased", "AlreadyReleased", "keep", "NotHeld"]);
    assert_eq!(row(Some(&forestalled())), ["AlreadyReleased", "AlreadyReleased", "keep", "NotHeld"]);
    assert_eq!(row(Some(&committed())), ["keep", "keep", "AlreadyCommitted", "keep"]);
}

#[test]
fn only_a_release_of_held_stock_released_something() {
    assert!(released().released_stock());
    for other in [held(), rejected(), forestalled(), committed()] {
        assert!(!other.released_stock(), "{other:?}");
    }
}

#[test]
fn a_write_brings_the_event_of_what_happened_with_the_version_as_its_sequence() {
    let reserve =
        written(None, Command::Reserve { taken: vec![taken(MUG, 0, 2), taken(CUP, 0, 1), taken(MUG, 3, 1)] });
    let commit = written(Some(&reserve.reservation), Command::Commit);
    let release = written(Some(&reserve.reservation), Command::Release);
    let reject = written(None, Command::Reject { short: vec![Sku::try_from(MUG).unwrap()] });

    let of = |change: &Change| {
        let events = change.events().unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].subject, event_context().order_id.as_str());
        assert_eq!(events[0].metadata.user_id, event_context().user_id);
        (events[0].event_type.clone(), events[0].sequence, events[0].data.clone())
    };
    let order_id = event_context().order_id;
    let items = serde_json::json!([{"sku": MUG, "quantity": 3}, {"sku": CUP, "quantity": 1}]);
    assert_eq!(
        of(&reserve),
        ("inventory.reserved".to_owned(), 1, serde_json::json!({"order_id": order_id, "items": items}))
    );
    assert_eq!(
        of(&reject),
        ("inventory.not_available".to_owned(), 1, serde_json::json!({"order_id": order_id, "skus": [MUG]}))
    );
    assert_eq!(of(&commit), ("inventory.committed".to_owned(), 2, serde_json::json!({"order_id": order_id})));
    assert_eq!(of(&release), ("inventory.released".to_owned(), 2, serde_json::json!({"order_id": order_id})));
}

#[test]
fn a_mark_against_a_late_reserve_is_no_event() {
    assert_eq!(written(None, Command::Release).events().unwrap(), []);
}

/// A command for one of three orders, with two SKUs of two shards.
fn any_command() -> impl Strategy<Value = (usize, Command)> {
    let any_taken = prop::collection::vec((prop::sample::select(vec![MUG, CUP]), 0..2_u32, 1..4_u32), 1..4)
        .prop_map(|lines| {
            let mut by_shard = BTreeMap::new();
            for (sku, shard, quantity) in lines {
                by_shard.insert((sku, shard), quantity);
            }
            by_shard.into_iter().map(|((sku, shard), quantity)| taken(sku, shard, quantity)).collect()
        });
    let any_one = prop_oneof![
        3 => any_taken.prop_map(|taken| Command::Reserve { taken }),
        1 => Just(Command::Reject { short: vec![Sku::try_from(MUG).unwrap()] }),
        2 => Just(Command::Release),
        2 => Just(Command::Commit),
    ];
    (0..3_usize, any_one)
}

/// A model of the table: a reservation's write is all or nothing, and no shard becomes negative.
struct Model {
    stock: BTreeMap<(Sku, u32), i64>,
    reservations: [Option<Reservation>; 3],
}

impl Model {
    fn full() -> Self {
        let skus = [MUG, CUP].map(|sku| Sku::try_from(sku).unwrap());
        let stock = skus.iter().flat_map(|sku| [0, 1].map(|shard| ((sku.clone(), shard), 5))).collect();
        Self { stock, reservations: [None, None, None] }
    }

    fn run(&mut self, order: usize, command: Command) {
        let Ok(Decision::Write(change)) =
            decide(self.reservations[order].as_ref(), command, &event_context())
        else {
            return;
        };
        assert_eq!(change.expected, self.reservations[order].as_ref().map(|current| current.version));
        let mut stock = self.stock.clone();
        for step in &change.moves {
            *stock.entry((step.sku.clone(), step.shard)).or_default() += step.delta;
        }
        if stock.values().all(|available| *available >= 0) {
            self.stock = stock;
            self.reservations[order] = Some(change.reservation);
        }
    }

    /// All pieces in stock, held or sold, by shard.
    fn all(&self) -> BTreeMap<(Sku, u32), i64> {
        let mut all = self.stock.clone();
        for reservation in self.reservations.iter().flatten() {
            if matches!(reservation.status, Status::Held | Status::Committed) {
                for taken in &reservation.taken {
                    *all.entry((taken.sku.clone(), taken.shard)).or_default() += i64::from(taken.quantity);
                }
            }
        }
        all
    }
}

proptest! {
    #[test]
    fn no_sequence_of_commands_makes_stock_appear_or_vanish(
        commands in prop::collection::vec(any_command(), 0..40)
    ) {
        let mut model = Model::full();
        let all = model.all();
        for (order, command) in commands {
            model.run(order, command);
            prop_assert_eq!(&model.all(), &all);
        }
    }

    #[test]
    fn a_repeated_command_writes_nothing(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut model = Model::full();
        for (order, command) in commands {
            model.run(order, command.clone());
            let (stock, reservations) = (model.stock.clone(), model.reservations.clone());
            // A reserve that the stock refused may succeed later, so only successful commands are repeated.
            if reservations[order].is_some() {
                model.run(order, command);
                prop_assert_eq!((model.stock.clone(), model.reservations.clone()), (stock, reservations));
            }
        }
    }
}
