//! The formulas of `keys`, fast: identifier keys of several keys side by side, identifiers of a whole day at once.
//!
//! ```text
//! PRK  = H(zero ^ opad ++ H(zero ^ ipad ++ TEK))                 HKDF-SHA256 extract; no salt is a salt of zeros
//! RPIK = H(PRK ^ opad ++ H(PRK ^ ipad ++ "EN-RPIK" ++ 01))       expand, its first 16 bytes
//! ```
//!
//! Each of the four messages is two blocks of SHA-256, so there are eight calls of its block function. Two of them, for the pads of the salt, are
//! the same for each key and made once: six are left. Such a call mostly waits for its own last result, and a processor fills the wait
//! with the next call where that is another key's: hence lanes, one step of each key before the next step of any. AES encrypts the blocks of a
//! day in one call; they are the same for each key.
//!
//! Source: RFC 5869 (HKDF), RFC 2104 (HMAC), the rest as in `keys`; a test holds the two together. No `unsafe`: `sha2` and `aes` find the
//! processor's instructions by themselves. What is made here comes from published keys and is no secret any more; what outlives a call
//! is wiped all the same, identifiers apart.

use std::ops::Range;
use std::slice;

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::rpi_block;
use crate::time::{Date, INTERVALS_PER_DAY};

/// How many keys go side by side. Four take a fifth less time than one at a time; more gain nothing.
pub(super) const LANES: usize = 4;

type State = [u32; 8];

const SHA256_INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const BLOCK: usize = 64;
const IPAD: u8 = 0x36;
const OPAD: u8 = 0x5c;

/// Derives identifier keys (RPIK), up to [`LANES`] at a time. Its working memory is wiped when it is dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct KeyDerivation {
    #[zeroize(skip)]
    salt_inner: State,
    #[zeroize(skip)]
    salt_outer: State,
    #[zeroize(skip)]
    info: [u8; BLOCK],
    lanes: [Lane; LANES],
}

/// One key on its way: the inner and the outer hash of an HMAC, and the blocks that they take next.
#[derive(Clone, Copy, Zeroize)]
struct Lane {
    inner: State,
    outer: State,
    inner_block: [u8; BLOCK],
    outer_block: [u8; BLOCK],
    rpik: [u8; 16],
}

impl Lane {
    const EMPTY: Self = Self { inner: [0; 8], outer: [0; 8], inner_block: [0; BLOCK], outer_block: [0; BLOCK], rpik: [0; 16] };
}

impl KeyDerivation {
    pub(super) fn new() -> Self {
        Self {
            salt_inner: pad_state(IPAD),
            salt_outer: pad_state(OPAD),
            info: last_block(b"EN-RPIK\x01"),
            lanes: [Lane::EMPTY; LANES],
        }
    }

    /// The identifier keys of the first [`LANES`] of these keys, in their order.
    pub(super) fn identifier_keys<'k>(&mut self, keys: impl Iterator<Item = &'k [u8; 16]>) -> impl Iterator<Item = &[u8; 16]> {
        let mut count = 0;
        for (lane, key) in self.lanes.iter_mut().zip(keys) {
            lane.inner = self.salt_inner;
            lane.outer = self.salt_outer;
            lane.inner_block = last_block(key);
            count += 1;
        }
        let lanes = &mut self.lanes[..count];
        for lane in &mut *lanes {
            compress(&mut lane.inner, &lane.inner_block);
        }
        for lane in &mut *lanes {
            lane.outer_block = last_block(&digest(&lane.inner));
            compress(&mut lane.outer, &lane.outer_block);
        }
        for lane in &mut *lanes {
            let prk = digest(&lane.outer);
            lane.inner_block = pad::<IPAD>(&prk);
            lane.outer_block = pad::<OPAD>(&prk);
            lane.inner = SHA256_INITIAL;
            lane.outer = SHA256_INITIAL;
            compress(&mut lane.inner, &lane.inner_block);
            compress(&mut lane.outer, &lane.outer_block);
        }
        for lane in &mut *lanes {
            compress(&mut lane.inner, &self.info);
        }
        for lane in &mut *lanes {
            lane.outer_block = last_block(&digest(&lane.inner));
            compress(&mut lane.outer, &lane.outer_block);
            lane.rpik.copy_from_slice(&digest(&lane.outer)[..16]);
        }
        lanes.iter().map(|lane| &lane.rpik)
    }
}

/// The identifiers of a day: the blocks that are encrypted to them, and room for those of one key after the other.
pub(super) struct Identifiers {
    blocks: [Block; INTERVALS_PER_DAY as usize],
    encrypted: [Block; INTERVALS_PER_DAY as usize],
}

impl Identifiers {
    pub(super) fn of_day(date: Date) -> Self {
        // The last day that 32 bits can count is cut short. The blocks behind its end repeat the last one; no key reaches them.
        let block = |offset: usize| Array(rpi_block(date.first_interval().plus(offset as u32).number()));
        Self { blocks: std::array::from_fn(block), encrypted: [Array([0; 16]); INTERVALS_PER_DAY as usize] }
    }

    /// The identifiers that `rpik` makes for a part of the day: offsets of intervals from its start, within 0..144.
    pub(super) fn derive(&mut self, rpik: &[u8; 16], part: Range<usize>) -> &[[u8; 16]] {
        let (blocks, encrypted) = (&self.blocks[part.clone()], &mut self.encrypted[part]);
        Aes128Enc::new(&Array(*rpik)).encrypt_blocks_b2b(blocks, encrypted).expect("both are the same part of equal arrays");
        Block::cast_slice_to_core(encrypted)
    }
}

/// The state after the first block of an HMAC whose key is zeros.
fn pad_state(byte: u8) -> State {
    let mut state = SHA256_INITIAL;
    compress(&mut state, &[byte; BLOCK]);
    state
}

#[inline]
fn compress(state: &mut State, block: &[u8; BLOCK]) {
    compress256(state, slice::from_ref(block));
}

/// The second and last block of a message whose first block is a pad: what is left of it, the bit 1, zeros, and its whole length in bits.
#[inline]
fn last_block<const N: usize>(rest: &[u8; N]) -> [u8; BLOCK] {
    const { assert!(N < BLOCK - 8) }
    let mut block = [0; BLOCK];
    block[..N].copy_from_slice(rest);
    block[N] = 0x80;
    block[BLOCK - 2..].copy_from_slice(&(((BLOCK + N) * 8) as u16).to_be_bytes());
    block
}

/// The first block of an HMAC under `key`.
#[inline]
fn pad<const BYTE: u8>(key: &[u8; 32]) -> [u8; BLOCK] {
    let mut block = [BYTE; BLOCK];
    for (padded, byte) in block.iter_mut().zip(key) {
        *padded ^= byte;
    }
    block
}

#[inline]
fn digest(state: &State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (four, word) in bytes.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}
