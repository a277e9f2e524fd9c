
// --- The session: the dialog that opens it, and its end

/** The logged-in user. Kept when the session ends, so that the page knows whether the next login is the same user's. */
let user = null;

/** The purposes of the dialog. It shows the named fields only. `other`: the purpose that the second button changes to. */
const PURPOSES = {
  login: { title: 'Log in', submit: 'Log in', fields: ['email', 'password'], other: ['register', 'New here? Create an account'] },
  register: { title: 'Create an account', submit: 'Create account', fields: ['name', 'email', 'password'], other: ['login', 'I have an account'] },
  again: { title: 'Enter your password', submit: 'Go on', fields: ['email', 'password'] },
  forgot: { title: 'Reset your password', submit: 'Send me an e-mail', fields: ['email'], other: ['login', 'Back to log in'] },
  reset: { title: 'Choose a new password', submit: 'Save the password', fields: ['token', 'password'], other: ['login', 'Back to log in'] },
};
let purpose = 'login';

/** Opens the dialog, or changes its purpose. The entered values stay until it is closed. */
function ask(next, note = '') {
  purpose = next;
  const { title, submit, fields, other } = PURPOSES[purpose];
  const [form, button] = [$('account-form'), $('account-submit')];
  const { name, email, token, password } = form.elements;
  for (const field of [name, email, token, password]) field.disabled = field.parentElement.hidden = !fields.includes(field.name);
  const isNew = ['register', 'reset'].includes(purpose);
  password.autocomplete = isNew ? 'new-password' : 'current-password';
  $('password-hint').hidden = !isNew;
  email.readOnly = purpose === 'again';
  if (email.readOnly) email.value = user.email;
  $('account-title').textContent = title;
  $('account-note').textContent = note;
  form.querySelector('.error').textContent = '';
  release(button);
  button.textContent = submit;
  $('account-switch').hidden = !other;
  $('account-switch').textContent = other?.[1] ?? '';
  $('account-forgot').hidden = purpose !== 'login';
  if (!$('account').open) $('account').showModal();
  [...form.elements].find((field) => fields.includes(field.name) && !field.readOnly).focus();
}

$('log-in').addEventListener('click', () => ask('login'));
$('account-switch').addEventListener('click', () => ask(PURPOSES[purpose].other[0]));
$('account-forgot').addEventListener('click', () => ask('forgot'));
$('account-close').addEventListener('click', () => $('account').close());
$('account').addEventListener('close', () => {
  $('account-form').reset();
  $('account-note').textContent = '';
});

const ACTS = {
  async login({ email, password }) {
    await logIn(email, password);
    await arrive();
  },
  async register({ email, password, name }) {
    await call('POST', 'v1/auth/register', { body: { email, password, name } });
    // The account exists now, so a repeat only logs in.
    ask('login');
    waiting($('account-submit'), true);
    await ACTS.login({ email, password });
  },
  async again({ password }) {
    await logIn(user.email, password);
    $('account').close();
  },
  async forgot({ email }) {
    await call('POST', 'v1/auth/password-reset', { body: { email } });
    ask('reset', `If ${email} has an account here, an e-mail is on its way. Open its link, or enter its code here within 30 minutes.`);
  },
  async reset({ token, password }) {
    await call('POST', 'v1/auth/password-reset/confirm', { body: { token: token.trim(), new_password: password } });
    if (tokens) leave();
    $('account-form').elements.password.value = '';
    ask('login', 'Your password is changed, and you are logged out everywhere. Log in with the new one.');
  },
};

onSubmit($('account-form'), (fields) => ACTS[purpose](fields));

let logins = 0;

/** Opens a session and ends the previous one. */
async function logIn(email, password) {
  const previous = tokens;
  tokens = await call('POST', 'v1/auth/login', { body: { email, password } });
  logins += 1;
  if (previous) await endSession(previous).catch(() => { /* It expires. */ });
}

const endSession = ({ refresh_token }, options) => call('POST', 'v1/auth/logout', { body: { refresh_token }, ...options });

let asking = null;

/** Logs in again, for requests that need a recent login. Returns false if the user refused. */
async function logInAgain({ asks = true, password } = {}) {
  if (!asks) return false;
  if (password) await logIn(user.email, password);
  else {
    asking ??= askForPassword().finally(() => { asking = null; });
    if (!await asking) return false;
  }
  // The WebSocket belongs to the previous session.
  drop();
  goLive();
  return true;
}

async function askForPassword() {
  const before = { logins, user_id: user.user_id };
  ask('again', 'You logged in more than 15 minutes ago. Enter your password to go on.');
  await new Promise((done) => { $('account').addEventListener('close', done, { once: true }); });
  return tokens !== null && logins > before.logins && user?.user_id === before.user_id;
}

async function arrive() {
  const arrived = await call('GET', 'v1/users/me');
  if (user && user.user_id !== arrived.user_id) forgetPerson();
  user = arrived;
  $('who').replaceChildren(element('span', { className: 'sr', textContent: 'Your account: ' }), user.name);
  $('who').hidden = $('log-out').hidden = false;
  $('log-in').hidden = true;
  $('account').close();
  say(`Welcome, ${user.name}.`);
  fillInCheckout();
  await Promise.all([openProfile(), loadOrders()]);
  goLive();
}

/** Removes personal data from the screen. */
function leave() {
  tokens = null;
  $('who').replaceChildren();
  $('who').hidden = $('log-out').hidden = true;
  $('log-in').hidden = false;
  goSilent();
  forgetOrders();
  clearCheckout();
  closeProfile();
}

/** Keeps the basket. The same user gets the entered address and the orders back after the next login. */
function sessionEnded() {
  leave();
  ask('login', 'Your session has ended. Log in again to go on: your basket is kept.');
}

/** Removes all data of the user, because other people may use this browser. */
function forgetPerson() {
  user = newest = null;
  forgetOrders();
  forgetCheckout();
  forgetProfile();
  for (const sku of Object.keys(basket)) setQuantity(sku, 0);
}

$('log-out').addEventListener('click', async () => {
  const session = tokens;
  leave();
  forgetPerson();
  location.hash = '#shop';
  try {
    await endSession(session);
    say('You are logged out.');
  } catch { say('You are logged out here. The shop could not be told; the session there ends by itself.'); }
});

// The tokens are lost with the page, so its session can end. The browser may show the page again ("Back"), to another person.
addEventListener('pagehide', () => {
  if (!tokens) return;
  endSession(tokens, { keepalive: true }).catch(() => { /* It expires. */ });
  leave();
});

// --- Links of e-mails: #confirm=… with the code of an address, #reset=… with the token for a new password. They are in the
// fragment, because browsers do not send it to servers.

/** The code of a link, until the user is logged in. */
let linkedCode = null;

function followLink() {
  const [, kind, secret] = location.hash.match(/^#(confirm|reset)=(.+)$/) ?? [];
  if (!kind) return;
  // Removes the code from the address and the browser's history.
  history.replaceState(null, '', kind === 'confirm' ? '#profile' : '#shop');
  if (kind === 'reset') {
    ask('reset');
    const { token, password } = $('account-form').elements;
    token.value = secret;
    token.parentElement.hidden = true;
    return password.focus();
  }
  linkedCode = secret;
  if (!tokens) ask('login', 'Log in to confirm your e-mail address.');
}
