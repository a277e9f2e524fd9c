//! Queries and scans, whole or page by page.

use aws_sdk_dynamodb::operation::{query::builders::QueryFluentBuilder, scan::builders::ScanFluentBuilder};

use super::{Item, Table, TableError};

/// One page of a query or scan.
#[derive(Debug, Clone, Default)]
pub struct ItemPage {
    /// In the order of the sort key.
    pub items: Vec<Item>,
    /// The start key of the next page; `None` after the last one. A page without items may have a next one,
    /// because a filter is applied after the read.
    pub next: Option<Item>,
}

impl Table {
    /// A query of this table.
    pub fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// A scan of this table.
    pub fn scan(&self) -> ScanFluentBuilder {
        self.client.scan().table_name(&self.name)
    }

    /// The items of all pages of a query.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn query_all(
        &self,
        operation: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<Vec<Item>, TableError> {
        let items = query.into_paginator().items().send();
        items.collect::<Result<_, _>>().await.map_err(|e| TableError::call(operation, e))
    }

    /// One page of a query.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn query_page(
        &self,
        operation: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<ItemPage, TableError> {
        let answer = query.send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(ItemPage::new(answer.items, answer.last_evaluated_key))
    }

    /// One page of a scan.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn scan_page(
        &self,
        operation: &'static str,
        scan: ScanFluentBuilder,
    ) -> Result<ItemPage, TableError> {
        let answer = scan.send().await.map_err(|e| TableError::call(operation, e))?;
        Ok(ItemPage::new(answer.items, answer.last_evaluated_key))
    }
}

impl ItemPage {
    fn new(items: Option<Vec<Item>>, last_evaluated_key: Option<Item>) -> Self {
        // Emulators write an empty key after the last page, where DynamoDB writes none.
        let next = last_evaluated_key.filter(|key| !key.is_empty());
        Self { items: items.unwrap_or_default(), next }
    }
}
