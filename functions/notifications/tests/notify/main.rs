//! Who gets which message, by which channel and how often, with a real table. A web server stands in for SES,
//! SNS and SQS.

mod accounts;
mod addresses;
mod contacts;
mod fallback;
mod fixture;
mod messages;
mod once;
mod outage;
mod rate;
