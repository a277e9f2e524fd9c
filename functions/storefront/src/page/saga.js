
// --- The saga, as the customer sees it. Generated from its ledger (shared/contracts/src/saga/steps.rs) by `cargo ops ledger`.

const STEPS = [
  { name: 'Order placed', doing: 'Placing the order', done: ['order.created'], failed: [], undone: [], saga: [] },
  { name: 'Stock reserved', doing: 'Reserving the stock', done: ['order.inventory_reserved'], failed: ['order.inventory_not_available'], instead: 'Not enough stock', undone: ['order.inventory_released'], saga: ['ReserveInventory', 'RecordReservation'] },
  { name: 'Payment taken', doing: 'Taking the payment', done: ['payment.succeeded', 'order.payment_succeeded'], failed: ['payment.failed', 'order.payment_failed'], instead: 'Payment failed', undone: ['payment.refunded', 'order.payment_refunded'], saga: ['TakePayment'] },
  { name: 'Shipment booked', doing: 'Booking the shipment', done: ['shipment.scheduled', 'order.shipment_scheduled'], failed: [], instead: 'No shipment', undone: ['shipment.cancelled'], saga: ['ScheduleShipment'] },
  { name: 'Order completed', doing: 'Completing the order', done: ['order.completed'], failed: [], undone: [], saga: ['CompleteOrder'] },
];

const REASONS = {
  InventoryNotAvailable: 'there is not enough in stock',
  PaymentDeclined: 'the card was declined',
  PaymentTimeout: 'the payment was not confirmed in time',
  ShipmentRejected: 'no carrier delivers to this address',
  OrderCancelRequested: 'you asked for it',
  ServiceUnavailable: 'a part of the shop was out of order for too long',
};
