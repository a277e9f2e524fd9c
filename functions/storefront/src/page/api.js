'use strict';

// --- Helpers

const $ = (id) => document.getElementById(id);

/** Creates an element with properties and children. Strings become text, never HTML. */
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Messages stay long enough to be read. The change that they report stays on the page. */
const NEWS_FOR = 7000;
let news = null;

/** Shows a message, which screen readers read aloud. */
function say(text, bad = false) {
  Object.assign($('message'), { textContent: text, className: bad ? 'bad' : '' });
  clearTimeout(news);
  news = setTimeout(() => { $('message').textContent = ''; }, NEWS_FOR);
}

/** Decimals of currencies that do not have two (ISO 4217). Browsers use other numbers for some currencies. */
const DECIMALS = new Map(document.querySelector('meta[name="currency-decimals"]').content.split(' ').map((pair) => pair.split(':')));

function money({ amount, currency }) {
  const digits = Number(DECIMALS.get(currency) ?? 2);
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
  return format.format(amount / 10 ** digits);
}

/** A browser may forbid its storage. Then the page stores nothing, and everything else works. */
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

// --- REST. Paths are relative, because the shop may be served under a prefix.

/** Milliseconds to wait for a response. API Gateway allows a function 4 s; the rest is for the network. */
const ANSWER_WITHIN = 8000;
/** Seconds to wait after API Gateway's own 429, which has no Retry-After. */
const BUSY_FOR = 5;
/** Tries of a request that may be repeated. */
const TRIES = 3;

/**
 * An error response, or no response (status 0). `type`: what distinguishes it from others of its status. `retryAfter`:
 * seconds to wait, if the shop sent them. `wantsPassword`: the request needs a recent login.
 */
class Problem extends Error {
  constructor(status, data, { retryAfter = null, wantsPassword = false } = {}) {
    super(data?.detail ?? (status ? `The shop answered ${status}.` : 'The shop cannot be reached.'));
    this.status = status;
    this.type = data?.type ?? 'about:blank';
    this.fields = data?.errors ?? [];
    this.total = data?.total ?? null;
    Object.assign(this, { retryAfter, wantsPassword });
  }
}

// Tokens are in memory only: they end with the page, and no other script can read them from a storage.
let tokens = null;
let renewing = null;

/** Requests with a password or a refresh token. Their 401 is not about the access token. */
const isLogin = (path) => path.startsWith('v1/auth/');

async function send(method, path, { body, headers, cache, keepalive } = {}) {
  const sent = { ...headers };
  if (body) sent['Content-Type'] = 'application/json';
  if (tokens && !isLogin(path)) sent.Authorization = `Bearer ${tokens.access_token}`;
  const options = { method, headers: sent, body: body && JSON.stringify(body), cache, keepalive, signal: AbortSignal.timeout(ANSWER_WITHIN) };
  return fetch(path, options).catch(() => { throw new Problem(0); });
}

/** Refreshes the tokens; false when the session has ended. Runs once at a time, because a refresh token that is used twice ends the session. */
function renew() {
  const before = tokens;
  renewing ??= send('POST', 'v1/auth/refresh', { body: { refresh_token: before.refresh_token } })
    .then(async (answer) => {
      const renewed = await answer.json().catch(() => null);
      // The user may have logged out or in meanwhile.
      if (tokens !== before) return tokens !== null;
      if (answer.ok) tokens = renewed;
      // 403: the account is suspended.
      else if ([401, 403].includes(answer.status)) sessionEnded();
      return answer.ok;
    })
    .finally(() => { renewing = null; });
  return renewing;
}

/** Whether the request needs a recent login (RFC 9470). API Gateway's REST APIs rename the header. */
function wantsPassword({ status, headers }) {
  const challenge = headers.get('WWW-Authenticate') ?? headers.get('x-amzn-Remapped-WWW-Authenticate') ?? '';
  return status === 401 && challenge.includes('insufficient_user_authentication');
}

async function once(method, path, options) {
  let answer = await send(method, path, options);
  const isExpired = answer.status === 401 && !wantsPassword(answer) && !isLogin(path);
  if (isExpired && tokens && await renew()) answer = await send(method, path, options);
  if (wantsPassword(answer) && await logInAgain(options)) answer = await send(method, path, options);
  const data = await answer.json().catch(() => ({}));
  if (answer.ok) return data;
  if (wantsPassword(answer)) data.detail = 'This needs your password. Nothing was changed.';
  const retryAfter = Number(answer.headers.get('Retry-After')) || (answer.status === 429 ? BUSY_FOR : null);
  throw new Problem(answer.status, data, { retryAfter, wantsPassword: wantsPassword(answer) });
}

/**
 * Returns the shop's response, or throws a Problem. Repeats reads while the shop is unavailable. If the request needs a recent
 * login, logs in again with `password`, or asks the user for it unless `asks` is false.
 */
async function call(method, path, options) {
  for (let left = method === 'GET' ? TRIES : 1; ; left -= 1) {
    try { return await once(method, path, options); }
    catch (problem) {
      if (left === 1 || ![0, 502, 503, 504].includes(problem.status)) throw problem;
      await wait(1000 * Math.min(problem.retryAfter ?? 1, 5));
    }
  }
}

// --- Waiting buttons

/** Marks a button as waiting. It keeps the focus, which a disabled one would lose. */
const isWaiting = (button) => button.ariaDisabled === 'true';
const waiting = (button, yes) => { button.ariaDisabled = String(yes); };

/** By button: its current wait. */
const holds = new WeakMap();

/** Shows the remaining wait on the button, then enables it. */
function holdBack(button, seconds) {
  const label = button.textContent;
  const end = Date.now() + seconds * 1000;
  const hold = {};
  holds.set(button, hold);
  waiting(button, true);
  const tick = () => {
    if (holds.get(button) !== hold) return;
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      button.textContent = `Try again in ${left > 90 ? `${Math.ceil(left / 60)} min` : `${left} s`}`;
      setTimeout(tick, 250);
    } else {
      button.textContent = label;
      release(button);
      say('You can try again now.');
    }
  };
  tick();
}

/** Enables a button, also before its wait is over. */
function release(button) {
  holds.delete(button);
  waiting(button, false);
}

// --- Forms and buttons that send requests, one at a time

/** Runs `act` with the form's values. Shows a failure in the form, which keeps the values. */
function onSubmit(form, act) {
  const [button, error] = [form.querySelector('button:not([type])'), form.querySelector('.error')];
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    error.textContent = '';
    for (const field of form.elements) field.ariaInvalid = null;
    run(button, () => act(Object.fromEntries(new FormData(form))), (problem) => {
      error.textContent = inWords(problem);
      for (const { field } of problem.fields) if (form.elements[field]) form.elements[field].ariaInvalid = 'true';
      form.querySelector('[aria-invalid="true"]')?.focus();
    });
  });
}

/** Runs `act` when the button is pressed. Shows a failure as a message. */
function onPress(button, act) {
  button.addEventListener('click', () => run(button, act, (problem) => say(inWords(problem), true)));
}

async function run(button, act, failed) {
  if (isWaiting(button)) return;
  waiting(button, true);
  try {
    await act();
    release(button);
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem(0);
    release(button);
    failed(problem);
    if (problem.retryAfter) holdBack(button, problem.retryAfter);
  }
}

/** The problem's text with the invalid fields. */
function inWords(problem) {
  const fields = problem.fields.map(({ field, message }) => `${field.split('.').pop().replaceAll('_', ' ')} ${message}`);
  return fields.length ? `Please check: ${fields.join('; ')}.` : problem.message;
}
