// What a sign-up is made of, with WebCrypto alone: the recovery code and what derives from it, the sealed form, the receipt.
// The same as core/src/courier/waitlist: recovery.rs, sealed.rs, receipt.rs. Sources: RFC 5869 (HKDF), RFC 9180 (HPKE), RFC 8032 (Ed25519), RFC 9162 (Merkle trees).

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LENGTH = 21;
const PLAIN_LENGTH = 1024;
const SIGNATURE_LENGTH = 64;
const HASH_LENGTH = 32;
const MAX_HASHES = 5;

const ascii = (text) => new TextEncoder().encode(text);
const EMPTY = new Uint8Array();

const joined = (...parts) => {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
};

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const fromHex = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (symbol) => symbol.charCodeAt(0));
const fromBase64Url = (text) => fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));

const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

async function hmac(key, bytes) {
  // An empty key is one of zeros, and not every browser takes an empty one.
  const raw = key.length ? key : new Uint8Array(32);
  const imported = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, bytes));
}

// HKDF-Expand to at most 32 bytes.
const expand = async (key, info, length) => (await hmac(key, joined(info, [1]))).slice(0, length);

// Whether this browser can do what follows. X25519 is missing from older ones, and everything from pages without TLS.
export async function isCapable() {
  try {
    await crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]);
    return true;
  } catch {
    return false;
  }
}

// Multiplies by x in GF(32), modulo x^5 + x^2 + 1; Horner's rule.
const checkSymbol = (symbols) =>
  symbols.reduce((sum, symbol) => {
    const doubled = (sum ^ symbol) << 1;
    return doubled & 32 ? doubled ^ 0b100101 : doubled;
  }, 0);

export const randomId = () => hex(crypto.getRandomValues(new Uint8Array(16)));

export function newCode() {
  const symbols = Array.from(crypto.getRandomValues(new Uint8Array(CODE_LENGTH - 1)), (byte) => byte & 31);
  return [...symbols, checkSymbol(symbols)].map((symbol) => ALPHABET[symbol]).join("");
}

// The code as it is meant; null where it has a mistake.
export function readCode(typed) {
  const compact = typed.replace(/[\s-]/g, "").toUpperCase().replaceAll("O", "0").replace(/[IL]/g, "1");
  const symbols = Array.from(compact, (symbol) => ALPHABET.indexOf(symbol));
  const isGood = symbols.length === CODE_LENGTH && !symbols.includes(-1) && checkSymbol(symbols.slice(0, -1)) === symbols.at(-1);
  return isGood ? compact : null;
}

export const groupedCode = (code) => code.match(/.{7}/g).join("-");

// The operation id as text, and the secret.
export async function derived(code) {
  const key = await hmac(EMPTY, ascii(code.slice(0, CODE_LENGTH - 1)));
  const id = await expand(key, ascii("vigie waitlist operation v1"), 16);
  const secret = await expand(key, ascii("vigie waitlist secret v1"), 32);
  return { id: hex(id), secret: base64(secret), secretHash: base64(await sha256(secret)) };
}

// HPKE: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode, one message.
const KEM = joined(ascii("KEM"), [0x00, 0x20]);
const SUITE = joined(ascii("HPKE"), [0x00, 0x20, 0x00, 0x01, 0x00, 0x01]);
const VERSION = ascii("HPKE-v1");

const labeledExtract = (suite, salt, label, key) => hmac(salt, joined(VERSION, suite, ascii(label), key));
const labeledExpand = (suite, key, label, info, length) =>
  expand(key, joined([length >> 8, length & 255], VERSION, suite, ascii(label), info), length);

async function hpkeSeal(publicKey, info, aad, plain) {
  const theirs = await crypto.subtle.importKey("raw", publicKey, { name: "X25519" }, false, []);
  const mine = await crypto.subtle.generateKey({ name: "X25519" }, false, ["deriveBits"]);
  const encapsulated = new Uint8Array(await crypto.subtle.exportKey("raw", mine.publicKey));
  const shared = await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, mine.privateKey, 256);
  const extracted = await labeledExtract(KEM, EMPTY, "eae_prk", new Uint8Array(shared));
  const agreed = await labeledExpand(KEM, extracted, "shared_secret", joined(encapsulated, publicKey), 32);

  const pskHash = await labeledExtract(SUITE, EMPTY, "psk_id_hash", EMPTY);
  const infoHash = await labeledExtract(SUITE, EMPTY, "info_hash", info);
  const context = joined([0], pskHash, infoHash);
  const secret = await labeledExtract(SUITE, agreed, "secret", EMPTY);
  const key = await labeledExpand(SUITE, secret, "key", context, 16);
  const iv = await labeledExpand(SUITE, secret, "base_nonce", context, 12);
  const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: aad }, aes, plain);
  return { encapsulated, sealed: new Uint8Array(sealed) };
}

// Seals a checked form for this operation: what is sent, and the hash that the receipt vouches for.
export async function sealForm(form, id, secretHash, authority) {
  const json = ascii(JSON.stringify(form));
  if (json.length > PLAIN_LENGTH) throw new Error("the form is too long");
  const plain = new Uint8Array(PLAIN_LENGTH).fill(0x20);
  plain.set(json);
  const [operation, keyId] = [fromHex(id), ascii(authority.key_id)];
  const publicKey = fromBase64(authority.public_key);
  const { encapsulated, sealed } = await hpkeSeal(publicKey, ascii("vigie waitlist form v1"), joined(operation, keyId), plain);
  const hash = await sha256(joined(operation, fromBase64(secretHash), encapsulated, sealed, keyId));
  return {
    form: { key_id: authority.key_id, encapsulated: base64(encapsulated), sealed: base64(sealed) },
    hash: base64(hash),
  };
}

// The root of the Merkle tree to which a receipt belongs, by the hashes beside its way up.
async function rootOf(content, path) {
  let root = await sha256(joined([0], content));
  for (let at = 0; at < path.length; at += HASH_LENGTH) {
    const other = path.slice(at, at + HASH_LENGTH);
    const [smaller, larger] = hex(root) < hex(other) ? [root, other] : [other, root];
    root = await sha256(joined([1], smaller, larger));
  }
  return root;
}

// What a receipt says, and whether its signature was verified: not every browser knows Ed25519. Null where it is none.
export async function readReceipt(receipt, keys) {
  try {
    const parts = receipt.split(".").map(fromBase64Url);
    const [content, proof] = parts;
    const hashes = (proof.length - SIGNATURE_LENGTH) / HASH_LENGTH;
    if (parts.length !== 2 || !Number.isInteger(hashes) || hashes < 0 || hashes > MAX_HASHES) return null;
    const says = JSON.parse(new TextDecoder().decode(content));
    const key = keys.find((key) => key.key_id === says.key_id);
    if (!key) return null;
    let imported;
    try {
      imported = await crypto.subtle.importKey("raw", fromBase64(key.public_key), { name: "Ed25519" }, false, ["verify"]);
    } catch {
      return { ...says, isVerified: false };
    }
    const root = await rootOf(content, proof.slice(SIGNATURE_LENGTH));
    const signed = joined(ascii("vigie waitlist receipt v1"), root);
    const isGood = await crypto.subtle.verify({ name: "Ed25519" }, imported, proof.slice(0, SIGNATURE_LENGTH), signed);
    return isGood ? { ...says, isVerified: true } : null;
  } catch {
    return null;
  }
}
