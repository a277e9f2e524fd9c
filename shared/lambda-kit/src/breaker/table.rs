//! A circuit as an item of the context's own table: `pk = BREAKER#<dependency>`, `sk = BREAKER`. It has no outbox,
//! so that a relay on the table's stream passes it by.

use tokio::time::timeout;

use super::{Circuit, Circuits};
use crate::{
    dynamodb::{Item, Table, TableError, at_version, from_item, key, to_item},
    limits::BREAKER,
};

/// The circuit of one dependency in a table.
#[derive(Debug, Clone)]
pub struct TableCircuits {
    table: Table,
    dependency: &'static str,
}

impl TableCircuits {
    /// The circuit of `dependency`, in its context's own table.
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
        from_item(OPERATION, item)
    }

    async fn replace(&self, circuit: &Circuit) -> Result<bool, TableError> {
        const OPERATION: &str = "writing a circuit";
        let item = to_item(OPERATION, self.key(), circuit)?;
        let put = self.table.put_if(OPERATION, item, at_version(circuit.version - 1));
        let written =
            timeout(BREAKER.write, put).await.map_err(|late| TableError::call(OPERATION, late))??;
        Ok(written.is_ok())
    }
}
