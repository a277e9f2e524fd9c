
// --- The two views, chosen by the fragment of the address

function showView() {
  const name = location.hash === '#orders' ? 'orders' : 'shop';
  for (const view of ['shop', 'orders']) $(view).hidden = view !== name;
  for (const link of document.querySelectorAll('nav a')) link.ariaCurrent = link.hash === `#${name}` ? 'page' : null;
}

addEventListener('hashchange', () => {
  const before = $('orders').hidden;
  showView();
  // Moves the focus to the part that changed, for people who do not see the screen.
  if (location.hash === '#basket') $('basket-title').focus();
  else if ($('orders').hidden !== before) $(before ? 'orders-title' : 'shop-title').focus();
});

$('orders-note').textContent = 'Log in to see your orders.';
showView();
showBasket();
loadProducts().then(loadBasket).catch((problem) => say(problem.message, true));
