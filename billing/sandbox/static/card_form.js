/* The card form: three fields in a shadow root, under a note that says whose form it is. */

const STYLE = `
  :host {
    --accent: #3451c7; --ground: #fff; --ink: #1d1d1f; --soft: #5a5a62; --line: #85858f; --wrong: #b3261e;
    --note: #fff1dd; --on-note: #5c2e00; --note-line: #a85b00; --radius: 8px;
    color: var(--ink); color-scheme: light; display: block; font: 16px/1.5 system-ui, sans-serif; text-align: start;
  }
  @media (prefers-color-scheme: dark) {
    :host {
      --accent: #9db2ff; --ground: #1c1c1f; --ink: #f2f2f4; --soft: #b0b0b8; --line: #7c7c86; --wrong: #ffb4ab;
      --note: #33210a; --on-note: #ffd9a8; --note-line: #b9772b;
      color-scheme: dark;
    }
  }
  * { box-sizing: border-box; }
  .note {
    background: var(--note); border: 1px solid var(--note-line); border-radius: var(--radius); color: var(--on-note);
    font-size: 14px; margin: 0 0 16px; padding: 12px 16px;
  }
  .note p { margin: 0; }
  .card { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
  .fields { display: grid; gap: 16px 12px; grid-template-columns: 1fr 1fr; }
  .field { min-width: 0; }
  .field:first-child { grid-column: 1 / -1; }
  label { display: block; font-size: 14px; font-weight: 600; margin-bottom: 4px; }
  input {
    appearance: none; background: var(--ground); border: 1px solid var(--line); border-radius: var(--radius);
    color: inherit; font: inherit; font-variant-numeric: tabular-nums; height: 48px; margin: 0; padding: 0 12px;
    width: 100%;
  }
  input::placeholder { color: var(--soft); opacity: 1; }
  input:focus-visible { border-color: var(--accent); outline: 3px solid var(--accent); outline-offset: 1px; }
  input[aria-invalid="true"] { border: 2px solid var(--wrong); padding: 0 11px; }
  .error { color: var(--wrong); font-size: 14px; margin: 4px 0 0; }
  .error:empty { display: none; }
`;

const FORM = `
  <div class="note" role="note">
    <p><strong>This is Candela's sandbox, not Stripe. No money moves.</strong> Never type a real card number here:
    <span class="card">4242 4242 4242 4242</span> with any future date and any CVC works.</p>
  </div>
  <div class="fields" role="group" aria-label="Card">
    <div class="field"><label for="number">Card number</label>
      <input id="number" autocomplete="cc-number" placeholder="1234 1234 1234 1234">
      <p class="error" id="number-error" aria-live="polite"></p></div>
    <div class="field"><label for="expiry">Expiry date (MM / YY)</label>
      <input id="expiry" autocomplete="cc-exp" placeholder="MM / YY">
      <p class="error" id="expiry-error" aria-live="polite"></p></div>
    <div class="field"><label for="cvc">Security code (CVC)</label>
      <input id="cvc" autocomplete="cc-csc" placeholder="CVC">
      <p class="error" id="cvc-error" aria-live="polite"></p></div>
  </div>
`;

const VARIABLES = {
  borderRadius: "--radius",
  colorBackground: "--ground",
  colorDanger: "--wrong",
  colorPrimary: "--accent",
  colorText: "--ink",
  colorTextSecondary: "--soft",
  fontFamily: "font-family",
};

/* Which field the API's error is about, by its code. */
const FIELD_OF = {
  incorrect_number: "number",
  invalid_number: "number",
  test_mode_live_card: "number",
  invalid_expiry_month: "expiry",
  invalid_expiry_year: "expiry",
  expired_card: "expiry",
  incorrect_cvc: "cvc",
  invalid_cvc: "cvc",
};

class CardForm {
  constructor(appearance, onChange) {
    this.host = document.createElement("div");
    this.root = this.host.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [styleSheet(appearance)];
    this.root.innerHTML = FORM;
    this.inputs = Object.fromEntries([...this.root.querySelectorAll("input")].map((input) => [input.id, input]));
    this.onChange = onChange;
    for (const input of Object.values(this.inputs)) this.prepare(input);
  }

  prepare(input) {
    Object.assign(input, { type: "text", inputMode: "numeric", spellcheck: false });
    input.setAttribute("aria-required", "true");
    input.addEventListener("input", (event) => this.typed(input, event.inputType ?? ""));
    input.addEventListener("blur", ({ relatedTarget }) => {
      // Only on the way to another field: a line that appears under the page's button would move it off the pointer.
      if (input.value && this.root.contains(relatedTarget)) this.show(input.id, this.problems()[input.id]);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.host.closest("form")?.requestSubmit();
    });
  }

  typed(input, inputType) {
    const before = digitsOf(input.value.slice(0, input.selectionStart ?? input.value.length)).length;
    const atEnd = input.selectionStart === input.value.length;
    input.value = this.formatted(input, inputType.startsWith("delete"));
    if (!atEnd) input.setSelectionRange(...caretAfter(input.value, before));
    if (input.getAttribute("aria-invalid") === "true") this.show(input.id, this.problems()[input.id]);
    this.onChange(this.state());
  }

  formatted(input, deleting) {
    if (input.id === "number") return grouped(digitsOf(input.value).slice(0, 19));
    if (input.id === "expiry") return dated(input.value, deleting);
    return digitsOf(input.value).slice(0, 4);
  }

  values() {
    const [number, expiry, cvc] = ["number", "expiry", "cvc"].map((name) => digitsOf(this.inputs[name].value));
    return { number, expiry, cvc };
  }

  problems() {
    const { number, expiry, cvc } = this.values();
    return {
      number: numberProblem(number),
      expiry: expiryProblem(expiry, new Date()),
      cvc: cvcProblem(cvc, number),
    };
  }

  state() {
    const complete = Object.values(this.problems()).every((found) => !found);
    const empty = Object.values(this.values()).every((text) => !text);
    return { elementType: "payment", collapsed: false, complete, empty, value: { type: "card" } };
  }

  show(name, found) {
    const [input, text] = [this.inputs[name], this.root.getElementById(`${name}-error`)];
    text.replaceChildren(...(found ? withWholeNumbers(found.message) : []));
    input.setAttribute("aria-invalid", String(Boolean(found)));
    if (found) input.setAttribute("aria-describedby", text.id);
    else input.removeAttribute("aria-describedby");
  }

  /* Shows every problem at its field, goes to the first field that has one, and returns that problem. */
  check() {
    const problems = this.problems();
    for (const [name, found] of Object.entries(problems)) this.show(name, found);
    const first = Object.keys(problems).find((name) => problems[name]);
    if (!first) return undefined;
    this.inputs[first].focus();
    return problems[first];
  }

  /* Shows what the sandbox said about the card at the field that it is about, when it is about one. */
  showAnswer(error) {
    const name = FIELD_OF[error.decline_code] ?? FIELD_OF[error.code];
    if (!name) return;
    this.show(name, error);
    this.inputs[name].focus();
  }
}

const styleSheet = (appearance) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`${STYLE} :host {}`);
  const own = sheet.cssRules[sheet.cssRules.length - 1].style;
  for (const [name, value] of Object.entries(appearance?.variables ?? {})) {
    if (VARIABLES[name]) own.setProperty(VARIABLES[name], value);
  }
  return sheet;
};

/* The parts of a message in which a card number stays on one line. */
const withWholeNumbers = (message) =>
  message.split(/((?:\d{4} ){3}\d{4})/).map((part, place) => {
    if (place % 2 === 0) return part;
    const number = document.createElement("span");
    number.className = "card";
    number.textContent = part;
    return number;
  });

/* The selection that keeps the caret behind the same digit after spaces and slashes were put in. */
const caretAfter = (text, digits) => {
  let [place, seen] = [0, 0];
  while (seen < digits && place < text.length) {
    if (/\d/.test(text[place])) seen += 1;
    place += 1;
  }
  return [place, place];
};
