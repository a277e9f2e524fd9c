//! The last frames of one order, and their replay to a client that reconnects.

use contracts::{Envelope, OrderStatus, UserId};

use super::frame::{EventFrame, Frame, FrameKind, NoFrame};

/// Frames kept for replay per order. Older ones are dropped, and a client that asks for them gets a `gap`.
const CAPACITY: usize = 100;

/// The last frames of an order. Its order frames are in version order; those of payments and shipments stand
/// where they arrived between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buffer(BufferState);

/// The fields of a buffer, as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BufferState {
    /// From the first event that names a user.
    pub owner: Option<UserId>,
    /// The newest version seen, 0 before the first.
    // It is kept apart from the frames, because the frame of this version may have been dropped.
    pub version: u64,
    pub status: Option<OrderStatus>,
    pub frames: Vec<EventFrame>,
}

/// The result of adding an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It is new: these frames go to all subscribers of the order.
    New(Vec<Frame>),
    /// It is older than what was sent already. It is kept for replays, and not sent.
    // It was taken out of a dead-letter queue, or published again. Frames go out in order, and its absence was
    // announced as a gap.
    Late,
    /// It is in the buffer already: a redelivery.
    Duplicate,
}

impl Buffer {
    pub const fn restore(state: BufferState) -> Self {
        Self(state)
    }

    pub const fn state(&self) -> &BufferState {
        &self.0
    }

    pub const fn owner(&self) -> Option<&UserId> {
        self.0.owner.as_ref()
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When the event has no frame.
    pub fn add(&mut self, event: &Envelope) -> Result<Arrival, NoFrame> {
        let frame = EventFrame::of(event, self.status_before(event))?;
        let place @ (kind, number) = frame.place();
        if self.0.frames.iter().any(|frame| frame.place() == place) {
            return Ok(Arrival::Duplicate);
        }
        if self.0.owner.is_none() {
            self.0.owner.clone_from(&event.metadata.user_id);
        }
        let newest = self.newest(kind);
        if number <= newest {
            self.insert(frame);
            return Ok(Arrival::Late);
        }
        let mut live = Vec::with_capacity(2);
        // A client can fetch missing events of the order itself, by `GET /v1/orders/{id}/events`, and no
        // others. So only those are announced as missing.
        if let EventFrame::Order { status, .. } = &frame {
            live.extend(gap(&frame, newest, number));
            self.0.version = number;
            self.0.status = *status;
        }
        live.push(Frame::Event(frame.clone()));
        self.insert(frame);
        Ok(Arrival::New(live))
    }

    /// The frames that an event in the buffer was sent as, for those that it did not reach. `dropped` were missing before
    /// it then.
    pub fn frames_again(&self, event: &Envelope, dropped: u64) -> Vec<Frame> {
        let Ok(place) = EventFrame::of(event, None).map(|frame| frame.place()) else { return Vec::new() };
        let Some(frame) = self.0.frames.iter().find(|frame| frame.place() == place) else {
            return Vec::new();
        };
        let gap = (dropped > 0).then(|| Frame::Gap { order_id: frame.order_id().clone(), dropped });
        gap.into_iter().chain([Frame::Event(frame.clone())]).collect()
    }

    /// The frames for a client that has seen the order up to version `after`: everything that arrived after
    /// that version, with a gap wherever order frames are missing.
    pub fn replay(&self, after: u64) -> Vec<Frame> {
        let start = self
            .0
            .frames
            .iter()
            .rposition(|frame| matches!(frame, EventFrame::Order { version, .. } if *version <= after))
            .map_or(0, |index| index + 1);
        let mut last = after;
        let mut replay = Vec::new();
        for frame in &self.0.frames[start..] {
            if let EventFrame::Order { version, .. } = frame {
                replay.extend(gap(frame, last, *version));
                last = *version;
            }
            replay.push(Frame::Event(frame.clone()));
        }
        // Only when a hundred frames of other contexts came behind the newest order frame.
        if let Some(frame) = self.0.frames.last().filter(|_| self.0.version > last) {
            replay.extend(gap(frame, last, self.0.version + 1));
        }
        replay
    }

    /// The status that stood when the event happened, which for a late one is not the newest.
    fn status_before(&self, event: &Envelope) -> Option<OrderStatus> {
        if event.sequence > self.0.version {
            return self.0.status;
        }
        self.0.frames.iter().rev().find_map(|frame| match frame {
            EventFrame::Order { version, status, .. } if *version < event.sequence => *status,
            _ => None,
        })
    }

    fn newest(&self, kind: FrameKind) -> u64 {
        if kind == FrameKind::Order {
            return self.0.version;
        }
        let numbers = self.0.frames.iter().map(EventFrame::place).filter(|place| place.0 == kind);
        numbers.map(|place| place.1).max().unwrap_or(0)
    }

    /// Before the first frame of its own count that comes after it, else at the end; then drops the oldest.
    fn insert(&mut self, frame: EventFrame) {
        let (kind, number) = frame.place();
        let behind = |other: &EventFrame| other.place().0 == kind && other.place().1 > number;
        let index = self.0.frames.iter().position(behind).unwrap_or(self.0.frames.len());
        self.0.frames.insert(index, frame);
        let excess = self.0.frames.len().saturating_sub(CAPACITY);
        self.0.frames.drain(..excess);
    }
}

/// The announcement that versions are missing between `last` and `next`, if there are such.
fn gap(frame: &EventFrame, last: u64, next: u64) -> Option<Frame> {
    let dropped = next.saturating_sub(last).saturating_sub(1);
    (dropped > 0).then(|| Frame::Gap { order_id: frame.order_id().clone(), dropped })
}

#[cfg(test)]
mod tests {
    use contracts::{CorrelationId, EventId, IdempotencyKey, Metadata, OrderId};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn event(source: &str, event_type: &str, sequence: u64) -> Envelope {
        let owner = UserId::try_from(format!("usr_{}", "0".repeat(32))).unwrap();
        let order = OrderId::derive(&owner, &IdempotencyKey::try_from("k").unwrap());
        Envelope {
            event_id: EventId::derive(source, order.as_str(), sequence),
            event_type: event_type.to_owned(),
            event_version: 1,
            occurred_at: Timestamp::UNIX_EPOCH,
            source: source.to_owned(),
            subject: order.to_string(),
            sequence,
            correlation_id: CorrelationId::try_from("c").unwrap(),
            causation_id: "c".to_owned(),
            traceparent: None,
            data: serde_json::Value::Null,
            metadata: Metadata { user_id: Some(owner), tenant_id: None },
        }
    }

    fn order(version: u64) -> Envelope {
        event("orders", if version == 1 { "order.created" } else { "order.payment_pending" }, version)
    }

    fn payment(sequence: u64) -> Envelope {
        event("payments", "payment.pending", sequence)
    }

    fn buffer(events: &[Envelope]) -> Buffer {
        let mut buffer = Buffer::default();
        for event in events {
            buffer.add(event).unwrap();
        }
        buffer
    }

    /// `o3` an order frame, `p1` a payment frame, `s1` a shipment frame, `-2` a gap of two.
    fn short(frames: &[Frame]) -> String {
        let words = frames.iter().map(|frame| match frame {
            Frame::Event(event) => match event.place() {
                (FrameKind::Order, n) => format!("o{n}"),
                (FrameKind::Payment, n) => format!("p{n}"),
                (FrameKind::Shipment, n) => format!("s{n}"),
            },
            Frame::Gap { dropped, .. } => format!("-{dropped}"),
            other => format!("{other:?}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn live(arrival: Arrival) -> String {
        match arrival {
            Arrival::New(frames) => short(&frames),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_replay_contains_what_arrived_after_the_clients_version() {
        let buffer = buffer(&[order(1), order(2), payment(1), order(3), payment(2)]);
        assert_eq!(short(&buffer.replay(0)), "o1 o2 p1 o3 p2");
        assert_eq!(short(&buffer.replay(2)), "p1 o3 p2");
        assert_eq!(short(&buffer.replay(3)), "p2");
        assert_eq!(short(&buffer.replay(7)), "p2");
        assert_eq!(short(&Buffer::default().replay(0)), "");
    }

    #[test]
    fn frames_that_were_dropped_are_announced() {
        let buffer = buffer(&(1..=105).map(order).collect::<Vec<_>>());
        let replay = short(&buffer.replay(2));
        assert!(replay.starts_with("-3 o6 o7 "), "{replay}");
        assert!(replay.ends_with(" o105"), "{replay}");
        assert_eq!(short(&buffer.replay(104)), "o105");
    }

    #[test]
    fn an_event_that_was_lost_on_the_way_is_announced_live_and_in_replays_until_it_is_found() {
        let mut buffer = buffer(&[order(1)]);
        assert_eq!(live(buffer.add(&order(3)).unwrap()), "-1 o3");
        assert_eq!(short(&buffer.replay(0)), "o1 -1 o3");
        assert_eq!(buffer.add(&order(2)).unwrap(), Arrival::Late);
        assert_eq!(short(&buffer.replay(0)), "o1 o2 o3");
        assert_eq!(live(buffer.add(&order(4)).unwrap()), "o4");
    }

    #[test]
    fn a_repeated_event_changes_nothing() {
        let mut buffer = buffer(&[order(1), payment(1), order(2)]);
        let before = buffer.clone();
        for event in [order(1), order(2), payment(1)] {
            assert_eq!(buffer.add(&event).unwrap(), Arrival::Duplicate);
        }
        assert_eq!(buffer, before);
    }

    #[test]
    fn a_late_cancel_request_has_the_status_of_its_time() {
        let mut buffer = buffer(&[order(1), order(3)]);
        buffer.add(&event("orders", "order.cancel_requested", 2)).unwrap();
        buffer.add(&event("orders", "order.cancel_requested", 4)).unwrap();
        let statuses: Vec<_> = buffer
            .state()
            .frames
            .iter()
            .map(|frame| match frame {
                EventFrame::Order { status, .. } => *status,
                _ => None,
            })
            .collect();
        use OrderStatus::{OrderCreated, PaymentPending};
        assert_eq!(statuses, [OrderCreated, OrderCreated, PaymentPending, PaymentPending].map(Some));
    }

    #[test]
    fn a_cancel_request_has_the_current_status_behind_a_hundred_frames_of_others() {
        let mut events = vec![order(1), order(2)];
        events.extend((1..=100).map(payment));
        let mut buffer = buffer(&events);
        let Ok(Arrival::New(frames)) = buffer.add(&event("orders", "order.cancel_requested", 3)) else {
            panic!("it is new")
        };
        let [Frame::Event(EventFrame::Order { status, .. })] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(*status, Some(OrderStatus::PaymentPending));
    }

    #[test]
    fn the_first_event_names_the_owner() {
        let mut other = order(2);
        other.metadata.user_id = Some(UserId::generate());
        let buffer = buffer(&[order(1), other]);
        assert_eq!(buffer.owner(), order(1).metadata.user_id.as_ref());
    }

    #[test]
    fn a_hundred_frames_of_others_behind_the_newest_order_frame_hide_no_version() {
        let mut events = vec![order(1), order(2)];
        events.extend((1..=100).map(payment));
        let buffer = buffer(&events);
        assert!(short(&buffer.replay(1)).ends_with("p100 -1"));
    }

    /// Follows frames as a client does: after the version it has seen, each order frame is the next one, or a
    /// gap gives the number of missing ones. Returns the last version.
    fn follow(seen: u64, frames: &[Frame]) -> Result<u64, TestCaseError> {
        let mut last = seen;
        for frame in frames {
            match frame {
                Frame::Gap { dropped, .. } => last += dropped,
                Frame::Event(EventFrame::Order { version, .. }) => {
                    prop_assert_eq!(*version, last + 1, "a hole or a step back: {}", short(frames));
                    last = *version;
                }
                _ => {}
            }
        }
        Ok(last)
    }

    proptest! {
        /// Whatever is lost, repeated, late or dropped: live and replayed, no version is missing without a gap.
        #[test]
        fn no_client_ever_has_a_hole_without_a_gap(
            arrivals in prop::collection::vec((1_u64..160, any::<bool>()), 0..250),
            after in 0_u64..170,
        ) {
            let mut buffer = Buffer::default();
            let mut live = Vec::new();
            // Mostly in order, as the queue delivers them, with some lost and some old ones repeated.
            let mut next = 1;
            for (pick, is_payment) in arrivals {
                let number = if pick % 4 == 0 { pick % next + 1 } else { next };
                next = next.max(number + u64::from(pick % 7 == 0)) + 1;
                let event = if is_payment { payment(number) } else { order(number) };
                if let Arrival::New(frames) = buffer.add(&event).unwrap() {
                    live.extend(frames);
                }
                prop_assert!(buffer.state().frames.len() <= CAPACITY);
            }
            let newest = buffer.state().version;
            prop_assert_eq!(follow(0, &live)?, newest);
            let replay = buffer.replay(after);
            prop_assert_eq!(follow(after, &replay)?, newest.max(after));
            // A gap is announced only for what the buffer does not have.
            let replayed = replay.iter().filter(|f| matches!(f, Frame::Event(EventFrame::Order { .. }))).count();
            let kept = buffer.state().frames.iter().filter(|f| {
                matches!(f, EventFrame::Order { version, .. } if *version > after)
            });
            prop_assert_eq!(replayed, kept.count());
        }

        /// An order of the usual length, and a client that is away for some of it, again and again.
        #[test]
        fn a_client_that_reconnects_often_sees_every_version_in_order(
            steps in prop::collection::vec((any::<bool>(), any::<bool>()), 0..CAPACITY),
        ) {
            let (mut buffer, mut seen, mut connected) = (Buffer::default(), 0, false);
            let (mut orders, mut payments) = (0, 0);
            for (is_payment, is_there) in steps {
                let mut frames = Vec::new();
                if is_there && !connected {
                    frames = buffer.replay(seen);
                }
                connected = is_there;
                let count = if is_payment { &mut payments } else { &mut orders };
                *count += 1;
                let event = if is_payment { payment(*count) } else { order(*count) };
                if let Arrival::New(live) = buffer.add(&event).unwrap() && connected {
                    frames.extend(live);
                }
                let gaps = frames.iter().filter(|frame| matches!(frame, Frame::Gap { .. })).count();
                prop_assert_eq!(gaps, 0);
                seen = follow(seen, &frames)?;
                prop_assert!(!connected || seen == orders);
            }
        }
    }
}
