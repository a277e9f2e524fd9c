//! The currencies that the payment gateway charges, and in which amounts. Source: Stripe, "Supported currencies"
//! (<https://docs.stripe.com/currencies>: presentment currencies, zero-decimal currencies, special cases, minimum and
//! maximum charge amounts), compared as of September 2026; the tests hold its lists.

use iso_currency::Currency::{self, *};

use crate::Money;

/// How the gateway charges a currency. Amounts are in the currency's minor units (ISO 4217), as everywhere here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeRule {
    /// The currency that the rule is about.
    pub currency: Currency,
    /// Decimals of an amount as ISO 4217 has them: 42 EUR are 4200.
    pub iso_exponent: u8,
    /// Decimals of an amount as the gateway's API takes it.
    pub gateway_exponent: u8,
    /// Every amount must be a multiple of it.
    pub step: i64,
    /// A charge below it is refused. The gateway states it for accounts that are paid out in this currency; for one that
    /// is not listed there, and for an account that is paid out in another currency, only the gateway knows it.
    pub smallest: i64,
    /// A charge above it is refused.
    pub largest: i64,
}

/// Why an amount cannot be charged. `Display` is read by people, after the name of what has the amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotChargeable {
    /// The gateway does not charge this currency.
    #[error("is in {}, a currency in which no payments are taken", .0.code())]
    Currency(Currency),
    /// Money is never charged in the other direction.
    #[error("is negative")]
    Negative,
    /// The amount is not a multiple of this one, as the gateway requires.
    #[error("is not a multiple of {0}, as payments in this currency must be")]
    Step(Money),
    /// The amount is below this one.
    #[error("is less than the smallest payment, {0}")]
    TooSmall(Money),
    /// The amount is above this one.
    #[error("is more than the largest payment, {0}")]
    TooLarge(Money),
}

/// The largest charge of most currencies, in the gateway's units: "up to eight digits" (Stripe, "Create a
/// PaymentIntent").
// Every card and account takes eight digits: more is refused for JCB, Diners Club and Discover by accounts in
// Japan. The page on currencies allows most cards twelve digits and American Express nine. More than eight are
// taken here where eight are too few for everyday prices. Where it is more than nine, IDR and COP, a payment by
// American Express may be declined for its amount.
const EIGHT_DIGITS: i64 = 99_999_999;

const fn two_decimals(currency: Currency, smallest: i64) -> ChargeRule {
    ChargeRule { currency, iso_exponent: 2, gateway_exponent: 2, step: 1, smallest, largest: EIGHT_DIGITS }
}

const fn no_decimals(currency: Currency, smallest: i64) -> ChargeRule {
    ChargeRule { iso_exponent: 0, gateway_exponent: 0, ..two_decimals(currency, smallest) }
}

/// BHD, JOD, KWD, OMR, TND: "These API calls require the least-significant (last) digit to be 0."
// The page said this in 2022. Today it lists these currencies for accounts of some countries only, without a
// rule that would contradict it.
const fn three_decimals(currency: Currency) -> ChargeRule {
    let rule = two_decimals(currency, 10);
    ChargeRule { iso_exponent: 3, gateway_exponent: 3, step: 10, largest: 99_999_990, ..rule }
}

/// No decimals in ISO 4217, and two that are always 00 at the gateway ("backward compatibility requires you to
/// represent it as a two-decimal value").
// UGX is in the page's list of zero-decimal currencies, too; its special case decides.
const fn written_with_two_decimals(currency: Currency) -> ChargeRule {
    ChargeRule { iso_exponent: 0, largest: EIGHT_DIGITS / 100, ..two_decimals(currency, 1) }
}

/// Withdrawn currencies (BGN, SLL), funds codes and precious metals are not among them.
static RULES: &[ChargeRule] = &[
    two_decimals(AED, 200),
    two_decimals(AFN, 1),
    two_decimals(ALL, 1),
    two_decimals(AMD, 1),
    two_decimals(AOA, 1),
    two_decimals(ARS, 50),
    two_decimals(AUD, 50),
    two_decimals(AWG, 1),
    two_decimals(AZN, 1),
    two_decimals(BAM, 1),
    two_decimals(BBD, 1),
    two_decimals(BDT, 1),
    three_decimals(BHD),
    no_decimals(BIF, 1),
    two_decimals(BMD, 1),
    two_decimals(BND, 1),
    two_decimals(BOB, 1),
    two_decimals(BRL, 50),
    two_decimals(BSD, 1),
    two_decimals(BWP, 1),
    two_decimals(BYN, 1),
    two_decimals(BZD, 1),
    two_decimals(CAD, 50),
    two_decimals(CDF, 1),
    two_decimals(CHF, 50),
    no_decimals(CLP, 1),
    two_decimals(CNY, 1),
    ChargeRule { largest: 9_999_999_999, ..two_decimals(COP, 50) },
    two_decimals(CRC, 1),
    two_decimals(CVE, 1),
    two_decimals(CZK, 1500),
    no_decimals(DJF, 1),
    two_decimals(DKK, 250),
    two_decimals(DOP, 1),
    two_decimals(DZD, 1),
    two_decimals(EGP, 1),
    two_decimals(ETB, 1),
    two_decimals(EUR, 50),
    two_decimals(FJD, 1),
    two_decimals(FKP, 1),
    two_decimals(GBP, 30),
    two_decimals(GEL, 1),
    two_decimals(GIP, 1),
    two_decimals(GMD, 1),
    no_decimals(GNF, 1),
    two_decimals(GTQ, 1),
    two_decimals(GYD, 1),
    two_decimals(HKD, 400),
    two_decimals(HNL, 1),
    two_decimals(HTG, 1),
    // Without decimals for payouts only: "you can charge two-decimal amounts". TWD likewise.
    two_decimals(HUF, 17_500),
    ChargeRule { largest: 999_999_999_999, ..two_decimals(IDR, 50) },
    two_decimals(ILS, 50),
    ChargeRule { largest: 999_999_999, ..two_decimals(INR, 50) },
    written_with_two_decimals(ISK),
    two_decimals(JMD, 1),
    three_decimals(JOD),
    no_decimals(JPY, 50),
    two_decimals(KES, 1),
    two_decimals(KGS, 1),
    two_decimals(KHR, 1),
    no_decimals(KMF, 1),
    no_decimals(KRW, 50),
    three_decimals(KWD),
    two_decimals(KYD, 1),
    two_decimals(KZT, 1),
    two_decimals(LAK, 1),
    two_decimals(LBP, 1),
    two_decimals(LKR, 1),
    two_decimals(LRD, 1),
    two_decimals(LSL, 1),
    two_decimals(MAD, 1),
    two_decimals(MDL, 1),
    // Two decimals in ISO 4217 (an ariary is five iraimbilanja), none at the gateway.
    ChargeRule { gateway_exponent: 0, step: 100, largest: EIGHT_DIGITS * 100, ..two_decimals(MGA, 100) },
    two_decimals(MKD, 1),
    two_decimals(MMK, 1),
    two_decimals(MNT, 1),
    two_decimals(MOP, 1),
    two_decimals(MUR, 1),
    two_decimals(MVR, 1),
    two_decimals(MWK, 1),
    two_decimals(MXN, 1000),
    two_decimals(MYR, 200),
    two_decimals(MZN, 1),
    two_decimals(NAD, 1),
    two_decimals(NGN, 1),
    two_decimals(NIO, 1),
    two_decimals(NOK, 300),
    two_decimals(NPR, 1),
    two_decimals(NZD, 50),
    three_decimals(OMR),
    two_decimals(PAB, 1),
    two_decimals(PEN, 1),
    two_decimals(PGK, 1),
    two_decimals(PHP, 50),
    two_decimals(PKR, 1),
    two_decimals(PLN, 200),
    no_decimals(PYG, 1),
    two_decimals(QAR, 1),
    two_decimals(RON, 200),
    two_decimals(RSD, 1),
    two_decimals(RUB, 50),
    no_decimals(RWF, 1),
    two_decimals(SAR, 1),
    two_decimals(SBD, 1),
    two_decimals(SCR, 1),
    two_decimals(SEK, 300),
    two_decimals(SGD, 50),
    two_decimals(SHP, 1),
    two_decimals(SLE, 1),
    two_decimals(SOS, 1),
    two_decimals(SRD, 1),
    two_decimals(SZL, 1),
    two_decimals(THB, 1000),
    two_decimals(TJS, 1),
    three_decimals(TND),
    two_decimals(TOP, 1),
    two_decimals(TRY, 1),
    two_decimals(TTD, 1),
    two_decimals(TWD, 1),
    two_decimals(TZS, 1),
    two_decimals(UAH, 1),
    written_with_two_decimals(UGX),
    two_decimals(USD, 50),
    two_decimals(UYU, 1),
    two_decimals(UZS, 1),
    no_decimals(VND, 1),
    no_decimals(VUV, 1),
    two_decimals(WST, 1),
    no_decimals(XAF, 1),
    two_decimals(XCD, 1),
    two_decimals(XCG, 1),
    no_decimals(XOF, 1),
    no_decimals(XPF, 1),
    two_decimals(YER, 1),
    two_decimals(ZAR, 50),
    two_decimals(ZMW, 1),
];

/// Every currency that can be charged, by its code.
pub fn charge_rules() -> &'static [ChargeRule] {
    RULES
}

impl ChargeRule {
    /// The rule of a currency.
    ///
    /// # Errors
    /// When the gateway does not charge it.
    pub fn of(currency: Currency) -> Result<&'static Self, NotChargeable> {
        let rule = RULES.iter().find(|rule| rule.currency == currency);
        rule.ok_or(NotChargeable::Currency(currency))
    }

    /// Rounds an amount of this currency down to a multiple of the step.
    pub const fn round_down(&self, amount: i64) -> i64 {
        amount - amount % self.step
    }
}

impl Money {
    /// Checks that something can have this price: either zero, or an amount of which some quantity can be
    /// charged.
    ///
    /// # Errors
    /// When no number of pieces can be charged.
    pub fn check_price(self) -> Result<(), NotChargeable> {
        let rule = ChargeRule::of(self.currency)?;
        let money = |amount| Self { amount, ..self };
        match self.amount {
            ..0 => Err(NotChargeable::Negative),
            amount if amount % rule.step != 0 => Err(NotChargeable::Step(money(rule.step))),
            // The smallest charge is no limit for a price: several pieces together may reach it.
            amount if amount > rule.largest => Err(NotChargeable::TooLarge(money(rule.largest))),
            _ => Ok(()),
        }
    }

    /// Checks that this can be the total of an order: either zero, or an amount that the gateway charges.
    ///
    /// # Errors
    /// When the gateway would refuse the charge, whichever card it is.
    pub fn check_total(self) -> Result<(), NotChargeable> {
        self.check_price()?;
        let smallest = ChargeRule::of(self.currency)?.smallest;
        // Zero is not refused: a discount may leave nothing to pay.
        if (1..smallest).contains(&self.amount) {
            return Err(NotChargeable::TooSmall(Self { amount: smallest, ..self }));
        }
        Ok(())
    }

    /// The amount as the gateway's API takes it.
    ///
    /// # Errors
    /// When the gateway would refuse the charge, whichever card it is.
    pub fn at_gateway(self) -> Result<i64, NotChargeable> {
        self.check_total()?;
        let ChargeRule { iso_exponent, gateway_exponent, .. } = *ChargeRule::of(self.currency)?;
        // The amount is at most the largest charge and a multiple of the step, so this neither saturates nor
        // rounds.
        Ok(rescale(self.amount, iso_exponent, gateway_exponent))
    }

    /// Converts an amount from the gateway's API. In a currency that the gateway does not charge, the amount
    /// is taken to be in minor units.
    pub fn from_gateway(amount: i64, currency: Currency) -> Self {
        let amount = match ChargeRule::of(currency) {
            Ok(rule) => rescale(amount, rule.gateway_exponent, rule.iso_exponent),
            Err(_) => amount,
        };
        Self { amount, currency }
    }
}

fn rescale(amount: i64, from: u8, to: u8) -> i64 {
    if to >= from {
        amount.saturating_mul(10_i64.pow(u32::from(to - from)))
    } else {
        amount / 10_i64.pow(u32::from(from - to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_exponents_are_those_of_iso_4217() {
        for rule in RULES {
            let iso = rule.currency.exponent().map(u8::try_from);
            assert_eq!(iso, Some(Ok(rule.iso_exponent)), "{}", rule.currency.code());
        }
    }

    #[test]
    fn each_currency_is_there_once_in_order_with_limits_that_are_charges() {
        assert!(RULES.is_sorted_by(|a, b| a.currency.code() < b.currency.code()));
        for rule in RULES {
            let ends =
                [rule.smallest, rule.largest].map(|amount| Money::new(amount, rule.currency).check_total());
            assert_eq!(ends, [Ok(()), Ok(())], "{rule:?}");
        }
    }

    /// As the page lists them, in the gateway's units. MGA has two decimals in ISO 4217; of UGX see above.
    #[test]
    fn the_gateways_own_lists_are_kept() {
        let no_decimals = [BIF, CLP, DJF, GNF, JPY, KMF, KRW, MGA, PYG, RWF, VND, VUV, XAF, XOF, XPF];
        let three_decimals = [BHD, JOD, KWD, OMR, TND];
        for rule in RULES {
            let expected = match rule.currency {
                currency if no_decimals.contains(&currency) => 0,
                currency if three_decimals.contains(&currency) => 3,
                _ => 2,
            };
            assert_eq!(rule.gateway_exponent, expected, "{}", rule.currency.code());
        }
        let smallest = [
            (USD, 50),
            (AED, 200),
            (ARS, 50),
            (AUD, 50),
            (BRL, 50),
            (CAD, 50),
            (CHF, 50),
            (COP, 50),
            (CZK, 1500),
            (DKK, 250),
            (EUR, 50),
            (GBP, 30),
            (HKD, 400),
            (HUF, 17_500),
            (IDR, 50),
            (ILS, 50),
            (INR, 50),
            (JPY, 50),
            (KRW, 50),
            (MXN, 1000),
            (MYR, 200),
            (NOK, 300),
            (NZD, 50),
            (PHP, 50),
            (PLN, 200),
            (RON, 200),
            (RUB, 50),
            (SEK, 300),
            (SGD, 50),
            (THB, 1000),
            (ZAR, 50),
        ];
        for rule in RULES {
            let listed = smallest.iter().find(|(currency, _)| *currency == rule.currency);
            let expected = listed.map_or(rule.step, |(_, amount)| *amount);
            // For currencies that Stripe does not list, the smallest charge is one unit of the gateway's or
            // of ours, whichever is larger.
            assert_eq!(rule.smallest, expected, "{}", rule.currency.code());
        }
    }

    #[test]
    fn amounts_reach_the_gateway_in_its_own_units() {
        for (amount, currency, expected) in [
            (4200, USD, 4200),
            (500, JPY, 500),
            (500_000, MGA, 5000),
            (4200, ISK, 420_000),
            (5, UGX, 500),
            (5120, KWD, 5120),
            (17_545, HUF, 17_545),
            (80_045, TWD, 80_045),
            (0, EUR, 0),
        ] {
            assert_eq!(Money::new(amount, currency).at_gateway(), Ok(expected), "{}", currency.code());
            assert_eq!(Money::from_gateway(expected, currency), Money::new(amount, currency));
        }
    }

    #[test]
    fn what_the_gateway_refuses_is_refused() {
        let money = Money::new;
        for (refused, reason) in [
            (money(30, USD), NotChargeable::TooSmall(money(50, USD))),
            (money(49, JPY), NotChargeable::TooSmall(money(50, JPY))),
            (money(100_000_000, USD), NotChargeable::TooLarge(money(99_999_999, USD))),
            (money(1_000_000, ISK), NotChargeable::TooLarge(money(999_999, ISK))),
            (money(1234, KWD), NotChargeable::Step(money(10, KWD))),
            (money(500_001, MGA), NotChargeable::Step(money(100, MGA))),
            (money(-1, USD), NotChargeable::Negative),
        ] {
            assert_eq!(refused.at_gateway(), Err(reason), "{refused}");
        }
        for currency in [CLF, UYW, XAU, XXX, IQD, LYD, BGN, KPW] {
            assert_eq!(money(1000, currency).check_price(), Err(NotChargeable::Currency(currency)));
        }
    }

    #[test]
    fn a_price_may_be_below_the_smallest_charge_and_not_off_its_step() {
        assert_eq!(Money::new(30, USD).check_price(), Ok(()));
        assert!(Money::new(1234, KWD).check_price().is_err());
        assert_eq!(ChargeRule::of(KWD).map(|rule| rule.round_down(1234)), Ok(1230));
    }
}
