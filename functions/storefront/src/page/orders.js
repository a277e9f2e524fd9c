
// --- Orders. The page is computed from facts: the order's events by version, and the reports of payment and shipment,
// which arrive earlier.

const FINAL = ['OrderCompleted', 'OrderCancelled'];
/** The number of orders that are shown. */
const SHOWN = 20;

/** Orders by id. In the document the newest is first. */
const orders = new Map();
/** The order that was placed last. Kept when the session ends, because the list of orders is some seconds old. */
let newest = null;

const MARKS = { done: '✓', failed: '✕', undone: '↩', skipped: '–', current: '', todo: '' };
const SPOKEN = { done: 'done', failed: 'failed', undone: 'undone', skipped: 'not reached', current: 'in progress', todo: 'not yet' };

const LABELS = {
  OrderCreated: 'Received', InventoryReserved: 'Stock reserved', InventoryNotAvailable: 'Not in stock', PaymentPending: 'Paying',
  PaymentSucceeded: 'Paid', PaymentFailed: 'Payment failed', PaymentRefunded: 'Refunded', InventoryReleased: 'Stock put back',
  OrderCompleted: 'Completed', OrderCancelled: 'Cancelled', NeedsAttention: 'Needs attention',
};

const isOpen = (order) => !FINAL.includes(order.status);
const openOrders = () => [...orders.values()].filter(isOpen);

/** The first of these facts that has happened. */
const fact = (order, types) => types.map((type) => order.facts.get(type)).find(Boolean);

/** The steps with the state of each. Pure: computed from the facts only. */
function picture(order) {
  const cancelled = fact(order, ['order.cancelled']);
  const stopped = cancelled ?? fact(order, ['order.compensation_failed']);
  let current = !stopped;
  const steps = STEPS.map((step) => {
    const [done, failed, undone] = [fact(order, step.done), fact(order, step.failed), fact(order, step.undone)];
    const state = () => {
      if (undone && !failed) return 'undone';
      if (failed || (stopped && !done && step.saga.includes(stepOf(stopped)))) return 'failed';
      if (done) return 'done';
      if (stopped) return 'skipped';
      if (!current) return 'todo';
      current = false;
      return 'current';
    };
    const now = state();
    const name = { current: step.doing, failed: step.instead }[now] ?? step.name;
    return { name, state: now, at: undone ?? failed ?? done, note: note(order, step.name, now) };
  });
  if (!stopped) return steps;
  const end = { name: cancelled ? 'Order cancelled' : 'Waiting for our staff', state: 'failed', at: stopped, note: '' };
  return [...steps.slice(0, -1), end];
}

/** An order that was cancelled by request has no failed step. */
const stepOf = ({ data }) => (reasonOf(data) === 'OrderCancelRequested' ? null : data?.step ?? data?.failure?.step);
const reasonOf = (data) => data?.reason ?? data?.failure?.error;

function note(order, step, state) {
  const shipment = fact(order, ['order.shipment_scheduled'])?.data;
  const refund = fact(order, ['order.payment_refunded'])?.data;
  const progress = ['delivered', 'shipped', 'packed', 'picked'].find((status) => order.facts.has(`shipment.${status}`));
  switch (`${step} ${state}`) {
    case 'Stock reserved undone': return 'The stock was put back.';
    case 'Stock reserved failed': return 'Nothing was reserved.';
    case 'Payment taken done': return `${money(order.total)} was paid.`;
    case 'Payment taken failed': return `${sentence(REASONS[order.facts.get('order.payment_failed')?.data?.reason] ?? 'the payment failed')} ${refund ? refunded(refund) : 'Nothing was charged.'}`;
    case 'Payment taken undone': return refunded(refund ?? { amount: order.total });
    case 'Shipment booked failed': return sentence(REASONS[reasonOf(order.facts.get('order.cancelled')?.data)] ?? 'no shipment could be booked');
    case 'Shipment booked undone': return 'The shipment was cancelled.';
    case 'Shipment booked done': return [
      shipment && `${shipment.carrier}, ${shipment.tracking_number}, arrives about ${day(shipment.estimated_delivery)}.`,
      progress && `Now ${progress}.`,
    ].filter(Boolean).join(' ');
    case 'Payment taken current': return order.payment?.next_action ? 'Your bank asks you to confirm the payment.' : '';
    default: return '';
  }
}

const refunded = ({ amount, outcome }) => (outcome === 'voided' ? 'The payment was released; nothing was charged.' : `${money(amount)} was paid back.`);
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
const day = (date) => new Date(`${date}T12:00:00`).toLocaleDateString(undefined, { day: 'numeric', month: 'long' });
const time = (at) => new Date(at).toLocaleTimeString();

/** Describes the order's end in a sentence or two. */
function outcome(order) {
  if (order.status === 'OrderCompleted') return { className: 'good', text: 'Everything is done: your order is on its way.' };
  if (order.status === 'NeedsAttention') return { className: 'warn', text: 'Something could not be undone by itself. Our staff have been told and will finish it.' };
  const cancelled = order.facts.get('order.cancelled');
  if (!cancelled) return order.cancelling ? { className: 'warn', text: `${order.cancelling === 'customer' ? 'You asked to cancel this order. It' : 'This order'} ends at its next step, unless it was completed first.` } : null;
  if (!cancelled.data) return { className: 'bad', text: 'Cancelled.' };
  const why = REASONS[cancelled.data.reason] ?? 'something went wrong on our side';
  const refunded = fact(order, ['order.payment_refunded', 'payment.refunded']);
  const paid = refunded && refunded.data?.outcome !== 'voided' ? 'What you paid was paid back.' : 'Nothing was charged.';
  const stock = order.facts.has('order.inventory_released') ? ' The stock was put back.' : '';
  return { className: 'bad', text: `Cancelled: ${why}. ${paid}${stock}` };
}

// --- Receiving facts

/** An event of the order itself: from a frame (without data), from the order's timeline, or from its list of events. */
function takeEvent(order, { version, event_type, status, occurred_at, data }) {
  const known = order.events.get(version);
  if (known && (known.data || !data)) return;
  order.events.set(version, { version, event_type, status, occurred_at, data });
  order.facts.set(event_type, { occurred_at, data });
  if (event_type === 'order.cancel_requested') order.cancelling = data?.requested_by ?? order.cancelling ?? 'unknown';
  if (version <= order.version) return;
  order.version = version;
  if (!status || status === order.status) return;
  order.status = status;
  // Facts from the first read are not announced.
  if (!order.isShown) return;
  say(`Order of ${money(order.total)}: ${(LABELS[status] ?? status).toLowerCase()}.`, status === 'OrderCancelled');
  if (FINAL.includes(status)) orderEnded(order);
}

/** Reports of payment and shipment have no order version. */
function takePart(order, { event_type, occurred_at }) {
  if (!order.facts.has(event_type)) order.facts.set(event_type, { occurred_at });
}

/** Reads the events that are not known yet, with their data. */
async function readEvents(order, after) {
  const { items } = await call('GET', `v1/orders/${order.order_id}/events?after=${after}`);
  for (const event of items) takeEvent(order, event);
  show(order);
}

/** Frames have no data, so the reasons are read from the events. */
function orderEnded(order) {
  readEvents(order, 0).catch(() => { /* It is shown without the reason until the next look. */ });
  for (const { sku } of order.items) if (products.has(sku)) askForStock(products.get(sku));
}

/** Asks whether the customer must act for the bank. Only while the order waits for its payment. */
async function readPayment(order) {
  if (order.status !== 'PaymentPending') return;
  try { order.payment = await call('GET', `v1/payments/${order.order_id}`); } catch { return; }
  show(order);
}

function addOrder({ order_id, status, items = [], total, created_at, timeline }) {
  let order = orders.get(order_id);
  if (!order) {
    order = { order_id, status: 'OrderCreated', version: 0, items, total, created_at, events: new Map(), facts: new Map(), cancelling: null, isShown: false };
    order.view = orderView(order);
    orders.set(order_id, order);
    const next = [...orders.values()].filter((other) => other.isShown && other.created_at < created_at)
      .sort((one, other) => (one.created_at < other.created_at ? 1 : -1))[0];
    $('order-list').insertBefore(order.view.node, next?.view.node ?? null);
  }
  for (const event of timeline ?? []) takeEvent(order, event);
  if (order.version === 0) order.status = status;
  if (!order.isShown) order.view.node.open = isOpen(order);
  order.isShown = true;
  $('orders-note').textContent = '';
  show(order);
  return order;
}

// --- Rendering

function orderView(order) {
  const [badge, end, log, logTitle] = [element('span'), element('p'), element('ol'), element('summary')];
  const lines = element('p', { className: 'lines' });
  nameLines(lines, order);
  const [steps, actions] = [element('ol', { className: 'steps' }), element('p', { className: 'actions' })];
  const title = element('summary', {},
    element('h2', { textContent: new Date(order.created_at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' }) }),
    badge,
    element('span', { className: 'sum', textContent: money(order.total) }));
  const node = element('details', { className: 'order' }, title,
    element('div', { className: 'body' },
      lines, end, steps, actions,
      element('details', { className: 'log' }, logTitle, log),
      element('p', { className: 'id', textContent: order.order_id })));
  // The events of a past order are loaded when it is opened.
  node.addEventListener('toggle', () => {
    if (node.open && ![...order.events.values()].some(({ data }) => data)) readEvents(order, 0).catch((problem) => say(problem.message, true));
  });
  return { node, title, badge, steps, end, actions, log, logTitle };
}

/** The order's lines, with the names of products that are still sold. */
async function nameLines(node, { items }) {
  const names = new Map(items.map(({ sku }) => [sku, products.get(sku)?.name]));
  const write = () => { node.textContent = items.map(({ sku, quantity }) => `${quantity} × ${names.get(sku) ?? sku}`).join(', '); };
  write();
  for (const sku of [...names.keys()].filter((sku) => !names.get(sku))) {
    try { names.set(sku, (await call('GET', `v1/products/${encodeURIComponent(sku)}`)).name); } catch { /* It keeps its number. */ }
    write();
  }
}

function show(order) {
  const { badge, steps, end, log, logTitle } = order.view;
  badge.textContent = LABELS[order.status] ?? order.status;
  badge.className = `badge ${{ OrderCompleted: 'good', OrderCancelled: 'bad', NeedsAttention: 'warn' }[order.status] ?? ''}`;
  steps.replaceChildren(...picture(order).map(stepItem));
  const ending = outcome(order);
  Object.assign(end, { hidden: !ending, textContent: ending?.text ?? '', className: `outcome ${ending?.className}` });
  const events = [...order.events.values()].sort((one, other) => one.version - other.version);
  logTitle.textContent = events.length === 1 ? 'One event so far' : `All ${events.length} events`;
  log.replaceChildren(...events.map((event) => element('li', {},
    element('span', { textContent: `${event.version}` }), element('time', { textContent: time(event.occurred_at) }), element('span', { textContent: event.event_type }))));
  showActions(order);
  showOpenCount();
}

function stepItem({ name, state, at, note }) {
  return element('li', { className: state, ariaCurrent: state === 'current' ? 'step' : null },
    element('span', { className: 'dot', ariaHidden: 'true', textContent: MARKS[state] }),
    element('strong', {}, element('span', { className: 'what', textContent: name }), element('span', { className: 'sr', textContent: `: ${SPOKEN[state]}` })),
    element('time', { textContent: at ? time(at.occurred_at) : '' }),
    element('small', { textContent: note }));
}

/** Keeps buttons that stay the same, so that a button does not vanish while it is being pressed. */
function showActions(order) {
  const asks = order.status === 'PaymentPending' && order.payment?.next_action;
  const wanted = [asks && (STRIPE_KEY ? 'confirm' : 'no-bank'), isOpen(order) && !order.cancelling && 'cancel'].filter(Boolean);
  const { actions } = order.view;
  if (actions.dataset.wanted === wanted.join()) return;
  actions.dataset.wanted = wanted.join();
  const make = {
    confirm: () => action('Confirm with your bank', 'primary', (button) => confirmPayment(order, button)),
    'no-bank': () => element('span', { className: 'hint', textContent: "The bank's page needs a Stripe key that this shop does not have: cancel the order, or it ends by itself." }),
    cancel: () => action('Cancel this order', '', (button) => cancelOrder(order, button)),
  };
  actions.replaceChildren(...wanted.map((name) => make[name]()));
}

function action(text, className, press) {
  const button = element('button', { type: 'button', textContent: text, className });
  button.addEventListener('click', () => isWaiting(button) || press(button));
  return button;
}

async function cancelOrder(order, button) {
  waiting(button, true);
  try {
    addOrder(await call('POST', `v1/orders/${order.order_id}/cancel`));
    order.cancelling = 'customer';
    show(order);
    say('You asked to cancel the order.');
    order.view.title.focus();
  } catch (problem) {
    say(problem.message, true);
    waiting(button, false);
    if (problem.retryAfter) holdBack(button, problem.retryAfter);
    else readEvents(order, order.version).catch(() => {});
  }
}

/** 3-D Secure: the gateway's script shows the bank's page. The order's events report the result. */
async function confirmPayment(order, button) {
  waiting(button, true);
  try {
    const { error } = await (await stripe()).handleNextAction({ clientSecret: order.payment.next_action.client_secret });
    say(error ? error.message : 'Thank you. The payment is being taken.', Boolean(error));
  } catch (problem) { say(problem.message, true); }
  waiting(button, false);
}

function showOpenCount() {
  const count = openOrders().length;
  Object.assign($('open-count'), { hidden: !count, textContent: count });
}

// --- Past orders

function orderPlaced(placed) {
  newest = placed.order_id;
  const order = addOrder(placed);
  order.view.node.open = true;
  location.hash = '#orders';
  showView();
  order.view.title.focus();
  follow(order);
}

async function loadOrders() {
  // The list is some seconds old. An order that is placed meanwhile is shown by itself.
  const last = newest;
  try {
    const { items } = await call('GET', `v1/orders?limit=${SHOWN}`);
    for (const order of items) addOrder(order);
    if (last && !orders.has(last)) addOrder(await call('GET', `v1/orders/${last}`));
  } catch (problem) { return say(problem.message, true); }
  $('orders-note').textContent = orders.size ? '' : 'You have no orders yet. A new one takes some seconds to appear here.';
}

function forgetOrders() {
  orders.clear();
  $('order-list').replaceChildren();
  $('orders-note').textContent = 'Log in to see your orders.';
  showOpenCount();
}
