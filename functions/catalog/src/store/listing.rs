//! Lists of products: all on sale, those of a category, or those whose name has a word with a prefix. Each
//! list is one partition of an index (for words, one per first letter); none is a filter over a larger one.

use std::collections::{HashMap, HashSet};

use contracts::Sku;
use lambda_kit::{
    cursor::{self, InvalidCursor},
    dynamodb::{BatchRead, Item, SK, TableError, from_item, key, string, string_of},
};
use serde::{Deserialize, Serialize};

use super::{Store, partition, product_key};
use crate::domain::{
    Product,
    words::{first_match, phrases},
};

/// An index: its name and its keys.
struct Index {
    name: &'static str,
    pk: &'static str,
    sk: &'static str,
}

/// Over everything that is on sale.
const LISTING: Index = Index { name: "listing", pk: "gsi1pk", sk: "gsi1sk" };
/// The same within each category.
const CATEGORY: Index = Index { name: "category", pk: "gsi2pk", sk: "gsi2sk" };

const LISTED: &str = "PRODUCTS";
const WORD: &str = "WORD#";

/// Index reads for one page, at most.
// A product whose name has the word twice is read twice and shown once, so a read may yield less than a page.
const READS: usize = 4;
/// Products of one such read: their items are one BatchGetItem.
const KEYS_PER_READ: usize = 100;

/// Which products are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProductFilter {
    pub category: Option<String>,
    /// Normalized: a prefix of a phrase of the name.
    pub text: Option<String>,
}

/// One page of products, sorted by name in a search, else by SKU.
#[derive(Debug, Clone, Default)]
pub struct ProductPage {
    pub products: Vec<Product>,
    pub next_cursor: Option<String>,
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    #[error(transparent)]
    Table(#[from] TableError),
}

impl ListError {
    /// Whether the table does not answer.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Table(error) if error.is_outage())
    }
}

/// The last product of a page, and the list that it belongs to. Its JSON is a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(flatten)]
    last: ListKey,
}

/// A product's position in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ListKey {
    sku: Sku,
    /// In a list by words: the number of the name's phrase, and its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    word: Option<(usize, String)>,
}

impl ListKey {
    /// The sort key in the list.
    fn sort_key(&self) -> String {
        match &self.word {
            None => self.sku.to_string(),
            // A phrase has no `#` and at most 200 characters and 800 bytes. With the SKU it stays below the
            // 1,024 bytes of a sort key.
            Some((_, phrase)) => format!("{phrase}#{}", self.sku),
        }
    }

    fn key(&self) -> Item {
        match &self.word {
            None => product_key(&self.sku),
            Some((position, _)) => key(partition(&self.sku), format!("{WORD}{position:02}")),
        }
    }
}

impl ProductFilter {
    /// The index of the list, and its partition.
    fn list(&self) -> (Index, String) {
        // At most one character, so that everything after it is the category, whatever it contains.
        let letter = self.text.as_ref().map(|text| text.chars().take(1).collect::<String>());
        match (&self.category, letter) {
            (None, None) => (LISTING, LISTED.to_owned()),
            (None, Some(letter)) => (LISTING, format!("WORDS#{letter}")),
            (Some(category), None) => (CATEGORY, format!("CATEGORY#{category}")),
            (Some(category), Some(letter)) => (CATEGORY, format!("WORDS#{letter}#{category}")),
        }
    }

    /// The position that a cursor of this list names.
    fn parse(&self, cursor: &str) -> Result<ListKey, InvalidCursor> {
        let Position { category, text, last } = cursor::decode(cursor)?;
        let fits = match (&self.text, &last.word) {
            (None, None) => true,
            (Some(text), Some((_, phrase))) => phrase.starts_with(text.as_str()),
            _ => false,
        };
        let is_here = fits && category == self.category && text == self.text;
        if is_here { Ok(last) } else { Err(InvalidCursor) }
    }

    fn cursor(&self, last: ListKey) -> Result<String, TableError> {
        let Self { category, text } = self.clone();
        cursor::encode(&Position { category, text, last })
            .map_err(|e| TableError::item("writing a cursor", e))
    }
}

/// The keys of a product on sale in both indexes.
fn listed(category: &str, place: &ListKey) -> Item {
    let text = place.word.as_ref().map(|(_, phrase)| phrase.clone());
    let all = ProductFilter { category: None, text };
    let within = ProductFilter { category: Some(category.to_owned()), ..all.clone() };
    let mut keys = Item::new();
    for filter in [all, within] {
        let (index, partition) = filter.list();
        keys.insert(index.pk.to_owned(), string(partition));
        keys.insert(index.sk.to_owned(), string(place.sort_key()));
    }
    keys
}

/// The index keys of a product's own item, by which it is in its lists.
pub(super) fn product_keys(product: &Product) -> Item {
    if product.discontinued {
        // Without these keys the item leaves both indexes, which are sparse.
        return Item::new();
    }
    listed(&product.category, &ListKey { sku: product.sku.clone(), word: None })
}

/// The additional items by which a product is found: one for each phrase of its name.
pub(super) fn words(product: &Product) -> Vec<Item> {
    if product.discontinued {
        return vec![];
    }
    let places = phrases(&product.name).into_iter().enumerate();
    places
        .map(|word| {
            let place = ListKey { sku: product.sku.clone(), word: Some(word) };
            place.key().into_iter().chain(listed(&product.category, &place)).collect()
        })
        .collect()
}

impl Store {
    /// Products on sale, at most `limit` (1 to 100), after `cursor`. A page may have fewer, even when more
    /// follow.
    ///
    /// # Errors
    /// When the cursor does not belong to this list, or the table cannot be read.
    pub async fn list(
        &self,
        filter: &ProductFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<ProductPage, ListError> {
        if filter.text.as_ref().is_some_and(String::is_empty) {
            // The search text has only characters that no word has.
            return Ok(ProductPage { products: vec![], next_cursor: None });
        }
        let from = cursor.map(|cursor| filter.parse(cursor)).transpose()?;
        // One more than a page shows whether there is another page.
        let (mut found, rest) = self.find(filter, limit + 1, from).await?;
        let next = if found.len() > limit {
            found.truncate(limit);
            found.last().map(|(place, _)| place.clone())
        } else {
            rest
        };
        let products = found.into_iter().map(|(_, product)| product).collect();
        Ok(ProductPage { products, next_cursor: next.map(|place| filter.cursor(place)).transpose()? })
    }

    /// The products after a position, and the position after which there may be more.
    async fn find(
        &self,
        filter: &ProductFilter,
        wanted: usize,
        mut from: Option<ListKey>,
    ) -> Result<(Vec<(ListKey, Product)>, Option<ListKey>), TableError> {
        let mut found = Vec::new();
        for _ in 0..READS {
            let (places, more) =
                self.places(filter, (wanted - found.len()).min(KEYS_PER_READ), from.take()).await?;
            let last = places.last().map(|(place, _)| place.clone());
            found.extend(self.shown(filter, places).await?);
            from = last.filter(|_| more);
            if from.is_none() || found.len() >= wanted {
                break;
            }
        }
        Ok((found, from))
    }

    /// A section of a list's index, and whether it continues.
    async fn places(
        &self,
        filter: &ProductFilter,
        limit: usize,
        from: Option<ListKey>,
    ) -> Result<(Vec<(ListKey, Item)>, bool), TableError> {
        const OPERATION: &str = "listing products";
        let (index, partition) = filter.list();
        let start = from.map(|place| {
            let mut key = place.key();
            key.insert(index.pk.to_owned(), string(&partition));
            key.insert(index.sk.to_owned(), string(place.sort_key()));
            key
        });
        let query = self
            .table
            .query()
            .index_name(index.name)
            .expression_attribute_names("#pk", index.pk)
            .expression_attribute_values(":list", string(partition))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start);
        let query = match &filter.text {
            None => query.key_condition_expression("#pk = :list"),
            Some(text) => query
                .key_condition_expression("#pk = :list AND begins_with(#sk, :text)")
                .expression_attribute_names("#sk", index.sk)
                .expression_attribute_values(":text", string(text)),
        };
        let page = self.table.query_page(OPERATION, query).await?;
        let places = page.items.into_iter().map(|item| Ok((place(&index, &item)?, item)));
        let places: Result<_, &str> = places.collect();
        Ok((places.map_err(|e| TableError::item(OPERATION, e))?, page.next.is_some()))
    }

    /// The products of these index entries.
    async fn shown(
        &self,
        filter: &ProductFilter,
        places: Vec<(ListKey, Item)>,
    ) -> Result<Vec<(ListKey, Product)>, TableError> {
        const OPERATION: &str = "reading a page of products";
        let Some(text) = &filter.text else {
            return places
                .into_iter()
                .map(|(place, item)| Ok((place, from_item(OPERATION, item)?)))
                .collect();
        };
        // An item of a word holds only its keys, so the products are read. Their names are compared again,
        // because an index lags behind its table.
        let skus: HashSet<Sku> = places.iter().map(|(place, _)| place.sku.clone()).collect();
        let products = self.products(skus).await?;
        let is_here = |place: &ListKey, product: &Product| {
            filter.category.as_ref().is_none_or(|category| *category == product.category)
                // A name with the word twice has two entries. Only the first one shows the product.
                && first_match(&product.name, text) == place.word.as_ref().map(|(position, _)| *position)
        };
        let found = places.into_iter().filter_map(|(place, _)| {
            let product = products.get(&place.sku).filter(|product| is_here(&place, product))?.clone();
            Some((place, product))
        });
        Ok(found.collect())
    }

    /// Those of these products that are on sale.
    pub async fn products(
        &self,
        skus: impl IntoIterator<Item = Sku>,
    ) -> Result<HashMap<Sku, Product>, TableError> {
        const OPERATION: &str = "reading products";
        let keys = skus.into_iter().map(|sku| product_key(&sku)).collect();
        let mut products = HashMap::new();
        for item in self.table.batch_get(OPERATION, keys, BatchRead::EVENTUAL).await? {
            let product: Product = from_item(OPERATION, item)?;
            if !product.discontinued {
                products.insert(product.sku.clone(), product);
            }
        }
        Ok(products)
    }
}

/// The position that an index item holds.
fn place(index: &Index, item: &Item) -> Result<ListKey, &'static str> {
    const BROKEN: &str = "a key of the index is not of its form";
    let text = |name| string_of(item, name).ok_or(BROKEN);
    let sort_key = text(index.sk)?;
    let (sku, word) = match text(SK)?.strip_prefix(WORD) {
        None => (sort_key, None),
        Some(position) => {
            let (phrase, sku) = sort_key.split_once('#').ok_or(BROKEN)?;
            (sku, Some((position.parse().map_err(|_| BROKEN)?, phrase.to_owned())))
        }
    };
    Ok(ListKey { sku: Sku::try_from(sku).map_err(|_| BROKEN)?, word })
}
