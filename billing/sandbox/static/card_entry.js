/* What a card's holder types: how it is written while typing, and what is wrong with it. */

const digitsOf = (text) => text.replace(/\D/g, "");
const isAmex = (number) => /^3[47]/.test(number);
const wholeLength = (number) => (isAmex(number) ? 15 : 16);

const grouped = (number) => {
  const sizes = isAmex(number) ? [4, 6, 5] : [4, 4, 4, 4, 3];
  const groups = [];
  let start = 0;
  for (const size of sizes) {
    groups.push(number.slice(start, start + size));
    start += size;
  }
  return groups.filter(Boolean).join(" ");
};

/* Month and year as "MM / YY"; the slash comes by itself, but not while the holder deletes. */
const dated = (text, deleting) => {
  let digits = digitsOf(text);
  if (/^[2-9]/.test(digits) || /^1\s*\//.test(text)) digits = `0${digits}`;
  if (digits.length === 6 && digits.startsWith("20", 2)) digits = digits.slice(0, 2) + digits.slice(4);
  const [month, year] = [digits.slice(0, 2), digits.slice(2, 4)];
  return year || (month.length === 2 && !deleting) ? `${month} / ${year}` : month;
};

const hasRightCheckDigit = (number) => {
  let sum = 0;
  [...number].reverse().forEach((digit, place) => {
    const value = Number(digit) * (place % 2 ? 2 : 1);
    sum += value > 9 ? value - 9 : value;
  });
  return sum % 10 === 0;
};

const problem = (code, message) => ({ type: "validation_error", code, message });

const numberProblem = (number) => {
  if (!number) return problem("incomplete_number", "Type your card number.");
  if (number.length < wholeLength(number)) {
    return problem("incomplete_number", "Your card number is incomplete. Type all of its digits.");
  }
  if (hasRightCheckDigit(number)) return null;
  return problem("invalid_number", "Your card number is not valid. Compare it with the card.");
};

const expiryProblem = (digits, today) => {
  if (!digits) return problem("incomplete_expiry", "Type your card's expiry date, such as 12 / 30.");
  const [month, year] = [Number(digits.slice(0, 2)), 2000 + Number(digits.slice(2))];
  if (digits.length >= 2 && (month < 1 || month > 12)) {
    return problem("invalid_expiry_month", "Your card's expiry month must be between 01 and 12.");
  }
  if (digits.length < 4) {
    return problem("incomplete_expiry", "Your card's expiry date is incomplete. Type it like 12 / 30.");
  }
  if (year < today.getFullYear()) {
    return problem("invalid_expiry_year_past", "Your card's expiry year is in the past. Use a valid card.");
  }
  if (year > today.getFullYear() + 50) {
    return problem("invalid_expiry_year", "Your card's expiry year is not valid. Compare it with the card.");
  }
  if (year > today.getFullYear() || month > today.getMonth()) return null;
  return problem("invalid_expiry_month_past", "Your card's expiry date is in the past. Use a valid card.");
};

const cvcProblem = (cvc, number) => {
  const length = isAmex(number) ? 4 : 3;
  if (!cvc) return problem("incomplete_cvc", "Type your card's security code.");
  if (cvc.length >= length) return null;
  return problem("incomplete_cvc", `Your card's security code is incomplete. It has ${length} digits.`);
};
