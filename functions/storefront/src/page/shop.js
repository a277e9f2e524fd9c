
// --- Products

const LIST_LIMIT = 100;

/** By SKU: the product, its stock if it is known, and its card. */
const products = new Map();
/** The cursor of the next page; null at the end. */
let cursor = '';
/** The time of the list, if it is from an earlier visit. */
let listOf = null;

/** A list is read again when a search finds nothing in it: the shop keeps it for two seconds, and this page for longer. */
const SEARCH_AGAIN = 2000;
let searching = null;

/** The list of an earlier visit is shown for up to a day while the shop cannot be reached. */
const LIST_KEPT = 24 * 60 * 60 * 1000;
/** Stock as of an earlier time. It is shown as low at best, because more may have been sold since. */
const LIMITED = { in_stock: 'low_stock' };

/** The first page of the shop's list, or of the last visit's. */
async function firstPage(path, options) {
  try {
    const page = await call('GET', path, options);
    browser.set('list', { at: Date.now(), items: page.items });
    return page;
  } catch (problem) { return lastList(problem); }
}

function lastList(problem) {
  const isOutage = problem.status === 0 || problem.status === 429 || problem.status >= 500;
  const last = browser.get('list');
  if (!isOutage || !last || Date.now() - last.at > LIST_KEPT) throw problem;
  listOf = new Date(last.at);
  const earlier = (product) => ({ ...product, availability: LIMITED[product.availability] ?? product.availability, as_of: product.as_of ?? listOf.toISOString() });
  return { items: last.items.map(earlier), next_cursor: null };
}

async function loadProducts(options) {
  const path = `v1/products?limit=${LIST_LIMIT}`;
  const page = cursor ? await call('GET', `${path}&cursor=${encodeURIComponent(cursor)}`, options) : await firstPage(path, options);
  cursor = page.next_cursor;
  for (const product of page.items) addProduct(product);
  $('more').hidden = cursor === null;
  filterProducts();
  showListNote();
}

/** A notice for customers who order from an old list. */
function showListNote() {
  const when = listOf?.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  const old = when ? `The shop does not answer at the moment. This is its list of ${when}: prices may have changed.` : '';
  const limited = [...products.values()].some(isLimited) ? 'Stock is limited at the moment. You can order, but the order may have to wait.' : '';
  $('list-note').textContent = `${old} ${limited}`.trim();
}

function addProduct(product) {
  const known = products.get(product.sku);
  if (known?.card) return known;
  const entry = { ...product, available: null, card: null };
  products.set(product.sku, entry);
  entry.card = productCard(entry);
  $('products').append(entry.card.node);
  showStock(entry);
  nearby.observe(entry.card.node);
  return entry;
}

function productCard(product) {
  const stock = element('span');
  const button = element('button', { type: 'button' });
  const tile = element('div', { className: 'tile', ariaHidden: 'true', textContent: product.name.slice(0, 1).toUpperCase() });
  tile.style.setProperty('--hue', [...product.sku].reduce((hue, letter) => (hue * 31 + letter.codePointAt(0)) % 360, 7));
  button.addEventListener('click', () => addToBasket(product));
  const node = element('li', { className: 'card' },
    tile,
    element('h2', { textContent: product.name }),
    element('p', { className: 'text', textContent: product.description ?? '' }),
    element('p', { className: 'offer' }, element('span', { className: 'price', textContent: money(product.price) }), stock),
    button);
  node.dataset.sku = product.sku;
  return { node, stock, button };
}

/** Reads missing stock when its product becomes visible, and not for hundreds of products at once. */
const nearby = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    nearby.unobserve(target);
    const product = products.get(target.dataset.sku);
    if (product.availability === 'unknown') askForStock(product);
  }
}, { rootMargin: '200px' });

async function askForStock(product) {
  try {
    const { available, availability, as_of } = await call('GET', `v1/inventory/${encodeURIComponent(product.sku)}`);
    Object.assign(product, { available: as_of ? null : available, availability, as_of });
    showStock(product);
    showListNote();
  } catch { /* It stays unknown; the order itself will tell. */ }
}

/** The stock was known and cannot be read now. The shop accepts the order, which waits until inventory answers. */
const isLimited = ({ as_of, availability }) => Boolean(as_of) && availability === 'low_stock';

function showStock(product) {
  const { sku, name, available, availability, card } = product;
  const texts = { in_stock: 'In stock', low_stock: available ? `Only ${available} left` : 'Only a few left', out_of_stock: 'Sold out' };
  card.stock.textContent = isLimited(product) ? 'Limited stock' : texts[availability] ?? '';
  card.stock.className = `stock ${availability}`;
  const inBasket = basket[sku] ?? 0;
  card.button.textContent = inBasket ? `Add another (${inBasket})` : 'Add to basket';
  card.button.ariaLabel = `${card.button.textContent}: ${name}`;
  card.button.disabled = availability === 'out_of_stock';
}

/** A text without case and diacritics, for comparing. */
const plain = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();

function filterProducts() {
  const words = plain($('search').value).split(/\s+/);
  let shown = 0;
  for (const { sku, name, description, category, card } of products.values()) {
    const text = plain(`${sku} ${name} ${category} ${description ?? ''}`);
    card.node.hidden = !words.every((word) => text.includes(word));
    if (!card.node.hidden) shown += 1;
  }
  $('products-note').textContent = shown || cursor ? '' : 'There is nothing like that in the shop.';
}

/** Searches all products, not only those that are shown so far. */
async function search(options) {
  filterProducts();
  try { while ($('search').value && cursor !== null) await loadProducts(options); }
  catch (problem) { say(problem.message, true); }
}

$('search').addEventListener('input', async () => {
  clearTimeout(searching);
  await search();
  if ($('products-note').textContent) searching = setTimeout(() => { cursor = ''; search({ cache: 'no-cache' }); }, SEARCH_AGAIN);
});
$('more').addEventListener('click', () => loadProducts().catch((problem) => say(problem.message, true)));

// --- Basket: quantities by SKU, stored in the browser

const MOST = 1000;
/** The shop's total for this basket, if it differs from the prices in the list. */
let agreedTotal = null;
// Without a prototype, because `__proto__` is a valid SKU.
const basket = Object.assign(Object.create(null), browser.get('basket'));

function setQuantity(sku, quantity) {
  agreedTotal = null;
  if (quantity > 0) basket[sku] = Math.min(quantity, MOST);
  else delete basket[sku];
  browser.set('basket', basket);
  showBasket();
}

function addToBasket({ sku, name }) {
  setQuantity(sku, (basket[sku] ?? 0) + 1);
  say(`${name}: ${basket[sku]} in the basket.`);
}

/** Restores the stored basket, without products that are no longer sold. */
async function loadBasket() {
  for (const sku of Object.keys(basket).filter((sku) => !products.has(sku))) {
    try { addProduct(await call('GET', `v1/products/${encodeURIComponent(sku)}`)); }
    catch (problem) {
      if (problem.status !== 404) throw problem;
      setQuantity(sku, 0);
      say('Something in your basket is no longer sold, and was taken out.');
    }
  }
  showBasket();
}

/** Takes over the shop's total, and reads the current prices of the basket's products. */
async function agreeOn(total) {
  agreedTotal = total;
  for (const sku of Object.keys(basket)) {
    const { price } = await call('GET', `v1/products/${encodeURIComponent(sku)}`, { cache: 'reload' });
    Object.assign(products.get(sku), { price });
  }
  showBasket();
}

function showBasket() {
  const lines = Object.keys(basket).map((sku) => products.get(sku)).filter(Boolean);
  for (const [sku, view] of basketLines) if (!basket[sku]) { view.node.remove(); basketLines.delete(sku); }
  for (const product of lines) showLine(product);
  const count = lines.reduce((count, { sku }) => count + basket[sku], 0);
  Object.assign($('basket-count'), { hidden: !count, textContent: count });
  $('basket-empty').hidden = lines.length > 0;
  $('checkout').hidden = lines.length === 0;
  $('total').textContent = totals().map(money).join(' + ');
  for (const product of products.values()) showStock(product);
  if (lines.length) showCardField();
}

/** The totals of the shown basket, one for each currency. */
function totals() {
  if (agreedTotal) return [agreedTotal];
  const sums = {};
  for (const { sku, price } of Object.keys(basket).map((sku) => products.get(sku)).filter(Boolean)) {
    sums[price.currency] = (sums[price.currency] ?? 0) + price.amount * basket[sku];
  }
  return Object.entries(sums).map(([currency, amount]) => ({ amount, currency }));
}

/** By SKU. A line keeps its node, so that the keyboard focus stays in it. */
const basketLines = new Map();

function showLine(product) {
  const { sku, price, available } = product;
  if (!basketLines.has(sku)) {
    basketLines.set(sku, basketLine(product));
    $('basket-lines').append(basketLines.get(sku).node);
  }
  const { quantity, note } = basketLines.get(sku);
  if (quantity.valueAsNumber !== basket[sku]) quantity.value = basket[sku];
  const short = available !== null && basket[sku] > available ? ` There are only ${available}.` : '';
  const limited = isLimited(product) ? ' Limited stock: the order may have to wait.' : '';
  note.textContent = `${money(price)} each.${short}${limited}`;
}

function basketLine({ sku, name }) {
  const note = element('small');
  const quantity = element('input', { type: 'number', min: 1, max: MOST, value: basket[sku], required: true, ariaLabel: `Quantity of ${name}` });
  quantity.addEventListener('change', () => quantity.value > 0 && setQuantity(sku, Math.trunc(quantity.value)));
  const remove = element('button', { type: 'button', textContent: '×', ariaLabel: `Remove ${name}` });
  remove.addEventListener('click', () => {
    setQuantity(sku, 0);
    $('basket-title').focus();
    say(`${name} was removed.`);
  });
  return { node: element('li', {}, element('span', { textContent: name }), quantity, remove, note), quantity, note };
}
