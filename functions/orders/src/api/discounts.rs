//! Discount codes, for administrators.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use contracts::{ChargeRule, Money, NotChargeable};
use garde::Validate;
use jiff::Timestamp;
use lambda_kit::{
    audit::{Actor, Entry},
    cursor,
    dynamodb::Conflict,
    http::{Admin, Body, Correlation, FieldError, List, Page, Problem, limit},
    limits::{LISTS, STAFF},
    text,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{Discount, DiscountCode, Reduction, Terms},
    store::Store,
};

pub(super) fn routes() -> Router<Store> {
    Router::new()
        .route("/v1/discounts", limit::before(&LISTS, get(list)).merge(limit::before(&STAFF, post(create))))
        .route("/v1/discounts/{code}", limit::before(&STAFF, delete(end)))
        .route("/v1/discounts/{code}/audit", limit::before(&LISTS, get(changes)))
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub(super) fn operations() -> [lambda_kit::openapi::Operation; 4] {
    use lambda_kit::{
        audit,
        openapi::{Operation, Who},
    };

    let discount = json!({
        "code": "AUTUMN10", "percentage": 10, "total_limit": 500, "created_at": "2026-11-21T12:00:00Z", "used": 42
    });
    [
        Operation::post(
            "/v1/discounts",
            "createDiscountCode",
            Who::Admin,
            "Make a discount code",
            "It takes off a percentage or an amount. Its terms cannot be changed afterwards, and its name cannot be \
             used again.",
        )
        .limited(&STAFF)
        .takes::<NewDiscount>(json!({"code": "AUTUMN10", "percentage": 10, "total_limit": 500}))
        .answers::<Discount>(201, "The code.", &[], discount.clone())
        .problem(409, "There is or was a code of this name."),
        Operation::get(
            "/v1/discounts",
            "listDiscountCodes",
            Who::Admin,
            "Discount codes, and how often each is used",
            "A cancelled order gives its use back.",
        )
        .limited(&LISTS)
        .paged()
        .answers::<List<Discount>>(200, "The codes.", &[], json!({"items": [discount], "next_cursor": null})),
        Operation::delete(
            "/v1/discounts/{code}",
            "endDiscountCode",
            Who::Admin,
            "End a discount code",
            "Orders that were placed with it keep their discount.",
        )
        .limited(&STAFF)
        .answers_nothing(204, "No further order gets it."),
        audit::operation(
            "/v1/discounts/{code}/audit",
            "listDiscountCodeChanges",
            "Who made and ended a discount code",
            json!({
                "id": "019ad0c0f00070008000000000000000", "at": "2026-11-21T12:00:00Z",
                "actor": "usr_0123456789abcdef0123456789abcdef", "action": "discount.ended", "subject": "AUTUMN10",
                "before": {"ended": false}, "after": {"ended": true}, "correlation_id": "cor_1"
            }),
        ),
    ]
}

#[derive(Deserialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct NewDiscount {
    #[garde(skip)]
    code: DiscountCode,
    #[garde(range(min = 1, max = 100))]
    percentage: Option<u8>,
    #[garde(inner(custom(is_reduction)))]
    amount: Option<Money>,
    #[garde(inner(custom(is_sum)))]
    minimum_total: Option<Money>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "text::optional")]
    valid_from: Option<Timestamp>,
    #[garde(skip)]
    #[serde(default, deserialize_with = "text::optional")]
    valid_until: Option<Timestamp>,
    #[garde(range(min = 1, max = LIMIT_MAX))]
    total_limit: Option<u64>,
    #[garde(range(min = 1, max = LIMIT_MAX))]
    per_customer_limit: Option<u64>,
}

/// The highest limit of uses.
// More orders than there will ever be. And every JSON parser reads the number exactly: JavaScript's numbers
// are exact up to 2^53.
const LIMIT_MAX: u64 = 1_000_000_000;

/// Checks that a total reduced by this amount can still be charged.
fn is_reduction(money: &Money, context: &()) -> garde::Result {
    is_sum(money, context)?;
    match money.check_price() {
        // An amount above the largest charge is allowed, because a reduction is never more than the order's
        // sum.
        Ok(()) | Err(NotChargeable::TooLarge(_)) => Ok(()),
        Err(error) => Err(garde::Error::new(error)),
    }
}

fn is_sum(money: &Money, _: &()) -> garde::Result {
    ChargeRule::of(money.currency).map_err(garde::Error::new)?;
    if money.amount > 0 { Ok(()) } else { Err(garde::Error::new("amount must be 1 or more")) }
}

impl NewDiscount {
    /// Checks the rules that concern several fields.
    fn terms(self, created_at: Timestamp) -> Result<Terms, Problem> {
        let reduction = match (self.percentage, self.amount) {
            (Some(percentage), None) => Reduction::Percentage(percentage),
            (None, Some(amount)) => Reduction::Amount(amount),
            (None, None) => return Err(Problem::field("percentage", "specify `percentage` or `amount`")),
            (Some(_), Some(_)) => {
                return Err(Problem::field("amount", "specify `percentage` or `amount`, not both"));
            }
        };
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: &str| {
            errors.push(FieldError { field: field.to_owned(), message: message.to_owned() });
        };
        if let (Some(amount), Some(minimum)) = (self.amount, self.minimum_total)
            && amount.currency != minimum.currency
        {
            wrong("minimum_total", "must be in the currency of `amount`");
        }
        if let (Some(from), Some(until)) = (self.valid_from, self.valid_until)
            && until <= from
        {
            wrong("valid_until", "must be after `valid_from`");
        }
        if !errors.is_empty() {
            return Err(Problem::unprocessable(errors));
        }
        Ok(Terms {
            code: self.code,
            reduction,
            minimum_total: self.minimum_total,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            total_limit: self.total_limit,
            per_customer_limit: self.per_customer_limit,
            created_at,
        })
    }
}

async fn create(
    State(store): State<Store>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Body(body): Body<NewDiscount>,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let terms = body.terms(now)?;
    let after = serde_json::to_value(&terms).map_err(|e| Problem::internal(&e))?;
    let actor = Actor::User(admin.user_id);
    let entry = Entry::new(now, actor, "discount.created", terms.code.key(), &correlation_id)
        .with_change((Value::Null, after));
    store.create_discount(&terms, &entry).await?.map_err(|Conflict| {
        Problem::conflict(
            "There is or was a discount code of this name. A code means one thing for ever: choose another name.",
        )
    })?;
    Ok((StatusCode::CREATED, Json(Discount { terms, used: 0 })).into_response())
}

async fn list(
    State(store): State<Store>,
    Admin(_): Admin,
    Page { limit, cursor }: Page,
) -> Result<Json<List<Discount>>, Problem> {
    let after: Option<DiscountCode> = cursor.map(|cursor| cursor::decode(&cursor)).transpose()?;
    let (items, more) = store.discounts(limit, after.as_ref()).await?;
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|discount| cursor::encode(&discount.terms.code)).transpose();
    Ok(Json(List { items, next_cursor: next_cursor.map_err(|e| Problem::internal(&e))? }))
}

async fn end(
    State(store): State<Store>,
    Admin(admin): Admin,
    Correlation(correlation_id): Correlation,
    Path(code): Path<String>,
) -> Result<StatusCode, Problem> {
    let code = DiscountCode::try_from(code).map_err(|_| not_found())?;
    let (actor, is_ended) = (Actor::User(admin.user_id), |ended: bool| json!({"ended": ended}));
    let entry = Entry::new(Timestamp::now(), actor, "discount.ended", code.key(), &correlation_id)
        .with_change((is_ended(false), is_ended(true)));
    // A repeat gets 404, too. The code does not exist any more for new orders, and that is what the caller
    // wanted.
    store.end_discount(&code, &entry).await?.map_err(|Conflict| not_found())?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who made and ended the code.
async fn changes(
    State(store): State<Store>,
    Admin(_): Admin,
    Path(code): Path<String>,
    page: Page,
) -> Result<Json<List<Entry>>, Problem> {
    let code = DiscountCode::try_from(code).map_err(|_| not_found())?;
    Ok(Json(store.audit_entries(&code.key(), page).await?))
}

fn not_found() -> Problem {
    Problem::not_found("There is no such discount code.")
}

#[cfg(test)]
mod tests;
