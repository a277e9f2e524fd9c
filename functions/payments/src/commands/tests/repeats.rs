//! Every command run twice, undone twice, undone before, done after; and in each of these the answer of every call
//! that it makes lost once, as its caller sees it. Afterwards the money is right.

use lambda_kit::aws::MAX_ATTEMPTS;

use super::*;

/// How long to wait for each lost answer of the gateway. Giving up a slow one early does no harm here.
const SHORT: Duration = Duration::from_millis(300);

/// Whose answer is lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Nothing,
    /// A call of the table after this many that succeed. All tries of the call fail, so that its caller sees
    /// it.
    Table(&'static str, u32),
    /// A call of Step Functions or SQS.
    Aws(&'static str),
    Gateway(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Do {
    Take(&'static str),
    Undo,
}

impl Fixture {
    fn lose(&self, lost: Lost) {
        match lost {
            Lost::Nothing => {}
            Lost::Table(operation, skip) => self.faults.lose_answers_after(skip, operation, MAX_ATTEMPTS),
            Lost::Aws(operation) => self.aws_faults.lose_answers(operation, MAX_ATTEMPTS),
            Lost::Gateway(operation) => self.stripe.fail(operation, &[Fault::LostAnswer]),
        }
    }

    /// As queue and saga do it: until it goes well, and then whatever the queue still holds.
    async fn run(&self, command: Do) {
        for _ in 0..4 {
            let done = match command {
                Do::Take(method) => self.take(method, "t1").await.is_ok(),
                Do::Undo => self.undo().await.is_ok(),
            };
            if done {
                break;
            }
        }
        // A failed check is retried, as here; a check of a payment without a pending action does nothing.
        for seconds in 2..6 {
            let _ = self.check_at(seconds).await;
        }
    }
}

const TAKE: Do = Do::Take("pm_card_visa");
const TAKE_WITH_CUSTOMER: Do = Do::Take("pm_3ds");

#[rstest]
#[case::done_twice(&[TAKE, TAKE], 4200, None)]
#[case::declined_twice(&[Do::Take("pm_declined"), Do::Take("pm_declined")], 0, Some("PaymentDeclined"))]
#[case::undone_twice(&[TAKE, Do::Undo, Do::Undo], 0, None)]
#[case::undone_while_it_waits(&[TAKE_WITH_CUSTOMER, Do::Undo, Do::Undo], 0, Some("OrderCancelRequested"))]
#[case::undone_unseen_and_done_late(&[Do::Undo, TAKE, Do::Undo], 0, Some("OrderCancelRequested"))]
#[case::done_after_it_was_undone(&[TAKE, Do::Undo, TAKE], 0, None)]
#[tokio::test]
async fn the_money_is_right_however_often_and_in_whatever_order_and_whichever_answer_is_lost(
    #[case] commands: &[Do],
    #[case] kept: i64,
    #[case] expected: Option<&str>,
    #[values(
        Lost::Nothing,
        Lost::Table("PutItem", 0),
        Lost::Table("PutItem", 1),
        Lost::Table("PutItem", 2),
        Lost::Table("PutItem", 3),
        Lost::Table("GetItem", 0),
        Lost::Table("GetItem", 1),
        Lost::Table("GetItem", 2),
        Lost::Aws("SendTaskSuccess"),
        Lost::Aws("SendTaskFailure"),
        Lost::Aws("SendMessage"),
        Lost::Gateway("create"),
        Lost::Gateway("confirm"),
        Lost::Gateway("retrieve"),
        Lost::Gateway("cancel"),
        Lost::Gateway("refund")
    )]
    lost: Lost,
) {
    let fixture = Fixture::with_calls_of(SHORT).await;
    fixture.lose(lost);
    for command in commands {
        fixture.run(*command).await;
    }
    assert!(fixture.stripe.charges() <= 1, "charged more than once");
    assert_eq!(fixture.stripe.money_held(), kept);
    // The saga uses the first result that it gets.
    let results = fixture.aws.results();
    assert_eq!(results.first().expect("the step gets a result").1.as_deref(), expected);
    if matches!(commands.last(), Some(Do::Undo)) {
        let outcome = fixture.undo().await.unwrap().outcome;
        assert_ne!(outcome == UndoOutcome::Refunded, fixture.stripe.charges() == 0, "{outcome:?}");
    }
}
