"use strict";

// The forms that publish: rows that are added or shown, prices of units in words, one publication for a double click.
(() => {
    const form = document.getElementById("terms_form");

    form.addEventListener("submit", (event) => {
        if (form.dataset.sent) {
            event.preventDefault();
        }
        form.dataset.sent = "yes";
    });
    // A page that comes back from the browser's memory may be sent again.
    window.addEventListener("pageshow", () => delete form.dataset.sent);

    document.querySelector("#terms_form .errors :is(input, select, textarea)")?.focus();

    // Of what is folded, the rows of the chosen model, and of its tiers one more than there are.
    function showRows() {
        for (const folded of document.querySelectorAll(".terms-further")) {
            const chosen = folded.querySelector("select")?.value;
            let wasFilled = true;
            let tiers = 0;
            for (const row of folded.querySelectorAll("[data-choices]")) {
                const inputs = [...row.querySelectorAll("input")];
                const isTier = row.dataset.choices.includes(" ");
                const isFilled = inputs.some((input) => input.value.trim());
                const isNext = !isTier || isFilled || wasFilled || tiers < 2;
                row.hidden = !row.dataset.choices.split(" ").includes(chosen) || !isNext;
                wasFilled = isFilled;
                tiers += isTier ? 1 : 0;
            }
        }
    }

    form.addEventListener("input", showRows);
    showRows();

    // Fields that belong to some choices of another one. What holds something, or is wrong, stays in sight.
    function showFields() {
        for (const input of form.querySelectorAll("[data-when]")) {
            const [name, choices] = input.dataset.when.split("=");
            const field = input.closest(".group");
            const belongs = choices.split(" ").includes(form.elements[name].value);
            field.hidden = !belongs && !input.value && !field.classList.contains("errors");
        }
    }

    form.addEventListener("input", showFields);
    showFields();

    const addButton = document.getElementById("add-line");
    if (!addButton) {
        return;
    }
    addButton.hidden = false;
    addButton.addEventListener("click", () => {
        const total = document.getElementById("id_lines-TOTAL_FORMS");
        const html = document.getElementById("empty-line").innerHTML.replaceAll("__prefix__", total.value);
        const lines = document.getElementById("lines");
        lines.insertAdjacentHTML("beforeend", html);
        total.value = Number(total.value) + 1;
        lines.lastElementChild.querySelector("input").focus();
        showRows();
        showPrices();
    });

    const currency = document.getElementById("id_currency");
    const exponents = JSON.parse(currency.dataset.exponents);

    // Moves the point in the text itself: a number of JavaScript could not hold every price.
    function majorUnits(cents, places) {
        const [whole, decimals = ""] = cents.split(".");
        const digits = whole.padStart(places + 1, "0");
        const split = digits.length - places;
        const moved = (digits.slice(split) + decimals).replace(/0+$/, "").padEnd(places, "0");
        return digits.slice(0, split).replace(/^0+(?=\d)/, "") + (moved && "." + moved);
    }

    function priceText(cents, unit) {
        const code = currency.value.trim().toUpperCase();
        if (!/^\d+(\.\d+)?$/.test(cents) || !/^[A-Z]{3}$/.test(code)) {
            return "";
        }
        return `${majorUnits(cents, exponents[code] ?? 2)} ${code} per ${unit || "unit"}`;
    }

    function showPrices() {
        for (const input of document.querySelectorAll("#lines input[name$=unit_cost_cents]")) {
            const unit = document.getElementsByName(input.name.replace(/(tier_\d+_)?unit_cost_cents/, "unit_label"))[0];
            let hint = input.parentElement.querySelector("output");
            if (!hint) {
                hint = document.createElement("output");
                hint.htmlFor = input.id;
                input.after(hint);
            }
            hint.textContent = priceText(input.value.trim(), unit.value.trim());
        }
    }

    form.addEventListener("input", showPrices);
    showPrices();
})();
