
// --- Live status: the WebSocket's frames, and polling of the open orders while it is not connected.

const POLL_EVERY = 5000;
/** API Gateway closes a connection that has been silent for 10 minutes. */
const SILENT_AT_MOST = 300_000;
/** While an order is open, events are expected. A broken connection may stay silent, so the page asks sooner. */
const SILENT_WHILE_OPEN = 20_000;
const PONG_WITHIN = 5000;

/** The page gives up a connection that is not open by then. */
const OPEN_WITHIN = 5000;

let socket = null;
let failures = 0;
let heard = 0;
let pinged = 0;
let reconnecting = null;
let polling = null;
const meeting = new Set();

const isLive = () => socket?.readyState === WebSocket.OPEN;

/** Shows how updates arrive: live, by polling, or not yet. */
function showLink(way) {
  const texts = { live: 'Live', polling: 'Polling every 5 s', lost: 'No connection' };
  Object.assign($('link'), { hidden: !way, className: way ?? '', textContent: texts[way] ?? '' });
}

async function goLive() {
  clearTimeout(reconnecting);
  if (!tokens || socket) return;
  // Marks that a connection is being made, so that a second call makes no other one.
  const mark = {};
  socket = mark;
  try {
    const { ticket, url } = await call('POST', 'v1/realtime/tickets', { body: {} });
    if (!isMine(mark)) return;
    const address = new URL(url);
    address.searchParams.set('ticket', ticket);
    const made = new WebSocket(address);
    socket = made;
    made.onopen = () => isMine(made) && opened();
    made.onmessage = ({ data }) => isMine(made) && receive(JSON.parse(data));
    made.onclose = () => isMine(made) && lost();
    setTimeout(() => isMine(made) && !isLive() && lost(), OPEN_WITHIN);
  } catch { if (isMine(mark)) lost(); }
}

const isMine = (one) => one === socket;

function opened() {
  [failures, heard, pinged] = [0, Date.now(), 0];
  stopPolling();
  showLink('live');
  // Subscribes to all future frames of this customer, including orders from other devices, ...
  request({ action: 'subscribe' });
  // ... and to the open orders, with the frames that were missed.
  for (const order of openOrders()) follow(order);
}

const request = (frame) => socket.send(JSON.stringify(frame));

/** Subscribes after the known version: the server first replays later frames. */
function follow(order) {
  if (isLive()) request({ action: 'subscribe', order_id: order.order_id, after: order.version });
  else startPolling();
}

function receive(frame) {
  [heard, pinged] = [Date.now(), 0];
  if (frame.type === 'error' && frame.code !== 'not_found') say(frame.message, true);
  const order = orders.get(frame.order_id);
  if (!order) return frame.type === 'order' && meet(frame.order_id);
  if (frame.type === 'order') takeEvent(order, frame);
  if (frame.type === 'payment' || frame.type === 'shipment') takePart(order, frame);
  if (frame.type === 'gap') readEvents(order, 0).catch(() => { /* The order's end reads them again. */ });
  // Two contexts publish these, so they come in either order. The payment is read when both are there.
  const isPending = ['payment.pending', 'order.payment_pending'].includes(frame.event_type);
  if (isPending && order.facts.has('payment.pending')) readPayment(order);
  show(order);
}

/** Adds an order that was placed elsewhere. The server replays its frames since then. */
async function meet(id) {
  if (meeting.has(id)) return;
  meeting.add(id);
  try { follow(addOrder(await call('GET', `v1/orders/${id}`))); } catch { /* Its next frame asks again. */ }
  meeting.delete(id);
}

/** Drops the connection and ignores its later frames. */
function drop() {
  socket?.close?.();
  socket = null;
}

function lost() {
  drop();
  if (!tokens) return;
  startPolling();
  // Waits 1 s, then twice as long each time up to 30 s. Half of it is random, so that not all customers reconnect at once.
  const pause = Math.min(30_000, 1000 * 2 ** failures) * (0.5 + Math.random() / 2);
  failures += 1;
  clearTimeout(reconnecting);
  reconnecting = setTimeout(goLive, pause);
}

function goSilent() {
  drop();
  clearTimeout(reconnecting);
  stopPolling();
  showLink(null);
}

// Pings a silent connection.
setInterval(() => {
  if (!isLive()) return;
  const now = Date.now();
  if (pinged && now - pinged > PONG_WITHIN) return lost();
  if (!pinged && now - heard > (openOrders().length ? SILENT_WHILE_OPEN : SILENT_AT_MOST)) {
    pinged = now;
    request({ action: 'ping' });
  }
}, 1000);

addEventListener('online', () => { failures = 0; goLive(); });

// --- Polling

function startPolling() {
  if (polling) return;
  showLink('polling');
  // Marks that polling runs. The first poll is immediate.
  polling = setTimeout(poll);
}

function stopPolling() {
  clearTimeout(polling);
  polling = null;
}

async function poll() {
  const mine = polling;
  let pause = POLL_EVERY;
  try {
    for (const order of openOrders()) {
      await readEvents(order, order.version);
      await readPayment(order);
    }
    if (mine === polling) showLink('polling');
  } catch (problem) {
    if (mine === polling && problem.status === 0) showLink('lost');
    pause = Math.max(pause, 1000 * (problem.retryAfter ?? 0));
  }
  if (mine === polling) polling = setTimeout(poll, pause);
}
