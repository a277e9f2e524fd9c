
// --- The user's account: e-mail address and phone, password, sessions, deletion

/** By the API's name of the channel. `id`: the prefix of its elements. `minutes`: how long its codes are valid. */
const CHANNELS = {
  email: { id: 'email', address: () => user.email, isConfirmed: () => user.email_verified, letter: 'an e-mail', minutes: 30 },
  sms: { id: 'phone', address: () => user.phone, isConfirmed: () => user.phone_verified, letter: 'a text message', minutes: 10 },
};

/** By channel: the address that this page had a code sent to. It may be a new one. */
let sent = {};
/** Stands for the new address after a reload, when the page does not know it. */
const NEW_ADDRESS = 'your new address';

/** Shows the account. The list of sessions is read only when it is visible. */
async function openProfile() {
  if (!tokens || $('account').open) return;
  if (linkedCode) enterLinkedCode();
  showProfile();
  if (!$('profile').hidden) await showSessions({ asks: false }).catch(noSessions);
}

/** Removes the account from the screen. */
function closeProfile() {
  for (const form of $('profile').querySelectorAll('form')) form.reset();
  showProfile();
  $('sessions').replaceChildren();
  if ($('delete').open) $('delete').close();
}

function forgetProfile() {
  sent = {};
  linkedCode = null;
}

function showProfile() {
  $('profile-note').hidden = Boolean(tokens);
  $('profile-parts').hidden = !tokens;
  $('unconfirmed').hidden = !tokens || user.email_verified !== false;
  for (const channel of Object.keys(CHANNELS)) showChannel(channel);
  $('password-form').elements.username.value = tokens ? user.email : '';
}

function showChannel(channel) {
  const { id, address, isConfirmed, letter, minutes } = CHANNELS[channel];
  const own = tokens && address();
  $(`${id}-value`).textContent = own || (tokens ? 'No number.' : '');
  const isNew = sent[channel] && sent[channel] !== own;
  Object.assign($(`${id}-mark`), {
    textContent: own ? (isConfirmed() ? 'Confirmed' : 'Not confirmed') : '',
    className: own ? `badge ${isConfirmed() ? 'good' : 'warn'}` : '',
  });
  const isOpen = Boolean(own) && (!isConfirmed() || isNew);
  // Registering sends the e-mail's code by itself.
  const hasCode = isOpen && (sent[channel] || channel === 'email');
  $(`${id}-code`).hidden = !hasCode;
  $(`${id}-note`).textContent = hasCode ? `We sent ${letter} with a code to ${sent[channel] ?? own}. It can be used for ${minutes} minutes.` : '';
  $(`${id}-send`).hidden = !isOpen || sent[channel] === NEW_ADDRESS;
  if (!holds.has($(`${id}-send`))) $(`${id}-send`).textContent = hasCode ? 'Send a new code' : 'Send a code';
}

// --- Codes

for (const [channel, { id, address }] of Object.entries(CHANNELS)) {
  onSubmit($(`${id}-code`), async ({ code }) => {
    await confirmAddress(channel, code);
    $(`${id}-code`).reset();
    $(`${id}-title`).focus();
  });
  onPress($(`${id}-send`), async () => {
    const to = sent[channel] ?? address();
    if (to === address()) await call('POST', 'v1/users/me/verifications', { body: { channel } });
    else await call('POST', 'v1/users/me/email', { body: { email: to } });
    sent[channel] = to;
    showProfile();
    $(`${id}-code`).elements.code.focus();
    say('A new code is on its way.');
  });
}

async function confirmAddress(channel, code) {
  await call('POST', 'v1/users/me/verifications/confirm', { body: { channel, code: code.replace(/\D/g, '') } });
  delete sent[channel];
  // An order reads from the access token that the address is confirmed. If this fails, the next refresh has it.
  await renew().catch(() => {});
  await readUser();
  say(`${CHANNELS[channel].address()} is confirmed.`);
}

async function readUser() {
  user = await call('GET', 'v1/users/me');
  showProfile();
}

/** Sends the code of a link as if the user had entered it. */
function enterLinkedCode() {
  sent.email ??= user.email_verified ? NEW_ADDRESS : user.email;
  showProfile();
  $('email-code').elements.code.value = linkedCode;
  linkedCode = null;
  $('email-code').requestSubmit();
}

// --- Changes

onSubmit($('email-form'), async ({ email }) => {
  await call('POST', 'v1/users/me/email', { body: { email } });
  sent.email = email;
  $('email-form').reset();
  $('email-form').parentElement.open = false;
  showProfile();
  $('email-code').elements.code.focus();
  say(`A code is on its way to ${email}.`);
});

onSubmit($('phone-form'), async ({ phone }) => {
  user = await call('PATCH', 'v1/users/me', { body: { phone } });
  delete sent.sms;
  $('phone-form').reset();
  $('phone-form').parentElement.open = false;
  showProfile();
  $('phone-title').focus();
  say(user.phone ? 'The number is saved.' : 'The number is removed.');
});

onSubmit($('password-form'), async ({ current_password, new_password }) => {
  // The entered password also serves for the recent login.
  await call('POST', 'v1/users/me/password', { body: { current_password, new_password }, password: current_password });
  $('password-form').reset();
  showProfile();
  say('Your password is changed. You are logged out everywhere else.');
  await showSessions({ asks: false }).catch(noSessions);
});

// --- Sessions

async function showSessions(options) {
  const { items } = await call('GET', 'v1/users/me/sessions', options);
  $('sessions').replaceChildren(...items.map(sessionItem));
  $('sessions-show').hidden = true;
  $('sessions-end').hidden = items.length < 2;
}

/** The list could not be read, or needs a recent login. A button reads it again. */
function noSessions(problem) {
  $('sessions').replaceChildren();
  $('sessions-show').hidden = false;
  $('sessions-end').hidden = true;
  if (!problem.wantsPassword) say(problem.message, true);
}

const moment = (at) => new Date(at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });

function sessionItem({ session_id, opened_at, last_used_at, current }) {
  const end = current
    ? element('span', { className: 'badge good', textContent: 'This page' })
    : element('button', { type: 'button', textContent: 'Log out there', ariaLabel: `Log out there: logged in ${moment(opened_at)}` });
  const node = element('li', {},
    element('span', {}, `Logged in ${moment(opened_at)} `, element('small', { textContent: `last used ${moment(last_used_at)}` })),
    end);
  if (!current) onPress(end, async () => {
    await call('DELETE', `v1/users/me/sessions/${encodeURIComponent(session_id)}`);
    node.remove();
    $('sessions-end').hidden = $('sessions').childElementCount < 2;
    $('sessions-title').focus();
    say('The session has ended.');
  });
  return node;
}

onPress($('sessions-show'), async () => {
  await showSessions();
  $('sessions-title').focus();
});
onPress($('sessions-end'), async () => {
  await call('DELETE', 'v1/users/me/sessions');
  await showSessions();
  $('sessions-title').focus();
  say('You are logged out everywhere else.');
});

// --- Deletion

$('delete-ask').addEventListener('click', () => {
  $('delete-form').querySelector('.error').textContent = '';
  $('delete').showModal();
  $('delete-keep').focus();
});
$('delete-keep').addEventListener('click', () => $('delete').close());
onSubmit($('delete-form'), async () => {
  await call('DELETE', 'v1/users/me');
  leave();
  forgetPerson();
  location.hash = '#shop';
  say('Your account is deleted.');
});
