//! A circuit as an item of the context's own table: `pk = BREAKER#<dependency>`, `sk = BREAKER`. It has no outbox,
//! so that a relay on the table's stream passes it by.

use tokio::time::timeout;

use super::{Circuit, Circuits};
use crate::{
    dynamodb::{Item, Table, TableError, condition_failed, key, number},
    numbers::BREAKER,
};

/// The circuit of one dependency in a table.
#[derive(Debug, Clone)]
pub struct TableCircuits {
    table: Table,
    dependency: &'static str,
}

impl TableCircuits {
    pub const fn new(table: Table, dependency: &'static str) -> Self {
        Self { table, dependency }
    }

    fn key(&self) -> Item {
        key(format!("BREAKER#{}", self.dependency), "BREAKER")
    }
}

impl Circuits for TableCircuits {
    async fn read(&self, consistent: bool) -> Result<Circuit, TableError> {
        const OPERATION: &str = "reading a circuit";
        let get = self.table.client.get_item().table_name(&self.table.name).set_key(Some(self.key()));
        let answer = timeout(BREAKER.read, get.consistent_read(consistent).send());
        let answer = answer.await.map_err(|late| TableError::call(OPERATION, late))?;
        let Some(item) = answer.map_err(|e| TableError::call(OPERATION, e))?.item else {
            return Ok(Circuit::default());
        };
        serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))
    }

    async fn replace(&self, circuit: &Circuit) -> Result<bool, TableError> {
        const OPERATION: &str = "writing a circuit";
        let mut item: Item = serde_dynamo::to_item(circuit).map_err(|e| TableError::item(OPERATION, e))?;
        item.extend(self.key());
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        let before = circuit.version - 1;
        let put = if before == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :before")
                .expression_attribute_values(":before", number(before))
        };
        let answer = timeout(BREAKER.write, put.send());
        match answer.await.map_err(|late| TableError::call(OPERATION, late))? {
            Ok(_) => Ok(true),
            Err(error) if condition_failed(&error) => Ok(false),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }
}
