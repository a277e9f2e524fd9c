//! The queue of each order: its events and its subscriptions, handled one after the other.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsMessage};
use contracts::{
    EventPayload,
    events::{SessionEnded, UserDeleted, UserRestored, UserSuspended},
};
use lambda_kit::sqs::{self, EventTypes, MessageError, one_event};
use tracing::Instrument;

use crate::{
    handler::{Batch, Handler},
    order_queue::Command,
    push::Pusher,
    store::Store,
};

/// The event types that the subscription brings (infra/realtime.yaml). An order's event of a type of a later release has a
/// frame, too.
pub const EVENT_TYPES: EventTypes = &[
    "order.",
    "payment.",
    "shipment.",
    UserDeleted::TYPE,
    UserSuspended::TYPE,
    UserRestored::TYPE,
    SessionEnded::TYPE,
];

/// Handles the messages of the queue.
#[derive(Debug, Clone)]
pub struct Consumer {
    handler: Handler,
}

impl Consumer {
    pub fn new(store: Store, pusher: Pusher) -> Self {
        Self { handler: Handler::new(store, pusher) }
    }

    /// Handles the messages of one delivery of the queue; `now` in Unix seconds.
    pub async fn handle_all(&self, messages: Vec<SqsMessage>, now: i64) -> SqsBatchResponse {
        let batch = &Batch::default();
        let handle = async |message| self.handle(batch, &message, now).await;
        sqs::each_message_in_order(messages, handle).await
    }

    async fn handle(&self, batch: &Batch, message: &SqsMessage, now: i64) -> Result<(), MessageError> {
        let body = message.body.as_deref().unwrap_or_default();
        // Events and commands share the queue, so that a subscription and its order's frames stay in their
        // order.
        if Command::is_in(body) {
            let command: Command = serde_json::from_str(body).map_err(MessageError::handler)?;
            let span = tracing::info_span!("command", order_id = command.order_id().as_str());
            let handled = self.handler.command(batch, command, now).instrument(span);
            return handled.await.map_err(MessageError::handler);
        }
        let handle =
            async |event| self.handler.event(batch, &event, now).await.map_err(MessageError::handler);
        one_event(EVENT_TYPES, message, handle).await
    }
}
