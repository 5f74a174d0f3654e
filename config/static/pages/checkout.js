// The checkout form: what is typed goes to our server, the card to the payment provider and nowhere else.

const form = document.querySelector("[data-checkout]");
const button = form.querySelector("[data-submit]");
const problem = form.querySelector("[data-problem]");
const status = form.querySelector("[data-status]");
const place = form.querySelector("[data-card]");

const LOST = "The connection failed. Check it and press the button again: you are charged only once.";
const TOO_OLD = "This page is too old, or your browser keeps no cookies. Reload the page and try again.";
const OUR_FAULT = "The fault is ours, and it has been logged. Please try again in a minute: you are charged only once.";
const NO_CARD_FORM = "The card form could not be loaded. Check your connection, switch off script blockers for this page, and reload it.";
const PATIENCE_MS = 60000;
const label = button.textContent;
let busy = false;
let stripe = null;
let elements = null;

const showProblem = (message) => {
  problem.querySelector("p").textContent = message;
  problem.hidden = !message;
  if (message) problem.focus();
};

const showFieldErrors = (errors) => {
  for (const line of form.querySelectorAll("[data-error]")) {
    const message = errors[line.dataset.error] ?? "";
    line.textContent = message;
    line.hidden = !message;
    form.elements[line.dataset.error].toggleAttribute("aria-invalid", Boolean(message));
    if (message) form.elements[line.dataset.error].setAttribute("aria-invalid", "true");
  }
  form.querySelector('input[aria-invalid="true"]')?.focus();
};

const fieldErrors = () => {
  const errors = {};
  for (const input of form.querySelectorAll("input[data-missing]")) {
    if (!input.value.trim()) errors[input.name] = input.dataset.missing;
    else if (!input.validity.valid) errors[input.name] = input.dataset.wrong;
  }
  return errors;
};

// Not disabled: a button that is takes the focus of whoever pressed it away.
const setBusy = (now) => {
  busy = now;
  button.setAttribute("aria-disabled", String(now));
  button.textContent = now ? "Subscribing…" : label;
  status.textContent = now ? "Subscribing. Please wait." : "";
};

const giveUpCardForm = () => {
  place.replaceChildren();
  button.disabled = true;
  showProblem(NO_CARD_FORM);
};

const drawCardForm = () => {
  if (!window.Stripe) return giveUpCardForm();
  const { key, mode, amount, currency } = form.dataset;
  const payment = mode === "payment" ? { amount: Number(amount), captureMethod: "manual" } : {};
  stripe = window.Stripe(key);
  elements = stripe.elements({ mode, currency, setupFutureUsage: "off_session", paymentMethodTypes: ["card"], ...payment });
  const card = elements.create("payment", { fields: { billingDetails: { name: "never", email: "never" } } });
  card.on("loaderror", giveUpCardForm);
  card.on("ready", () => (button.disabled = false));
  place.replaceChildren();
  card.mount(place);
};

// Asks our server to begin the checkout, or to find the one of this browser; the same intent comes back every time.
const begin = async () => {
  const answer = await fetch(form.action, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new FormData(form),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const words = await answer.json().catch(() => ({ error: answer.status === 403 ? TOO_OLD : OUR_FAULT }));
  return answer.ok && !words.error ? words : { error: words.error, fields: words.fields ?? {} };
};

const confirm = ({ clientSecret, intentType, page }) => {
  const details = { name: form.elements.name.value };
  if (form.elements.email.value) details.email = form.elements.email.value;
  const request = {
    elements,
    clientSecret,
    confirmParams: {
      return_url: new URL(page, location.href).href,
      payment_method_data: { billing_details: { email: "", ...details } },
    },
    redirect: "if_required",
  };
  return intentType === "setup" ? stripe.confirmSetup(request) : stripe.confirmPayment(request);
};

const declined = ({ type, message }) =>
  type === "card_error" ? `${message} Nothing was charged. Try another card, or ask your bank.` : message;

// Returns the address to go on to, or nothing when something is to be mended first.
const subscribe = async () => {
  const wrong = fieldErrors();
  const { error: wrongCard } = elements ? await elements.submit() : {};
  // What was typed wrong of the card stands in its own form.
  if (wrongCard && wrongCard.type !== "validation_error") showProblem(wrongCard.message);
  showFieldErrors(wrong);
  if (wrongCard || Object.keys(wrong).length) return null;
  const begun = await begin();
  if (begun.fields) showFieldErrors(begun.fields);
  if (begun.error) return showProblem(begun.error);
  if (!begun.clientSecret) return begun.page;
  const { error } = await confirm(begun);
  // Confirmed or replaced in another tab: the page of the checkout knows how it ended.
  if (error?.code?.endsWith("_intent_unexpected_state")) return begun.page;
  return error ? showProblem(declined(error)) : begun.page;
};

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  setBusy(true);
  showProblem("");
  showFieldErrors({});
  try {
    const page = await subscribe();
    if (page) return location.assign(page);
  } catch {
    showProblem(LOST);
  }
  setBusy(false);
});

// Back from another page, the browser may show this one as it was when it was left.
window.addEventListener("pageshow", (event) => event.persisted && setBusy(false));

if (place) drawCardForm();
