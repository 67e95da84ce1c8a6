//! The keys of the waiting list.
//!
//! ```text
//! keys/receipt-v1.pem        Ed25519, signs receipts
//! keys/waitlist-v1.public    X25519, to which forms are sealed: 32 bytes in base64
//! open/waitlist-v1.key       its private key: only where forms are opened
//! open/number.key            hashes national numbers and addresses: only there, too
//! ```
//!
//! Roll-over: the newest public key is announced, all are accepted; `receipt-v2.next.pem` is announced and signs nothing until it is renamed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use rand_core::CryptoRng;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use vigie::courier::waitlist::{Form, OpeningKey, OperationId, ReceiptSigner, SealedForm, SealingKey};
use zeroize::Zeroizing;

use crate::keys::{kept, numbered, signing_index};

/// What this process does for the waiting list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Everything.
    #[default]
    Both,
    /// Takes sign-ups in, and can read none.
    Receive,
    /// Opens and confirms them, and serves nobody.
    Open,
}

/// All of them.
pub struct WaitlistKeys {
    receipts: Vec<Arc<ReceiptSigner>>,
    signing: usize,
    sealing: Vec<SealingKey>,
    /// What opens forms, where this process may.
    pub opening: Option<Opening>,
}

/// What only an opener has.
pub struct Opening {
    keys: Vec<OpeningKey>,
    number: hmac::Key,
}

impl Opening {
    /// The private key with this id.
    pub fn key(&self, id: &str) -> Option<&OpeningKey> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// What was sealed for this operation; nothing where it cannot be opened. Wiped when dropped.
    pub fn open(&self, sealed: &SealedForm, operation: OperationId) -> Option<Zeroizing<Form>> {
        self.key(&sealed.key_id)?.open(sealed, operation).ok().map(Zeroizing::new)
    }

    /// The keyed hash of a national number, as a canonical form has it.
    pub fn number_hash(&self, national_number: &str) -> [u8; 32] {
        self.hash("national number", national_number)
    }

    /// The keyed hash of an address, as a canonical form has it.
    pub fn contact_hash(&self, contact: &str) -> [u8; 32] {
        self.hash("contact", contact)
    }

    /// A keyed hash; what `purpose` separates can never be compared.
    pub fn hash(&self, purpose: &str, text: &str) -> [u8; 32] {
        crate::keys::tag(&self.number, purpose, &[text.as_bytes()])
    }
}

impl WaitlistKeys {
    /// Reads them from the folder of data, and makes those that are missing and that this role may make.
    ///
    /// # Errors
    /// Where a file cannot be read, written or understood, and where a receiver has no public key.
    pub fn open(data: &Path, role: Role, rng: &mut dyn CryptoRng) -> anyhow::Result<Self> {
        let keys = data.join("keys");
        std::fs::create_dir_all(&keys).with_context(|| format!("{} cannot be made", keys.display()))?;
        if numbered(&keys, "receipt", "pem")?.is_empty() {
            kept(&keys.join("receipt-v1.pem"), new_ed25519)?;
        }
        let pems = numbered(&keys, "receipt", "pem")?;
        let signing = signing_index(&pems).context("no receipt key signs")?;
        let receipts = pems
            .iter()
            .map(|named| {
                let signer = ReceiptSigner::from_pkcs8(&named.version, &der(&named.pem)?).map(Arc::new);
                signer.with_context(|| format!("keys/receipt-{}.pem cannot be used", named.version))
            })
            .collect::<anyhow::Result<_>>()?;
        let opening = if role == Role::Receive { None } else { Some(open_private(data, &keys, rng)?) };
        let sealing = numbered(&keys, "waitlist", "public")?
            .iter()
            .map(|named| {
                let key = SealingKey::new(&named.version, &named.pem);
                key.with_context(|| format!("keys/waitlist-{}.public cannot be used", named.version))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        if sealing.is_empty() {
            bail!(
                "there is no keys/waitlist-v1.public: start `vigie-backend --role open` where forms may be read, and copy that file from its folder"
            );
        }
        Ok(Self { receipts, signing, sealing, opening })
    }

    /// The key that signs receipts now.
    pub fn signer(&self) -> &Arc<ReceiptSigner> {
        &self.receipts[self.signing]
    }

    /// All keys of receipts.
    pub fn signers(&self) -> &[Arc<ReceiptSigner>] {
        &self.receipts
    }

    /// The key to which forms are sealed now.
    pub fn sealing(&self) -> &SealingKey {
        &self.sealing[self.sealing.len() - 1]
    }

    /// Whether forms that are sealed so are taken.
    pub fn takes(&self, form: &SealedForm) -> bool {
        self.sealing.iter().any(|key| key.id() == form.key_id)
    }
}

fn open_private(data: &Path, keys: &Path, rng: &mut dyn CryptoRng) -> anyhow::Result<Opening> {
    let folder = data.join("open");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    if numbered(&folder, "waitlist", "key")?.is_empty() {
        kept(&folder.join("waitlist-v1.key"), || Ok(OpeningKey::generate("v1", rng).to_text()))?;
    }
    let private = numbered(&folder, "waitlist", "key")?
        .iter()
        .map(|named| {
            let key = OpeningKey::new(&named.version, &named.pem);
            key.with_context(|| format!("open/waitlist-{}.key cannot be used", named.version))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for key in &private {
        kept(&keys.join(format!("waitlist-{}.public", key.id())), || Ok(key.public_text().into()))?;
    }
    let number = kept(&folder.join("number.key"), || {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Ok(hex::encode(*secret).into())
    })?;
    let number = hex::decode(number.trim()).ok().filter(|bytes| bytes.len() == 32).map(Zeroizing::new);
    let number = number.context("open/number.key is no hash key: 64 hexadecimal digits")?;
    Ok(Opening { keys: private, number: hmac::Key::new(hmac::HMAC_SHA256, &number) })
}

/// A new private key, PKCS#8 in PEM.
fn new_ed25519() -> anyhow::Result<Zeroizing<String>> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let key = key.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let text = Zeroizing::new(BASE64_STANDARD.encode(key.as_ref()));
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *text).into())
}

/// The DER inside a PEM.
fn der(pem: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    Ok(Zeroizing::new(BASE64_STANDARD.decode(text).context("no PEM")?))
}

/// A key that signs receipts.
#[cfg(test)]
pub(crate) fn receipt_signer() -> Arc<ReceiptSigner> {
    Arc::new(ReceiptSigner::from_pkcs8("v1", &der(&new_ed25519().unwrap()).unwrap()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn open(data: &Path, role: Role) -> anyhow::Result<WaitlistKeys> {
        WaitlistKeys::open(data, role, &mut ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn a_receiver_can_seal_and_sign_and_never_has_what_opens() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path(), Role::Receive).err().unwrap();
        assert!(error.to_string().contains("--role open"), "{error}");
        let opener = open(folder.path(), Role::Open).unwrap();
        std::fs::rename(folder.path().join("open"), folder.path().join("elsewhere")).unwrap();
        let receiver = open(folder.path(), Role::Receive).unwrap();
        assert!(receiver.opening.is_none() && !folder.path().join("open").exists());

        let form = Form { national_number: "1234".into(), contact: "a@example.org".into(), consent: true, ..Form::default() };
        let operation = OperationId([1; 16]);
        let sealed = receiver.sealing().seal(&form, operation, &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        assert!(receiver.takes(&sealed));
        let opening = opener.opening.unwrap();
        assert_eq!(opening.key(&sealed.key_id).unwrap().open(&sealed, operation), Ok(form));
        assert_eq!(receiver.signer().public_text(), opener.receipts[0].public_text());
    }
}
