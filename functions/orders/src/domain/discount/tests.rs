use contracts::PricedLine;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    domain::{Command, Event, LineError, Order, Rejected, decide},
    testing::{at, placed, two_mugs, usd},
};

fn terms() -> Terms {
    Terms {
        code: DiscountCode::try_from("Ten-Off".to_owned()).unwrap(),
        reduction: Reduction::Percentage(10),
        minimum_total: None,
        valid_from: None,
        valid_until: None,
        total_limit: None,
        per_customer_limit: None,
        created_at: at(0),
    }
}

/// Used 3 times, once by this customer, at second 5.
fn offer(terms: Terms) -> Offer {
    Offer { discount: Discount { terms, used: 3 }, used_by_customer: 1, at: at(5) }
}

fn euros(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

#[rstest]
#[case::a_part(Reduction::Percentage(10), 8400, 840)]
#[case::rounded_down(Reduction::Percentage(33), 101, 33)]
#[case::all_of_it(Reduction::Percentage(100), 8400, 8400)]
#[case::of_the_most(Reduction::Percentage(99), 99_999_999, 98_999_999)]
#[case::an_amount(Reduction::Amount(usd(500)), 8400, 500)]
#[case::no_more_than_the_sum(Reduction::Amount(usd(9000)), 8400, 8400)]
#[case::of_nothing(Reduction::Amount(usd(9000)), 0, 0)]
fn a_code_takes_off_its_part_and_never_more_than_there_is(
    #[case] reduction: Reduction,
    #[case] sum: i64,
    #[case] expected: i64,
) {
    let discount = offer(Terms { reduction, ..terms() }).reduce(usd(sum)).unwrap();
    assert_eq!(discount, OrderDiscount { code: "Ten-Off".to_owned(), amount: usd(expected) });
}

#[rstest]
#[case::from_now(Terms { valid_from: Some(at(5)), ..terms() }, Ok(()))]
#[case::from_later(Terms { valid_from: Some(at(6)), ..terms() }, Err(DiscountError::TooEarly))]
#[case::until_later(Terms { valid_until: Some(at(6)), ..terms() }, Ok(()))]
#[case::until_now(Terms { valid_until: Some(at(5)), ..terms() }, Err(DiscountError::TooLate))]
#[case::at_the_minimum(Terms { minimum_total: Some(usd(8400)), ..terms() }, Ok(()))]
#[case::below_it(Terms { minimum_total: Some(usd(8401)), ..terms() }, Err(DiscountError::BelowMinimum(usd(8401))))]
#[case::the_last(Terms { total_limit: Some(4), ..terms() }, Ok(()))]
#[case::used_up(Terms { total_limit: Some(3), ..terms() }, Err(DiscountError::UsedUp))]
#[case::the_customers_last(Terms { per_customer_limit: Some(2), ..terms() }, Ok(()))]
#[case::used_up_by_him(Terms { per_customer_limit: Some(1), ..terms() }, Err(DiscountError::UsedUpByCustomer))]
#[case::an_amount_elsewhere(
    Terms { reduction: Reduction::Amount(euros(1)), ..terms() },
    Err(DiscountError::OtherCurrency { expected: Currency::EUR, actual: Currency::USD })
)]
#[case::a_minimum_elsewhere(
    Terms { minimum_total: Some(euros(1)), ..terms() },
    Err(DiscountError::OtherCurrency { expected: Currency::EUR, actual: Currency::USD })
)]
fn a_code_is_for_its_time_its_orders_and_its_number_of_times(
    #[case] terms: Terms,
    #[case] expected: Result<(), DiscountError>,
) {
    assert_eq!(offer(terms).reduce(usd(8400)).map(drop), expected);
}

#[test]
fn a_part_is_rounded_down_to_what_can_be_charged() {
    let tenth = offer(terms());
    let dinars = |amount| Money::new(amount, Currency::KWD);
    assert_eq!(tenth.reduce(dinars(12_350)).unwrap().amount, dinars(1230));
    let ariary = |amount| Money::new(amount, Currency::MGA);
    assert_eq!(tenth.reduce(ariary(123_500)).unwrap().amount, ariary(12_300));
}

#[test]
fn a_code_that_leaves_less_than_a_payment_is_refused_and_one_that_leaves_nothing_is_taken() {
    let place = |amount| {
        let reduction = Reduction::Amount(usd(amount));
        decide(
            &Order::NotPlaced,
            Command::Place { items: two_mugs(), offer: Some(offer(Terms { reduction, ..terms() })) },
        )
    };
    let refused = |left| {
        let error = NotChargeable::TooSmall(usd(50));
        Err(Rejected::Discount(DiscountError::NotChargeable { left: usd(left), error }))
    };
    assert_eq!(place(8400 - 30), refused(30));
    assert_eq!(place(8400 - 49), refused(49));
    assert!(place(8400 - 50).is_ok());
    assert!(place(8400).is_ok());
}

#[test]
fn lines_that_cost_less_than_a_payment_are_refused_without_a_code() {
    let items = vec![PricedLine { quantity: 1, unit_price: usd(30), ..two_mugs().remove(0) }];
    let placed = decide(&Order::NotPlaced, Command::Place { items: items.clone(), offer: None });
    let error = LineError::Total(NotChargeable::TooSmall(usd(50)));
    assert_eq!(placed, Err(Rejected::Lines(vec![error])));
    let free = offer(Terms { reduction: Reduction::Percentage(100), ..terms() });
    assert!(decide(&Order::NotPlaced, Command::Place { items, offer: Some(free) }).is_ok());
}

#[test]
fn an_order_says_what_was_taken_off_and_its_total_is_what_is_left() {
    let place = |offer| decide(&Order::NotPlaced, Command::Place { items: two_mugs(), offer });
    let events = place(Some(offer(terms()))).unwrap();
    let order = events.iter().fold(Order::NotPlaced, crate::domain::apply);
    let discount = OrderDiscount { code: "Ten-Off".to_owned(), amount: usd(840) };
    assert_eq!((placed(&order).total, &placed(&order).discount), (usd(7560), &Some(discount)));
    assert!(matches!(&events[..], [Event::Created(created)] if created.total == usd(7560)));

    let used_up = Terms { total_limit: Some(0), ..terms() };
    assert_eq!(place(Some(offer(used_up))), Err(Rejected::Discount(DiscountError::UsedUp)));
}

#[rstest]
#[case("SAVE10", true)]
#[case("a_B-9", true)]
#[case("", false)]
#[case("A B", false)]
#[case("A#B", false)]
#[case("ÄPFEL", false)]
fn codes_are_what_a_person_types_in(#[case] code: &str, #[case] expected: bool) {
    assert_eq!(DiscountCode::try_from(code.to_owned()).is_ok(), expected);
    assert!(DiscountCode::try_from("x".repeat(41)).is_err());
}

#[test]
fn a_code_is_stored_as_it_was_made() {
    let full = Terms {
        reduction: Reduction::Amount(usd(500)),
        minimum_total: Some(usd(900)),
        valid_until: Some(at(6)),
        per_customer_limit: Some(1),
        ..terms()
    };
    let json = serde_json::to_value(&full).unwrap();
    assert_eq!(
        (&json["code"], &json["amount"]),
        (&json!("Ten-Off"), &json!({"amount": 500, "currency": "USD"}))
    );
    for terms in [terms(), full] {
        let item: lambda_kit::dynamodb::Item = serde_dynamo::to_item(&terms).unwrap();
        assert_eq!(serde_dynamo::from_item::<_, Terms>(item).unwrap(), terms);
    }
}
