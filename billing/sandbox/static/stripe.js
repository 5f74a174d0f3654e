/* Candela's stand-in for Stripe.js. It is not Stripe: no money moves, and it takes test cards only.
 *
 * It has the part of Stripe.js that Candela's checkout uses, with the same names, arguments and results, so that the
 * same page works with https://js.stripe.com/v3/. What a card's holder types goes to the sandbox that served this
 * script and to nobody else. An argument that Stripe.js knows and this script does not is refused by name.
 */

const SANDBOX = new URL(document.currentScript.src).origin;

const ELEMENTS_OPTIONS = [
  "mode", "amount", "currency", "setupFutureUsage", "captureMethod", "paymentMethodTypes", "appearance", "locale",
  "loader",
];
const PAYMENT_OPTIONS = ["layout", "fields", "terms", "wallets", "business", "defaultValues", "paymentMethodOrder"];

class IntegrationError extends Error {
  constructor(message) {
    super(message);
    this.name = "IntegrationError";
  }
}

const requireThat = (holds, message) => {
  if (!holds) throw new IntegrationError(message);
};

const requireKnown = (given, known, where) => {
  for (const name of Object.keys(given)) {
    requireThat(known.includes(name), `Candela's sandbox does not imitate "${name}" in ${where}.`);
  }
};

class PaymentElement {
  constructor(elements, options) {
    requireKnown(options, PAYMENT_OPTIONS, 'elements.create("payment", …)');
    this.options = options;
    this.listeners = { ready: [], change: [], loaderror: [] };
    this.form = new CardForm(elements.options.appearance, (state) => this.tell("change", state));
  }

  mount(where) {
    const place = typeof where === "string" ? document.querySelector(where) : where;
    requireThat(place instanceof Element, `There is no element to mount the card form on: ${where}.`);
    place.replaceChildren(this.form.host);
    queueMicrotask(() => this.tell("ready", { elementType: "payment" }));
  }

  unmount() {
    this.form.host.remove();
  }

  focus() {
    this.form.inputs.number.focus();
  }

  /* "loaderror" never comes: the form has nothing to load once this script is there. */
  on(name, listener) {
    requireThat(name in this.listeners, `Candela's sandbox does not imitate the event "${name}".`);
    this.listeners[name].push(listener);
    return this;
  }

  tell(name, event) {
    for (const listener of this.listeners[name]) listener(event);
  }
}

class Elements {
  constructor(options) {
    requireKnown(options, ELEMENTS_OPTIONS, "stripe.elements(…)");
    requireThat(["payment", "setup"].includes(options.mode), 'stripe.elements(…) needs mode "payment" or "setup".');
    requireThat(/^[a-z]{3}$/.test(options.currency), 'stripe.elements(…) needs a currency in small letters: "usd".');
    requireThat(
      options.mode === "setup" || (Number.isInteger(options.amount) && options.amount > 0),
      "stripe.elements(…) needs an amount: a whole number above 0, in the currency's minor unit.",
    );
    this.options = options;
    this.element = null;
    this.submitted = false;
  }

  create(type, options = {}) {
    requireThat(type === "payment", `Candela's sandbox imitates the element "payment" only, not "${type}".`);
    requireThat(!this.element, "A payment element exists already: use elements.getElement(\"payment\").");
    this.element = new PaymentElement(this, options);
    return this.element;
  }

  getElement(type) {
    return type === "payment" ? this.element : null;
  }

  async submit() {
    requireThat(this.element?.form.host.isConnected, "elements.submit() needs a mounted payment element.");
    const error = this.element.form.check();
    this.submitted = !error;
    return error ? { error } : { selectedPaymentMethod: "card" };
  }
}

const KINDS = {
  payment: { prefix: "pi", path: "payment_intents", result: "paymentIntent", query: "payment_intent" },
  setup: { prefix: "seti", path: "setup_intents", result: "setupIntent", query: "setup_intent" },
};

/* Form fields such as card[number]; what is null or undefined is left out. */
const encoded = (values, parent = "", form = new URLSearchParams()) => {
  for (const [key, value] of Object.entries(values)) {
    const name = parent ? `${parent}[${key}]` : key;
    if (value !== null && typeof value === "object") encoded(value, name, form);
    else if (value !== null && value !== undefined && value !== "") form.append(name, String(value));
  }
  return form;
};

const unreachable = () => ({
  type: "api_connection_error",
  message:
    `Candela's sandbox did not answer at ${SANDBOX}. See that it is running and that you are online, then reload` +
    " the page to see whether it went through before you try again.",
});

const unreadable = (status) => ({
  type: "api_error",
  message: `Candela's sandbox answered with status ${status} and nothing readable. See its log, then try again.`,
});

const idOf = (clientSecret, kind) => {
  const found = new RegExp(`^(${kind.prefix}_[A-Za-z0-9]+)_secret_[A-Za-z0-9]+$`).exec(clientSecret ?? "");
  requireThat(found, `The client secret must be that of a ${kind.query}: ${kind.prefix}_…_secret_….`);
  return found[1];
};

const STANDARD = { capture_method: "automatic", setup_future_usage: null };

/* Stripe refuses an intent that is not what the form was made for; so does this. */
const mismatch = (options, intent) => {
  const wanted = { setup_future_usage: options.setupFutureUsage, capture_method: options.captureMethod };
  if (options.mode === "payment") Object.assign(wanted, { amount: options.amount, currency: options.currency });
  for (const [name, value] of Object.entries(wanted)) {
    if (name in intent && (value ?? STANDARD[name]) !== intent[name]) {
      const message = `The ${name} of the intent (${intent[name]}) is not that of stripe.elements(…) (${value}).`;
      return { type: "invalid_request_error", message: `${message} Reload the page and try again.` };
    }
  }
  return null;
};

class StandIn {
  constructor(key) {
    requireThat(
      /^pk_test_[A-Za-z0-9_]+$/.test(key),
      "Stripe(…) needs a publishable test key: pk_test_ followed by letters, digits and underscores.",
    );
    this.key = key;
  }

  elements(options = {}) {
    return new Elements(options);
  }

  confirmPayment(options) {
    return this.confirm(KINDS.payment, options);
  }

  confirmSetup(options) {
    return this.confirm(KINDS.setup, options);
  }

  retrievePaymentIntent(clientSecret) {
    return this.retrieve(KINDS.payment, clientSecret);
  }

  retrieveSetupIntent(clientSecret) {
    return this.retrieve(KINDS.setup, clientSecret);
  }

  async retrieve(kind, clientSecret) {
    const query = encoded({ client_secret: clientSecret });
    const { error, answer } = await this.call("GET", `${kind.path}/${idOf(clientSecret, kind)}?${query}`);
    return error ? { error } : { [kind.result]: answer };
  }

  async confirm(kind, { elements, clientSecret, confirmParams = {}, redirect = "always" }) {
    requireThat(elements instanceof Elements && elements.element, "Confirming needs the elements of a card form.");
    requireThat(elements.submitted, "Call elements.submit() and wait for it before you confirm.");
    requireThat(redirect === "if_required" || confirmParams.return_url, "Confirming needs confirmParams.return_url.");
    requireDetails(elements.element.options, confirmParams);
    const { error: missing, [kind.result]: intent } = await this.retrieve(kind, clientSecret);
    const refused = missing ?? mismatch(elements.options, intent);
    if (refused) return { error: refused };
    const { error, answer } = await this.call(
      "POST", `${kind.path}/${intent.id}/confirm`, confirmation(elements.element.form, clientSecret, confirmParams),
    );
    if (error) {
      elements.element.form.showAnswer(error);
      return { error };
    }
    const onward = wayOnward(kind, answer, confirmParams, redirect);
    return onward ? leave(onward) : { [kind.result]: answer };
  }

  /* One request; it is never repeated by itself, because a lost answer does not say what happened. */
  async call(method, path, body) {
    const headers = { Authorization: `Bearer ${this.key}` };
    let response;
    try {
      response = await fetch(`${SANDBOX}/v1/${path}`, { method, headers, body: body && encoded(body) });
    } catch {
      return { error: unreachable() };
    }
    const answer = await response.json().catch(() => ({ error: unreadable(response.status) }));
    return answer.error ? { error: answer.error } : { answer };
  }
}

/* What the page promised to give itself (fields.billingDetails "never") must be there, as Stripe.js demands. */
const requireDetails = ({ fields }, { payment_method_data: data }) => {
  const wanted = fields?.billingDetails;
  const promised = wanted === "never" ? ["name", "email"] : Object.keys(wanted ?? {});
  for (const name of promised) {
    requireThat(
      (wanted !== "never" && wanted[name] !== "never") || data?.billing_details?.[name] !== undefined,
      `fields.billingDetails.${name} is "never", so confirmParams.payment_method_data.billing_details needs ${name}.`,
    );
  }
};

const confirmation = (form, clientSecret, { return_url: wayBack, payment_method_data: data }) => {
  const { number, expiry, cvc } = form.values();
  const card = { number, exp_month: Number(expiry.slice(0, 2)), exp_year: 2000 + Number(expiry.slice(2)), cvc };
  return {
    client_secret: clientSecret,
    return_url: wayBack ?? location.href,
    payment_method_data: { type: "card", card, billing_details: data?.billing_details ?? {} },
  };
};

/* The address that the browser has to go to now: the bank's page, or the page's own when it always wants that. */
const wayOnward = (kind, intent, { return_url: wayBack }, redirect) => {
  if (intent.status === "requires_action") return intent.next_action.redirect_to_url.url;
  if (redirect === "if_required") return null;
  const url = new URL(wayBack);
  url.searchParams.set(kind.query, intent.id);
  url.searchParams.set(`${kind.query}_client_secret`, intent.client_secret);
  url.searchParams.set("redirect_status", "succeeded");
  return url.href;
};

/* Leaves the page; the promise stays open, so that nothing is shown in the moment before. */
const leave = (url) => {
  location.assign(url);
  return new Promise(() => {});
};

window.Stripe = (key) => new StandIn(key);
