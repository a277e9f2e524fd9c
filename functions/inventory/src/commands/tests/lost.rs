//! Each AWS call of a command loses the answer of its first try, or of all its tries: it takes effect, and
//! the caller sees a timeout. The saga repeats the command until the answer is final, and the effect must
//! happen only once.

use super::*;

/// The AWS calls that any command makes.
const CALLS: [&str; 5] = ["TransactWriteItems", "PutItem", "GetItem", "BatchGetItem", "TransactGetItems"];

impl Warehouse {
    async fn reserved_at_last(&self, lines: &[(&str, u32)]) -> Result<Value, String> {
        loop {
            match self.reserve(&order(1), lines).await {
                Err(name) if name == "Transient" => {}
                answer => return answer,
            }
        }
    }

    async fn released_at_last(&self) -> Result<Value, String> {
        loop {
            match self.release(&order(1)).await {
                Err(name) if name == "Transient" => {}
                answer => return answer,
            }
        }
    }
}

#[rstest]
#[case::of_one_shard(8, 1, 3)]
#[case::of_several_shards(8, 4, 7)]
#[case::that_must_be_rebalanced(8, 8, 7)]
#[case::of_which_there_is_too_little(8, 4, 9)]
#[tokio::test]
async fn whichever_answer_is_lost_an_order_is_reserved_once_and_released_once(
    #[case] available: u32,
    #[case] shards: u32,
    #[case] quantity: u32,
    #[values(1, MAX_ATTEMPTS)] lost: u32,
) {
    let each = CALLS.map(async |call| {
        let warehouse = Warehouse::spread(&[("MUG", available, shards)]).await;
        warehouse.faults.lose_answers(call, lost);
        let reserved = warehouse.reserved_at_last(&[("MUG", quantity)]).await;
        let enough = quantity <= available;
        let expected = if enough { held(&order(1)) } else { refused("InventoryNotAvailable") };
        assert_eq!(reserved, expected, "{call}");
        let left = if enough { available - quantity } else { available };
        warehouse.faults.reset();
        assert_eq!(warehouse.available("MUG").await, u64::from(left), "{call}");

        warehouse.faults.lose_answers(call, lost);
        let outcome = if enough { "released" } else { "nothing_held" };
        assert_eq!(warehouse.released_at_last().await, undone(outcome), "{call}");
        warehouse.faults.reset();
        assert_eq!(warehouse.available("MUG").await, u64::from(available), "{call}");
    });
    join_all(each).await;
}

#[tokio::test]
async fn whichever_answer_is_lost_an_undo_that_comes_first_leaves_its_mark() {
    let each = CALLS.map(async |call| {
        let warehouse = Warehouse::with(&[("MUG", 8)]).await;
        warehouse.faults.lose_answers(call, MAX_ATTEMPTS);
        assert_eq!(warehouse.released_at_last().await, undone("nothing_held"), "{call}");
        warehouse.faults.lose_answers(call, MAX_ATTEMPTS);
        let reserved = warehouse.reserved_at_last(&[("MUG", 1)]).await;
        assert_eq!(reserved, refused("OrderCancelRequested"), "{call}");
        warehouse.faults.reset();
        assert_eq!(warehouse.available("MUG").await, 8, "{call}");
    });
    join_all(each).await;
}
