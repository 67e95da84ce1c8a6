//! Disks as they may look when the power goes: what was synced is there; of the rest every 512-byte sector may be old, new or noise.

use std::collections::{BTreeMap, HashMap};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::vfs::Op;

/// The disk that had these files `before`, after these operations, if the power goes then. `seed` draws which of the possible ones. Without `syncs_count`
/// it is as if nothing had been synced.
pub(crate) fn after(before: &BTreeMap<String, Vec<u8>>, ops: &[Op], seed: u64, syncs_count: bool) -> BTreeMap<String, Vec<u8>> {
    let mut synced = HashMap::new();
    for (i, op) in ops.iter().enumerate() {
        match op {
            Op::Sync { file } if syncs_count => synced.insert(file.as_str(), i),
            _ => None,
        };
    }
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    // What happens to a change that was not synced: always lost, always kept, sector by sector, and that with noise.
    let mode = rng.next_u32() % 4;
    let kept = |rng: &mut ChaCha20Rng| mode == 1 || (mode > 1 && rng.next_u32().is_multiple_of(2));
    let mut files = before.clone();
    for (i, op) in ops.iter().enumerate() {
        let lasts = |file: &String| synced.get(file.as_str()).is_some_and(|sync| i < *sync);
        match op {
            Op::Write { file, offset, data } => {
                let content = files.entry(file.clone()).or_default();
                if lasts(file) {
                    put(content, *offset, data);
                    continue;
                }
                for (sector, bytes) in data.chunks(512).enumerate() {
                    if kept(rng) {
                        put(content, offset + 512 * sector, bytes);
                    } else if mode == 3 && rng.next_u32() % 8 == 0 {
                        let mut noise = vec![0; bytes.len()];
                        rng.fill_bytes(&mut noise);
                        put(content, offset + 512 * sector, &noise);
                    }
                }
            }
            Op::Truncate { file, length } if lasts(file) || kept(rng) => {
                set_length(files.entry(file.clone()).or_default(), *length)
            }
            Op::Delete { file } if lasts(file) || kept(rng) => drop(files.remove(file)),
            _ => {}
        }
    }
    files
}

fn set_length(content: &mut Vec<u8>, length: usize) {
    let missing = length.saturating_sub(content.len());
    content.truncate(length);
    // Without optimisation, `resize` is slow.
    content.extend_from_slice(&vec![0; missing]);
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    set_length(content, content.len().max(offset + bytes.len()));
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}
