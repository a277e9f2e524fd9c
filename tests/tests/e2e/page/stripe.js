// Stands in for Stripe.js, which tests do not reach: the calls that the page makes of it, answered by the local gateway
// under Stripe's own address, as the page's content security policy allows it.
window.Stripe = (key) => {
  const post = async (path, fields) => {
    const body = new URLSearchParams({ key, ...fields });
    const answer = await fetch(`https://api.stripe.com/v1/${path}`, { method: 'POST', body });
    const data = await answer.json();
    return answer.ok ? { data } : { error: data.error };
  };
  const number = Object.assign(document.createElement('input'), { ariaLabel: 'Card number' });
  return {
    elements: () => ({ create: () => ({
      on: (event, changed) => number.addEventListener(event, changed),
      clear: () => { number.value = ''; },
      mount: (place) => document.querySelector(place).append(number),
    }) }),
    createPaymentMethod: async ({ type }) => {
      const card = { 'card[number]': number.value, 'card[exp_month]': 12, 'card[exp_year]': 2035, 'card[cvc]': 123 };
      const { data, error } = await post('payment_methods', { type, ...card });
      return { paymentMethod: data, error };
    },
    handleNextAction: async ({ clientSecret }) => {
      const [intent] = clientSecret.split('_secret_');
      const { data, error } = await post(`payment_intents/${intent}/_authenticate`, { client_secret: clientSecret, success: true });
      return { paymentIntent: data, error };
    },
  };
};
