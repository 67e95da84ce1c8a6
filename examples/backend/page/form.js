// The form as it is meant, and what is wrong with it: the same as core/src/courier/waitlist/form.rs.

const trimmed = (text) => text.trim();
const compact = (text) => text.replace(/[\s\-./()]/g, "");
const smallLetters = (text) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const capitals = (text) => text.replace(/[a-z]/g, (letter) => letter.toUpperCase());

function canonicalContact(contact) {
  if (!contact.includes("@")) {
    const number = compact(contact);
    return trimmed(contact).startsWith("00") ? number.replace("00", "+") : number;
  }
  const at = trimmed(contact).lastIndexOf("@");
  return trimmed(contact).slice(0, at) + smallLetters(trimmed(contact).slice(at));
}

// From what was typed. A year that is no number stays as it is, for `mistakes` to find.
export function canonical(typed) {
  const year = trimmed(typed.birth_year);
  return {
    national_number: capitals(compact(typed.national_number)),
    name: typed.name.split(/\s+/).filter(Boolean).join(" "),
    birth_year: year === "" ? null : /^\d{4}$/.test(year) ? Number(year) : NaN,
    contact: canonicalContact(typed.contact),
    consent: typed.consent,
    language: typed.language,
  };
}

// The fields that are wrong, in the order in which they are asked for.
export function mistakes(form, rules, year) {
  const isPresent = (presence, isThere) => presence === "optional" || (presence === "required") === isThere;
  const { birth_year: born, name } = form;
  const isName = new TextEncoder().encode(name).length <= 200 && [...name].length <= 100 && !/\p{Cc}/u.test(name);
  const isGood = {
    national_number: isNumber(form.national_number, rules.national_number),
    name: isPresent(rules.name, name !== "") && isName,
    birth_year: isPresent(rules.birth_year, born !== null) && (born === null || (born >= 1900 && born <= year)),
    contact: isEmail(form.contact) || /^\+[1-9]\d{7,14}$/.test(form.contact),
    consent: form.consent,
  };
  return Object.keys(isGood).filter((field) => !isGood[field]);
}

function isEmail(contact) {
  const at = contact.lastIndexOf("@");
  const [local, domain] = [contact.slice(0, Math.max(at, 0)), contact.slice(at + 1)];
  const isLocal = /^[!-~]{1,64}$/.test(local) && !/[@,;:<>()[\]\\"]|^\.|\.$|\.\./.test(local);
  const isLabel = (label) => /^[A-Za-z0-9-]{1,63}$/.test(label) && !/^-|-$/.test(label);
  return isLocal && contact.length <= 254 && domain.includes(".") && domain.split(".").every(isLabel);
}

function isNumber(number, format) {
  if (format === "any") return /^[A-Z0-9]{4,32}$/.test(number);
  if (!/^\d{13}$/.test(number)) return false;
  const digits = Array.from(number, Number);
  return luhn(digits.slice(0, 12)) && verhoeff([...digits.slice(0, 11), digits[12]]);
}

function luhn(digits) {
  const value = (digit, at) => (at % 2 ? (digit > 4 ? 2 * digit - 9 : 2 * digit) : digit);
  return digits.reverse().reduce((sum, digit, at) => sum + value(digit, at), 0) % 10 === 0;
}

function verhoeff(digits) {
  const PERMUTATION = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
  const permuted = (digit, times) => (times === 0 ? digit : permuted(PERMUTATION[digit], times - 1));
  return digits.reverse().reduce((sum, digit, at) => dihedral(sum, permuted(digit, at % 8)), 0) === 0;
}

// Elements 0 to 4 are rotations of the pentagon, 5 to 9 reflections.
function dihedral(a, b) {
  if (a < 5) return b < 5 ? (a + b) % 5 : ((a + b - 5) % 5) + 5;
  return b < 5 ? ((a - b) % 5) + 5 : (a + 5 - b) % 5;
}
