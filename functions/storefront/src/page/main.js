
// --- The views, chosen by the fragment of the address

const VIEWS = ['shop', 'orders', 'profile'];
const shownView = () => VIEWS.find((view) => !$(view).hidden);

function showView() {
  followLink();
  const name = VIEWS.find((view) => location.hash === `#${view}`) ?? 'shop';
  for (const view of VIEWS) $(view).hidden = view !== name;
  for (const link of document.querySelectorAll('nav a, #who')) link.ariaCurrent = link.hash === `#${name}` ? 'page' : null;
  if (name === 'profile') openProfile();
}

addEventListener('hashchange', () => {
  const before = shownView();
  showView();
  // Moves the focus to the part that changed, for people who do not see the screen.
  if ($('account').open) return;
  if (location.hash === '#basket') $('basket-title').focus();
  else if (shownView() !== before) $(`${shownView()}-title`).focus();
});

$('orders-note').textContent = 'Log in to see your orders.';
showBasket();
// After the browser's own jump to the fragment, which would take the focus from a dialog.
addEventListener('load', showView);
loadProducts().then(loadBasket).catch((problem) => say(problem.message, true));
