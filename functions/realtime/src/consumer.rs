//! The queue of each order: its events and its subscriptions, handled one after the other.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsMessage};
use contracts::{
    EventPayload,
    events::{SessionEnded, UserDeleted, UserRestored, UserSuspended},
};
use lambda_kit::sqs::{self, EventTypes, Interrupted, MessageError, one_event};
use tracing::Instrument;

use crate::{
    handler::{Handler, Session},
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
        sqs::each_group(messages, async |group| self.handle_group(&group, now).await).await
    }

    /// Handles the messages of one order, up to the first that fails.
    async fn handle_group(&self, messages: &[SqsMessage], now: i64) -> Result<(), Interrupted> {
        let session = &mut Session::default();
        let mut saved = 0;
        for (handled, message) in messages.iter().enumerate() {
            if let Err(error) = self.handle(session, message, now).await {
                // The messages before it need no retry if they can be stored. With them, the connections that
                // the failed one did not reach are stored.
                return Err(match self.handler.save(session, now).await {
                    Ok(()) => Interrupted { done: handled, error },
                    Err(error) => Interrupted { done: saved, error: MessageError::handler(error) },
                });
            }
            if session.is_saved() {
                saved = handled + 1;
            }
        }
        let stored = self.handler.save(session, now).await;
        stored.map_err(|error| Interrupted { done: saved, error: MessageError::handler(error) })
    }

    async fn handle(
        &self,
        session: &mut Session,
        message: &SqsMessage,
        now: i64,
    ) -> Result<(), MessageError> {
        let body = message.body.as_deref().unwrap_or_default();
        // Events and commands share the queue, so that a subscription and its order's frames stay in their
        // order.
        if Command::is_in(body) {
            let command: Command = serde_json::from_str(body).map_err(MessageError::handler)?;
            let span = tracing::info_span!("command", order_id = command.order_id().as_str());
            let handled = self.handler.command(session, command, now).instrument(span);
            return handled.await.map_err(MessageError::handler);
        }
        let handle =
            async |event| self.handler.event(session, &event, now).await.map_err(MessageError::handler);
        one_event(EVENT_TYPES, message, handle).await
    }
}
