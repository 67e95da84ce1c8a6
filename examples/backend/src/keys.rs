//! The secrets of the server: made at the first start, each in a file that its owner alone can read (0600), in the folder `keys`.
//!
//! ```text
//! hash.key             32 bytes as hexadecimal: everything that is hashed, derived or sealed
//! certificate-v1.pem   ES256, signs certificates
//! export-v1.pem        ECDSA P-256, signs key files
//! bulletin-v1.pem      Ed25519, signs bulletins
//! api-key              what apps send as X-API-Key
//! admin-token          what the health authority's own systems send
//! ```
//!
//! Roll-over: `certificate-v2.next.pem` is accepted and announced, and signs nothing yet; renamed to `certificate-v2.pem` it signs, being the newest; the
//! old one goes when nothing that it signed is still valid. `export-v2.next.pem` and `bulletin-v2.next.pem` likewise.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rand_core::CryptoRng;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use vigie::courier::bulletin::BulletinSigner;
use vigie::diagnosis::SigningKey;
use zeroize::Zeroizing;

use crate::jwt::CertificateKeys;

/// All of them.
pub struct Secrets {
    hash: hmac::Key,
    seal: LessSafeKey,
    /// What signs and verifies certificates.
    pub certificates: CertificateKeys,
    /// What signs key files.
    pub exports: ExportKeys,
    /// What signs bulletins.
    pub bulletins: BulletinKeys,
    /// What apps send as `X-API-Key`.
    pub api_key: String,
    /// What the health authority's own systems send.
    pub admin_token: String,
}

impl Secrets {
    /// Reads them from a folder, and makes those that are missing.
    ///
    /// # Errors
    /// Where a file cannot be read, written or understood.
    pub fn open(folder: &Path, rng: &mut dyn CryptoRng) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut random = |bytes: usize| {
            let mut secret = Zeroizing::new(vec![0; bytes]);
            rng.fill_bytes(&mut secret);
            secret
        };
        let hash = kept(&folder.join("hash.key"), || Ok(hex::encode(&*random(32)).into()))?;
        let hash = hex::decode(hash.trim()).ok().filter(|bytes| bytes.len() == 32).map(Zeroizing::new);
        let Some(hash) = hash else { bail!("{} is no hash key: 64 hexadecimal digits", folder.join("hash.key").display()) };
        let word = |bytes: &[u8]| Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into());
        let api_key = kept(&folder.join("api-key"), || word(&random(24)))?.trim().to_owned();
        let admin_token = kept(&folder.join("admin-token"), || word(&random(24)))?.trim().to_owned();
        for kind in ["certificate", "export"] {
            if numbered(folder, kind, "pem")?.is_empty() {
                kept(&folder.join(format!("{kind}-v1.pem")), || Ok(SigningKey::generate()?.to_pkcs8_pem()?))?;
            }
        }
        if numbered(folder, "bulletin", "pem")?.is_empty() {
            kept(&folder.join("bulletin-v1.pem"), || Ok(BulletinSigner::generate()?.to_pkcs8_pem()?))?;
        }
        let bulletins = BulletinKeys::new(numbered(folder, "bulletin", "pem")?)?;
        let certificates = CertificateKeys::new(numbered(folder, "certificate", "pem")?)?;
        let exports = ExportKeys::new(numbered(folder, "export", "pem")?)?;
        Self::from_parts(&hash, certificates, exports, bulletins, api_key, admin_token)
    }

    /// Secrets that are nowhere on a disk, for simulations and tests. The signing keys come from the operating system.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn ephemeral(rng: &mut dyn CryptoRng) -> anyhow::Result<Self> {
        let mut hash = [0; 32];
        rng.fill_bytes(&mut hash);
        let key =
            || anyhow::Ok(vec![NamedPem { version: "v1".into(), is_next: false, pem: SigningKey::generate()?.to_pkcs8_pem()? }]);
        let bulletin = NamedPem { version: "v1".into(), is_next: false, pem: BulletinSigner::generate()?.to_pkcs8_pem()? };
        let bulletins = BulletinKeys::new(vec![bulletin])?;
        let (certificates, exports) = (CertificateKeys::new(key()?)?, ExportKeys::new(key()?)?);
        Self::from_parts(&hash, certificates, exports, bulletins, "api-key".into(), "admin-token".into())
    }

    fn from_parts(
        hash: &[u8],
        certificates: CertificateKeys,
        exports: ExportKeys,
        bulletins: BulletinKeys,
        api_key: String,
        admin_token: String,
    ) -> anyhow::Result<Self> {
        let hash = hmac::Key::new(hmac::HMAC_SHA256, hash);
        let seal = Zeroizing::new(tag(&hash, "seal", &[]));
        let seal =
            UnboundKey::new(&CHACHA20_POLY1305, &*seal).map_err(|_| anyhow::anyhow!("the sealing key has a wrong length"))?;
        Ok(Self { hash, seal: LessSafeKey::new(seal), certificates, exports, bulletins, api_key, admin_token })
    }

    /// HMAC-SHA256 under the hash key. What `purpose` separates can never be compared.
    pub fn tag(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        tag(&self.hash, purpose, parts)
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub fn is_same(&self, presented: &[u8], expected: &[u8]) -> bool {
        let expected = hmac::sign(&self.hash, expected);
        hmac::verify(&self.hash, presented, expected.as_ref()).is_ok()
    }

    /// Encrypts and authenticates. The nonce follows from the content, so that the same content always gives the same bytes.
    ///
    /// # Errors
    /// [`ring::error::Unspecified`] for content of gigabytes.
    pub fn seal(&self, content: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.tag("nonce", &[content])[..NONCE_LEN]);
        let mut sealed = content.to_vec();
        self.seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)?;
        Ok([&nonce, &*sealed].concat())
    }

    /// What was sealed here; nothing for anything else.
    pub fn unseal(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut content = sealed.to_vec();
        let length = self.seal.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut content).ok()?.len();
        content.truncate(length);
        Some(content)
    }
}

pub(crate) fn tag(key: &hmac::Key, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        // The length before the bytes: no two lists of parts are the same text.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// A signing key as it lies in the folder.
pub struct NamedPem {
    /// Such as `v1`.
    pub version: String,
    /// Accepted and announced, but signing nothing yet.
    pub is_next: bool,
    /// PKCS#8.
    pub pem: Zeroizing<String>,
}

/// The keys of key files: the newest signs, all are announced.
pub struct ExportKeys {
    keys: Vec<(String, SigningKey)>,
    signing: usize,
}

impl ExportKeys {
    fn new(pems: Vec<NamedPem>) -> anyhow::Result<Self> {
        let signing = signing_index(&pems).context("no export key signs")?;
        let keys = pems
            .iter()
            .map(|named| {
                let key =
                    SigningKey::from_pkcs8_pem(&named.pem).with_context(|| format!("export-{} cannot be used", named.version))?;
                Ok((named.version.clone(), key))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { keys, signing })
    }

    /// The one that signs, with its version.
    pub fn signing(&self) -> (&str, &SigningKey) {
        let (version, key) = &self.keys[self.signing];
        (version, key)
    }

    /// All, with their versions.
    pub fn all(&self) -> impl Iterator<Item = (&str, &SigningKey)> {
        self.keys.iter().map(|(version, key)| (version.as_str(), key))
    }
}

/// The keys of bulletins: the newest signs. Apps have it built in, and one more: its successor, or the one before.
pub struct BulletinKeys {
    keys: Vec<(String, BulletinSigner)>,
    signing: usize,
}

impl BulletinKeys {
    fn new(pems: Vec<NamedPem>) -> anyhow::Result<Self> {
        let signing = signing_index(&pems).context("no bulletin key signs")?;
        let keys = pems
            .iter()
            .map(|named| {
                let key = BulletinSigner::from_pkcs8_pem(&named.pem);
                Ok((named.version.clone(), key.with_context(|| format!("bulletin-{} cannot be used", named.version))?))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { keys, signing })
    }

    /// The one that signs, with its version.
    pub fn signing(&self) -> (&str, &BulletinSigner) {
        let (version, key) = &self.keys[self.signing];
        (version, key)
    }

    /// Those that apps get: the one that signs, and the one after or else before it.
    pub fn announced(&self) -> impl Iterator<Item = (&str, &BulletinSigner)> {
        let other = self.keys.get(self.signing + 1).or_else(|| self.signing.checked_sub(1).map(|before| &self.keys[before]));
        std::iter::once(&self.keys[self.signing]).chain(other).map(|(version, key)| (version.as_str(), key))
    }
}

/// The last of those that are not only announced.
pub(crate) fn signing_index(pems: &[NamedPem]) -> Option<usize> {
    pems.iter().rposition(|named| !named.is_next)
}

/// The keys of a kind, oldest version first.
pub(crate) fn numbered(folder: &Path, kind: &str, extension: &str) -> anyhow::Result<Vec<NamedPem>> {
    let cannot = || format!("{} cannot be read", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&format!("{kind}-v")).and_then(|rest| rest.strip_suffix(&format!(".{extension}")))
        else {
            continue;
        };
        let (number, is_next) = rest.strip_suffix(".next").map_or((rest, false), |number| (number, true));
        let Ok(number) = number.parse::<u32>() else { continue };
        let pem = Zeroizing::new(fs::read_to_string(folder.join(&name)).with_context(|| format!("{name} cannot be read"))?);
        found.push((number, NamedPem { version: format!("v{number}"), is_next, pem }));
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, pem)| pem).collect())
}

/// The text of a file; where there is none, it is made, whole or not at all. Two processes that start together keep the same one.
pub(crate) fn kept(path: &Path, make: impl FnOnce() -> anyhow::Result<Zeroizing<String>>) -> anyhow::Result<Zeroizing<String>> {
    let cannot = || format!("{} cannot be used", path.display());
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        read => return read.map(Zeroizing::new).with_context(cannot),
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".vigie-").tempfile_in(folder).with_context(cannot)?;
    file.write_all(make()?.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(cannot)?;
    match file.persist_noclobber(path) {
        Ok(_) => fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?,
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e.error).with_context(cannot),
    }
    fs::read_to_string(path).map(Zeroizing::new).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use vigie::time::Timestamp;

    use super::*;
    use crate::jwt::Claims;

    const NOW_S: i64 = 1_603_389_600;

    fn opened(folder: &Path) -> Secrets {
        Secrets::open(folder, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    fn certificate(secrets: &Secrets) -> String {
        let claims = Claims {
            iss: "i".into(),
            aud: "a".into(),
            iat: NOW_S,
            exp: NOW_S + 900,
            nbf: None,
            tekmac: String::new(),
            report_type: "confirmed".into(),
            symptom_onset_interval: 0,
        };
        secrets.certificates.sign(&claims).unwrap()
    }

    fn accepts(secrets: &Secrets, certificate: &str) -> bool {
        secrets.certificates.verify(certificate, "i", "a", Timestamp::from_unix_s(NOW_S)).is_some()
    }

    #[test]
    fn the_next_key_is_accepted_before_it_signs_and_the_old_one_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = opened(folder.path());
        let of_first = certificate(&first);
        for kind in ["certificate", "export"] {
            let pem = SigningKey::generate().unwrap().to_pkcs8_pem().unwrap();
            fs::write(folder.path().join(format!("{kind}-v2.next.pem")), &*pem).unwrap();
        }
        let announced = opened(folder.path());
        assert_eq!(announced.exports.signing().0, "v1");
        assert_eq!(announced.exports.all().count(), 2);
        for kind in ["certificate", "export"] {
            let name = |end: &str| folder.path().join(format!("{kind}-v2{end}"));
            fs::rename(name(".next.pem"), name(".pem")).unwrap();
        }
        let second = opened(folder.path());
        assert_eq!(second.exports.signing().0, "v2");
        let of_second = certificate(&second);
        assert!(accepts(&announced, &of_second), "an instance that was not started again yet");
        assert!(accepts(&second, &of_first), "a certificate on its way");
        assert!(!accepts(&first, &of_second));
    }

    #[test]
    fn apps_get_the_bulletin_key_that_signs_with_its_successor_or_else_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let announced = || -> Vec<String> {
            let secrets = opened(folder.path());
            assert_eq!(secrets.bulletins.signing().0, secrets.bulletins.announced().next().unwrap().0);
            secrets.bulletins.announced().map(|(version, _)| version.to_owned()).collect()
        };
        assert_eq!(announced(), ["v1"]);
        let put = |name: &str| {
            fs::write(folder.path().join(name), &*BulletinSigner::generate().unwrap().to_pkcs8_pem().unwrap()).unwrap();
        };
        put("bulletin-v2.next.pem");
        assert_eq!(announced(), ["v1", "v2"]);
        fs::rename(folder.path().join("bulletin-v2.next.pem"), folder.path().join("bulletin-v2.pem")).unwrap();
        assert_eq!(announced(), ["v2", "v1"]);
        put("bulletin-v3.next.pem");
        assert_eq!(announced(), ["v2", "v3"]);
        fs::write(folder.path().join("bulletin-v4.pem"), "no key").unwrap();
        assert!(Secrets::open(folder.path(), &mut ChaCha20Rng::seed_from_u64(1)).is_err());
    }

    #[test]
    fn secrets_stay_and_damaged_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = opened(folder.path());
        let again = Secrets::open(folder.path(), &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        assert_eq!(first.tag("x", &[b"y"]), again.tag("x", &[b"y"]));
        assert_eq!((first.api_key, first.admin_token), (again.api_key, again.admin_token));
        fs::write(folder.path().join("hash.key"), "short").unwrap();
        assert!(Secrets::open(folder.path(), &mut ChaCha20Rng::seed_from_u64(2)).is_err());
    }

    #[test]
    fn a_certificate_is_for_one_issuer_audience_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = opened(folder.path());
        let certificate = certificate(&secrets);
        let is_good = |issuer, audience, now_s| {
            secrets.certificates.verify(&certificate, issuer, audience, Timestamp::from_unix_s(now_s)).is_some()
        };
        assert!(is_good("i", "a", NOW_S + 899) && is_good("i", "a", NOW_S - 60));
        assert!(!is_good("i", "a", NOW_S + 900) && !is_good("i", "a", NOW_S - 61));
        assert!(!is_good("x", "a", NOW_S) && !is_good("i", "x", NOW_S));
    }

    #[test]
    fn parts_of_a_tag_cannot_be_moved_from_one_to_the_next() {
        let secrets = Secrets::ephemeral(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let tags = [
            secrets.tag("a", &[b"bc", b"d"]),
            secrets.tag("a", &[b"b", b"cd"]),
            secrets.tag("ab", &[b"c", b"d"]),
            secrets.tag("a", &[b"bcd"]),
        ];
        assert!((0..4).all(|at| tags[at + 1..].iter().all(|other| *other != tags[at])));
    }
}
