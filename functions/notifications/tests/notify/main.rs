//! Who is told what, how, and how often, on a real table. SES, SNS and SQS are played by a web server.

mod addresses;
mod contacts;
mod fallback;
mod office;
mod once;
mod outage;
mod rate;
mod told;
