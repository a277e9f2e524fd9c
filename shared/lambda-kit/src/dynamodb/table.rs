//! A context's table: reads and writes of single items.

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_item::PutItemError,
};
use aws_types::SdkConfig;
use futures::FutureExt;
use serde::de::DeserializeOwned;

use super::{Conflict, Expression, Item, TableError, condition_failed, expression::Parts, from_item, key};
use crate::{
    config::{self, ConfigError},
    health::Check,
};

/// A context's table.
#[derive(Debug, Clone)]
pub struct Table {
    /// For calls that this module has no method for.
    pub client: Client,
    /// The name or ARN that calls send.
    pub name: String,
}

impl Table {
    /// The table named by `TABLE_NAME`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        Ok(Self { client: Client::new(sdk), name: config::required("TABLE_NAME")? })
    }

    /// The table of this name, by this client.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    /// Checks that the table answers.
    // It reads a key that no item has: the cheapest call, with a permission that every function on the table
    // has.
    pub fn health(&self) -> Check {
        let table = self.clone();
        Check::new("table", move || {
            let table = table.clone();
            async move {
                let read = table.client.get_item().table_name(&table.name);
                read.set_key(Some(key("HEALTH", "HEALTH"))).send().await.is_ok()
            }
            .boxed()
        })
    }

    /// The value that the item stores, if there is one. A consistent read.
    ///
    /// # Errors
    /// When the call fails, or the item has another format.
    pub async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        key: Item,
    ) -> Result<Option<T>, TableError> {
        self.get_item(operation, key).await?.map(|item| from_item(operation, item)).transpose()
    }

    /// The item, if there is one. A consistent read.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn get_item(&self, operation: &'static str, key: Item) -> Result<Option<Item>, TableError> {
        // The read is consistent, because stores decide on what they read. A decision on an older item would be
        // refused by the condition of its write.
        let read = self.client.get_item().table_name(&self.name).set_key(Some(key)).consistent_read(true);
        let answer = read.send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(answer.item)
    }

    /// Writes an item over the one of its key.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn put(&self, operation: &'static str, item: Item) -> Result<(), TableError> {
        self.send_put(item, None).await.map_err(|e| TableError::call(operation, e))
    }

    /// Writes an item over the one of its key, if that meets the condition.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn put_if(
        &self,
        operation: &'static str,
        item: Item,
        condition: impl Into<Expression>,
    ) -> Result<Result<(), Conflict>, TableError> {
        outcome(operation, self.send_put(item, Some(condition.into())).await)
    }

    pub(super) async fn send_put(
        &self,
        item: Item,
        condition: Option<Expression>,
    ) -> Result<(), SdkError<PutItemError>> {
        let Parts { condition, names, values, .. } = Parts::of(None, condition);
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        put.send().await.map(drop)
    }

    /// Updates attributes of an item, if it meets the condition. An item that does not exist is created, unless
    /// the condition forbids that.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn update_if(
        &self,
        operation: &'static str,
        key: Item,
        update: impl Into<Expression>,
        condition: impl Into<Expression>,
    ) -> Result<Result<(), Conflict>, TableError> {
        let Parts { update, condition, names, values } =
            Parts::of(Some(update.into()), Some(condition.into()));
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        outcome(operation, update.send().await)
    }

    /// Deletes an item. One that does not exist is no error.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn delete(&self, operation: &'static str, key: Item) -> Result<(), TableError> {
        let delete = self.client.delete_item().table_name(&self.name).set_key(Some(key));
        delete.send().await.map(drop).map_err(|e| TableError::call(operation, e))
    }

    /// Deletes an item, if it meets the condition.
    ///
    /// # Errors
    /// When the call failed or its answer was lost: it may have taken effect.
    pub async fn delete_if(
        &self,
        operation: &'static str,
        key: Item,
        condition: impl Into<Expression>,
    ) -> Result<Result<(), Conflict>, TableError> {
        let Parts { condition, names, values, .. } = Parts::of(None, Some(condition.into()));
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        outcome(operation, delete.send().await)
    }
}

/// The outcome of a conditional write.
fn outcome<T, E, R>(
    operation: &'static str,
    sent: Result<T, SdkError<E, R>>,
) -> Result<Result<(), Conflict>, TableError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(Ok(())),
        Err(error) if condition_failed(&error) => Ok(Err(Conflict)),
        Err(error) => Err(TableError::call(operation, error)),
    }
}
