
// --- Account

/** The logged-in user. */
let user = null;
let registering = false;

function showAccount(note = '') {
  $('account-note').textContent = note;
  $('account-error').textContent = '';
  if (!$('account').open) $('account').showModal();
}

function switchAccount(toRegister) {
  registering = toRegister;
  const form = $('account-form').elements;
  $('name-field').hidden = form.name.disabled = !toRegister;
  $('password-hint').hidden = !toRegister;
  form.password.autocomplete = toRegister ? 'new-password' : 'current-password';
  $('account-title').textContent = toRegister ? 'Create an account' : 'Log in';
  $('account-submit').textContent = toRegister ? 'Create account' : 'Log in';
  $('account-switch').textContent = toRegister ? 'I have an account' : 'New here? Create an account';
}

$('log-in').addEventListener('click', () => showAccount());
$('account-switch').addEventListener('click', () => {
  switchAccount(!registering);
  $('account-form').elements[registering ? 'name' : 'email'].focus();
});
$('account-close').addEventListener('click', () => $('account').close());

$('account-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = $('account-submit');
  if (isWaiting(button)) return;
  const { email, password, name } = Object.fromEntries(new FormData(event.target));
  $('account-error').textContent = '';
  waiting(button, true);
  try {
    if (registering) await call('POST', 'v1/auth/register', { body: { email, password, name } });
    // The account exists now, so a repeat only logs in.
    switchAccount(false);
    tokens = await call('POST', 'v1/auth/login', { body: { email, password } });
    await arrive();
    event.target.reset();
  } catch (problem) {
    $('account-error').textContent = inWords(problem);
    waiting(button, false);
    if (problem.retryAfter) holdBack(button, problem.retryAfter);
    return;
  }
  waiting(button, false);
});

/** The problem's text with the invalid fields. */
function inWords(problem) {
  const fields = problem.fields.map(({ field, message }) => `${field.split('.').pop().replaceAll('_', ' ')} ${message}`);
  return fields.length ? `Please check: ${fields.join('; ')}.` : problem.message;
}

async function arrive() {
  const before = user?.user_id;
  user = await call('GET', 'v1/users/me');
  if (before && before !== user.user_id) forgetOrders();
  $('who').textContent = user.name;
  $('who').hidden = $('log-out').hidden = false;
  $('log-in').hidden = true;
  $('account').close();
  say(`Welcome, ${user.name}.`);
  fillInCheckout();
  await loadOrders();
  goLive();
}

function leave() {
  tokens = null;
  $('who').hidden = $('log-out').hidden = true;
  $('log-in').hidden = false;
  goSilent();
}

/** Keeps the basket, the form and the orders on the screen. The orders are updated again after the next login. */
function sessionEnded() {
  leave();
  switchAccount(false);
  showAccount('Your session has ended. Log in again to go on: your basket is kept.');
}

$('log-out').addEventListener('click', async () => {
  const { refresh_token } = tokens;
  leave();
  user = null;
  forgetOrders();
  forgetAttempt();
  $('checkout').reset();
  location.hash = '#shop';
  try {
    await call('POST', 'v1/auth/logout', { body: { refresh_token } });
    say('You are logged out.');
  } catch { say('You are logged out here. The shop could not be told; the session there ends by itself.'); }
});
