//! Messages that come when the saga has given the payment up, or is about to.

use aws_lambda_events::sqs::SqsMessage;

use super::*;

impl Fixture {
    /// Works on a message of the queue, as the saga wrote it when it entered its state, `late` seconds after that.
    async fn works_on(&self, body: serde_json::Value, sent_at: Option<Timestamp>, late: i64) {
        let mut message = SqsMessage::default();
        message.body = Some(body.to_string());
        if let Some(sent_at) = sent_at {
            let sent_at = sent_at.as_millisecond().to_string();
            message.attributes.insert("SentTimestamp".to_owned(), sent_at);
        }
        self.payments.message(message, self.at(late)).await.unwrap();
    }

    fn message(&self) -> serde_json::Value {
        let take = crate::queue::Message::TakePayment(self.take_of("pm_card_visa", "t1"));
        serde_json::to_value(take).unwrap()
    }

    fn old_message(&self) -> serde_json::Value {
        let mut message = self.message();
        message.as_object_mut().unwrap().remove("entered_at").expect("the saga sends it");
        message
    }

    async fn has_timed_out(&self) {
        assert_eq!(self.aws.results(), [failed("t1", "PaymentTimeout")]);
        assert_eq!(self.stripe.calls(), [""; 0], "no card was touched");
        assert_eq!(self.status().await, Status::TimedOut);
        assert_eq!(self.last_event_type().await.as_deref(), Some("payment.failed"));
    }
}

#[tokio::test]
async fn a_message_behind_its_deadline_is_answered_with_the_timeout_and_touches_no_card() {
    let fixture = Fixture::new().await;
    fixture.works_on(fixture.message(), None, DEADLINE).await;
    fixture.has_timed_out().await;
    assert_eq!(fixture.undo().await.unwrap(), undone(UndoOutcome::NothingTaken));
}

#[tokio::test]
async fn a_dead_letter_that_is_redriven_days_later_charges_no_card() {
    let fixture = Fixture::new().await;
    fixture.aws.refuse("t1", 400, "TaskTimedOut");
    let days = 3 * 24 * 3600;
    // A redrive puts the same body into the queue anew.
    fixture.works_on(fixture.message(), Some(fixture.at(days).now), days).await;
    assert_eq!((fixture.stripe.calls().len(), fixture.status().await), (0, Status::TimedOut));
}

#[tokio::test]
async fn the_deadline_of_a_message_that_waited_counts_from_when_the_saga_entered_its_step() {
    let fixture = Fixture::new().await;
    fixture.works_on(fixture.message(), None, DEADLINE - 1).await;
    assert_eq!(fixture.aws.results(), [paid("t1")]);
    assert_eq!(fixture.payment().await.charge.unwrap().deadline, fixture.start.as_second() + DEADLINE);
}

#[tokio::test]
async fn a_message_without_the_time_counts_from_when_it_was_sent() {
    let fixture = Fixture::new().await;
    fixture.works_on(fixture.old_message(), Some(fixture.start), DEADLINE).await;
    fixture.has_timed_out().await;
}

#[tokio::test]
async fn a_message_without_any_time_counts_from_when_it_is_read() {
    let fixture = Fixture::new().await;
    fixture.works_on(fixture.old_message(), None, DEADLINE).await;
    assert_eq!(fixture.aws.results(), [paid("t1")]);
}

#[tokio::test]
async fn a_time_in_the_future_makes_no_deadline_longer() {
    let fixture = Fixture::new().await;
    fixture.works_on(fixture.message(), None, -60).await;
    assert_eq!(fixture.payment().await.charge.unwrap().deadline, fixture.start.as_second() - 60 + DEADLINE);
}
