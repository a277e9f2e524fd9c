
// --- Placing an order

/** Countries to choose from. The carrier does not serve the last one: an order to it shows how an order is undone. */
const COUNTRIES = ['AT', 'BE', 'CA', 'CH', 'DE', 'DK', 'ES', 'FR', 'GB', 'IE', 'IT', 'NL', 'NO', 'PL', 'PT', 'SE', 'US', 'AQ'];

const countryNames = new Intl.DisplayNames(undefined, { type: 'region' });
const home = COUNTRIES.find((code) => navigator.language.endsWith(`-${code}`)) ?? 'US';
$('checkout').elements.country.append(...COUNTRIES.map((code) => new Option(
  countryNames.of(code) + (code === 'AQ' ? ' (no carrier ships there)' : ''), code, code === home, code === home)));

// The idempotency key belongs to the contents of the order. Until the outcome is known, sending the same contents again
// is the same order. The key and the address survive a reload of this tab. A log-out deletes them, and so does the login of
// another user.
const attempt = () => tab.get('attempt');
const forgetAttempt = () => tab.drop('attempt');

/** The idempotency key of an order. It ignores the expected total, because a changed price must not make a second order. */
function keyFor({ expected_total, ...order }) {
  const text = JSON.stringify(order);
  const last = attempt();
  if (last?.user_id === user.user_id && last.text === text) return last.key;
  const key = unique();
  tab.set('attempt', { user_id: user.user_id, text, key });
  return key;
}

/** The form's values when the session ended, and the user who entered them. */
let entered = null;

/** Removes the address from the screen. `fillInCheckout` restores it for the same user. */
function clearCheckout() {
  entered = { user_id: user?.user_id, fields: Object.fromEntries(new FormData($('checkout'))) };
  $('checkout').reset();
  $('checkout-error').textContent = '';
}

/** Removes all that the user entered, also the card's number. */
function forgetCheckout() {
  entered = null;
  forgetAttempt();
  forgetCard();
  cardField?.clear?.();
  $('checkout').reset();
}

/** Fills in the values from before the session ended, or the order that was sent before a reload and has no response yet. */
function fillInCheckout() {
  const form = $('checkout').elements;
  if (entered?.user_id === user.user_id) fill(form, entered.fields);
  else if (attempt()?.user_id === user.user_id) {
    const { shipping_address, payment_method } = JSON.parse(attempt().text);
    fill(form, { ...shipping_address, ...(STRIPE_KEY ? {} : { payment_method }) });
  } else forgetAttempt();
  entered = null;
  form.name.value ||= user.name;
}

function fill(form, fields) {
  for (const [name, value] of Object.entries(fields)) form[name].value = value;
}

function orderOf(form, payment_method) {
  const { name, line1, city, postal_code, country } = Object.fromEntries(new FormData(form));
  const items = Object.keys(basket).sort().map((sku) => ({ sku, quantity: basket[sku] }));
  const shipping_address = { name, line1, city, postal_code, country };
  // The customer pays the total that was shown. An order with several currencies is refused anyway.
  const [expected_total, ...others] = totals();
  return { items, payment_method, shipping_address, ...(others.length ? {} : { expected_total }) };
}

$('checkout').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [form, button] = [event.target, $('place')];
  if (isWaiting(button)) return;
  $('checkout-error').textContent = '';
  for (const field of form.elements) field.ariaInvalid = null;
  if (!tokens) return ask('login', 'Log in to order: your basket is kept.');

  waiting(button, true);
  try {
    const order = orderOf(form, await paymentMethod(form));
    const placed = await call('POST', 'v1/orders', { body: order, headers: { 'Idempotency-Key': keyFor(order) } });
    forgetAttempt();
    forgetCard();
    for (const sku of Object.keys(basket)) setQuantity(sku, 0);
    say(`Order placed: ${money(placed.total)}.`);
    orderPlaced(placed);
  } catch (problem) {
    waiting(button, false);
    return refused(form, button, problem instanceof Problem ? problem : new Problem(0));
  }
  waiting(button, false);
});

/** Shows the reason, and keeps the entered data. */
function refused(form, button, problem) {
  // The dialog says that the session has ended.
  if (!tokens) return;
  for (const { field } of problem.fields) {
    const input = form.elements[field.split('.').pop()];
    if (input instanceof HTMLElement) input.ariaInvalid = 'true';
  }
  const lines = problem.fields.filter(({ field }) => field.startsWith('items['));
  const sold = lines.map(({ field, message }) => `${nameOfLine(field)} ${message}`);
  const kept = ' Your basket is kept, and sending it again cannot order it twice.';
  if (problem.total) {
    $('checkout-error').textContent = `The total is ${money(problem.total)} now. Nothing was ordered: order again if you want it for this.`;
    agreeOn(problem.total).catch(() => showBasket());
  } else if (problem.type === 'urn:ordersaga:problem:orders-refused') {
    // An operator has turned new orders off.
    $('checkout-error').textContent = `${problem.message} Your basket is kept.`;
    holdBack(button, problem.retryAfter);
  } else if (problem.retryAfter) {
    $('checkout-error').textContent = `The shop is busy. You can send the order again in ${problem.retryAfter} s.${kept}`;
    holdBack(button, problem.retryAfter);
  } else if (problem.status === 403 && user.email_verified === false) {
    $('checkout-error').textContent = `Please confirm your e-mail address first: enter the code that we sent to ${user.email} in your account. Your basket is kept.`;
  } else if (problem.status === 0 || problem.status >= 500) {
    $('checkout-error').textContent = `There was no answer whether the order was taken. Send it again.${kept}`;
  } else {
    $('checkout-error').textContent = sold.length ? sold.join('; ') : inWords(problem);
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
  button.scrollIntoView({ block: 'nearest' });
}

function nameOfLine(field) {
  const sku = Object.keys(basket).sort()[Number(field.match(/\d+/)?.[0])];
  return products.get(sku)?.name ?? field;
}

// --- Cards. With a publishable key, Stripe's own script sends them from the browser to Stripe. Without one, the page
// offers the gateway's test cards by their names.

const STRIPE_KEY = document.querySelector('meta[name="stripe-publishable-key"]').content;
const STRIPE_JS = 'https://js.stripe.com/v3/';

const NO_STRIPE = 'Stripe cannot be reached, so no card can be taken. Your basket is kept: try again.';

let loadingStripe = null;
let cardField = null;

if (STRIPE_KEY) {
  $('test-cards').remove();
  $('real-card').hidden = false;
}

function stripe() {
  loadingStripe ??= new Promise((done, failed) => {
    const script = element('script', { src: STRIPE_JS });
    script.onload = () => done(window.Stripe(STRIPE_KEY));
    script.onerror = () => {
      loadingStripe = null;
      failed(new Problem(400, { detail: NO_STRIPE }));
    };
    document.head.append(script);
  });
  return loadingStripe;
}

/** Creates Stripe's card field, once the basket has lines. */
async function showCardField() {
  if (!STRIPE_KEY || cardField) return;
  cardField = 'is being made';
  try {
    cardField = (await stripe()).elements().create('card');
    cardField.on('change', forgetCard);
    cardField.mount('#card-field');
  } catch (problem) {
    cardField = null;
    $('checkout-error').textContent = problem.message;
  }
}

/** Creates one payment method for a card, also when its order is sent again: another one would make another order. */
let storedCard = null;
const forgetCard = () => { storedCard = null; };

async function paymentMethod(form) {
  if (!STRIPE_KEY) return new FormData(form).get('payment_method');
  if (storedCard) return storedCard;
  const { name } = Object.fromEntries(new FormData(form));
  const { paymentMethod: stored, error } = await (await stripe())
    .createPaymentMethod({ type: 'card', card: cardField, billing_details: { name } })
    .catch(() => ({ error: { message: NO_STRIPE } }));
  if (error) throw new Problem(400, { detail: error.message });
  storedCard = stored.id;
  return storedCard;
}
