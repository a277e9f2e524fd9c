//! Who gets which message, by which channel and how often, with a real table. A web server stands in for SES,
//! SNS and SQS, and a real SMTP server takes letters.

mod accounts;
mod addresses;
mod confirmation;
mod contacts;
mod fallback;
mod fixture;
mod messages;
mod once;
mod outage;
mod rate;
mod second_provider;
mod smtp_tls;
