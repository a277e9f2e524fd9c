'use strict';

// --- Small tools

const $ = (id) => document.getElementById(id);

/** An element with properties and children; text goes in as text only. */
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** News stay long enough to be read; what they tell of stays on the page. */
const NEWS_FOR = 7000;
let news = null;

/** Shows a message, which screen readers read aloud. */
function say(text, bad = false) {
  Object.assign($('message'), { textContent: text, className: bad ? 'bad' : '' });
  clearTimeout(news);
  news = setTimeout(() => { $('message').textContent = ''; }, NEWS_FOR);
}

/** By currency, where there are not two (ISO 4217). A browser's own numbers are those of everyday use. */
const DECIMALS = new Map(document.querySelector('meta[name="currency-decimals"]').content.split(' ').map((pair) => pair.split(':')));

function money({ amount, currency }) {
  const digits = Number(DECIMALS.get(currency) ?? 2);
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
  return format.format(amount / 10 ** digits);
}

/** A browser may forbid its storage; then nothing is remembered, and all else works. */
function memory(storage) {
  return {
    get(key) { try { return JSON.parse(storage().getItem(`ordersaga.${key}`)); } catch { return null; } },
    set(key, value) { try { storage().setItem(`ordersaga.${key}`, JSON.stringify(value)); } catch { /* not remembered */ } },
    drop(key) { try { storage().removeItem(`ordersaga.${key}`); } catch { /* was never there */ } },
  };
}
const browser = memory(() => localStorage);
const tab = memory(() => sessionStorage);

/** A name that nothing else has. `crypto.randomUUID` exists on https and localhost only. */
const unique = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

// --- REST. Addresses are relative: the shop may live under a prefix.

/** Milliseconds to wait for one answer: API Gateway gives a function 4 s, the rest is for the network. */
const ANSWER_WITHIN = 8000;
/** API Gateway's own 429 does not say how long to wait. */
const BUSY_FOR = 5;
/** How often something that can be repeated is asked for. */
const TRIES = 3;

/** A refusal, or no answer (status 0). `retryAfter`: seconds to wait, if the shop said so. */
class Problem extends Error {
  constructor(status, data, retryAfter) {
    super(data?.detail ?? (status ? `The shop answered ${status}.` : 'The shop cannot be reached.'));
    this.status = status;
    this.fields = data?.errors ?? [];
    this.total = data?.total ?? null;
    this.retryAfter = retryAfter;
  }
}

// Tokens stay in memory: they end with the page, and no other script can read them from a store.
let tokens = null;
let renewing = null;

async function send(method, path, { body, headers, cache } = {}) {
  const sent = { ...headers };
  if (body) sent['Content-Type'] = 'application/json';
  if (tokens) sent.Authorization = `Bearer ${tokens.access_token}`;
  const options = { method, headers: sent, body: body && JSON.stringify(body), cache, signal: AbortSignal.timeout(ANSWER_WITHIN) };
  return fetch(path, options).catch(() => { throw new Problem(0); });
}

/** New tokens for old ones; false when the session has ended. One at a time: a token that is used twice ends it. */
function renew() {
  renewing ??= send('POST', 'v1/auth/refresh', { body: { refresh_token: tokens.refresh_token } })
    .then(async (answer) => {
      if (answer.ok) tokens = await answer.json();
      else if (answer.status === 401) sessionEnded();
      return answer.ok;
    })
    .finally(() => { renewing = null; });
  return renewing;
}

async function once(method, path, options) {
  let answer = await send(method, path, options);
  if (answer.status === 401 && tokens && await renew()) answer = await send(method, path, options);
  const data = await answer.json().catch(() => null);
  if (answer.ok) return data;
  throw new Problem(answer.status, data, Number(answer.headers.get('Retry-After')) || (answer.status === 429 ? BUSY_FOR : null));
}

/** What the shop answers; throws a Problem. Reading is tried again while the shop is away. */
async function call(method, path, options) {
  for (let left = method === 'GET' ? TRIES : 1; ; left -= 1) {
    try { return await once(method, path, options); }
    catch (problem) {
      if (left === 1 || ![0, 502, 503, 504].includes(problem.status)) throw problem;
      await wait(1000 * Math.min(problem.retryAfter ?? 1, 5));
    }
  }
}

// --- Buttons that wait

/** Marks a button as waiting. It keeps the focus, which a disabled one would lose. */
const isWaiting = (button) => button.ariaDisabled === 'true';
const waiting = (button, yes) => { button.ariaDisabled = String(yes); };

/** Counts down on the button what the shop asked to wait, then gives it back. */
function holdBack(button, seconds) {
  const label = button.textContent;
  const end = Date.now() + seconds * 1000;
  waiting(button, true);
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      button.textContent = `Try again in ${left} s`;
      setTimeout(tick, 250);
    } else {
      button.textContent = label;
      waiting(button, false);
      say('You can try again now.');
    }
  };
  tick();
}
