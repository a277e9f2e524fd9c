//! The shop as its customers and staff use it: REST and the WebSocket. On a local stack also what surrounds it: the
//! gateway's test side, and the mail that was sent.

mod client;
mod error;
mod gateway;
mod live;
mod mailbox;
mod model;
mod route;
mod wait;

pub use client::{Answer, Call, Shop};
pub use error::{Error, Result, causes};
pub use gateway::{Calls, Gateway, Intent, card};
pub use live::{Frame, Live, OrderFrame, PartFrame};
pub use mailbox::{Mail, Text, all_mail, mail_to, texts_to};
pub use model::{
    NewAccount, NewOrder, NextAction, Order, OrderEvent, Page, Payment, Placed, Product, Stock, Ticket,
    Tokens, User,
};
pub use route::Route;
pub use wait::{NotYet, eventually, eventually_with_pauses};
