//! Files that are read whole, bounded, and files that are written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use vigie::diagnosis::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::failure::Advise;

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone (0600): it holds keys.
    Owner,
    /// Whoever the user's mask lets (0666 without it).
    Everybody,
}

/// Opens a file to read it. A folder is refused at once.
pub(crate) fn open(path: &Path) -> anyhow::Result<File> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(cannot).advise("look at the name and at who may read it")?;
    if file.metadata().with_context(cannot)?.is_dir() {
        return Err(io::Error::from(ErrorKind::IsADirectory)).with_context(cannot);
    }
    Ok(file)
}

/// Reads a file of at most `limit` bytes. The bytes are wiped when dropped: they may be keys.
pub(crate) fn read(path: &Path, limit: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = open(path)?;
    let expected = file.metadata().with_context(cannot)?.len().min(limit);
    // Room for all, so that growing leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected as usize + 1));
    file.take(limit + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > limit {
        bail!("{} has more than {limit} bytes, which is too long for such a file", path.display());
    }
    Ok(bytes)
}

/// Writes a file under another name first, so that nobody ever finds a part of it. Overwrites only where `force` says so.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access, force: bool) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("{} cannot be written", path.display());
    if !folder.is_dir() {
        return Err(anyhow!("there is no folder {}", folder.display())).with_context(cannot).advise("make the folder first");
    }
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    if access == Access::Everybody {
        builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    }
    let mut file = builder.prefix(".vigie-").tempfile_in(folder).with_context(cannot)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(cannot)?;
    if force {
        file.persist(path).map_err(|e| e.error).with_context(cannot)?;
        return Ok(());
    }
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
            Err(e.error).with_context(cannot).advise("choose another name, or --force to overwrite it")
        }
        Err(e) => Err(e.error).with_context(cannot),
    }
}

/// Bytes of a PEM file of one key; P-256 needs less than 400.
const MAX_PEM: u64 = 4096;

/// A public key as it is given on the command line: the name of a PEM file, or the key itself.
pub(crate) fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    let path = Path::new(text);
    if !path.exists() {
        return text
            .parse()
            .context("this is neither a file nor a public key")
            .advise("give a PEM file (-----BEGIN PUBLIC KEY-----), or the base64 inside it");
    }
    let pem = read(path, MAX_PEM)?;
    String::from_utf8_lossy(&pem)
        .parse()
        .with_context(|| format!("{} is no public key", path.display()))
        .advise("openssl pkey -in PRIVATE.pem -pubout writes the public half of a private key")
}

/// A private key from a PEM file.
pub(crate) fn signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = read(path, MAX_PEM)?;
    let cannot = || format!("{} cannot be used to sign", path.display());
    let pem = std::str::from_utf8(&pem).with_context(cannot)?;
    SigningKey::from_pkcs8_pem(pem)
        .with_context(cannot)
        .advise("openssl pkcs8 -topk8 -nocrypt -in KEY.pem writes a P-256 key in the form that is read (PKCS#8)")
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_with_keys_is_for_its_owner_alone_and_is_overwritten_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        write(&path, b"1", Access::Owner, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&path, b"2", Access::Owner, false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"1");
        write(&path, b"2", Access::Everybody, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_ne!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_too_long_missing_or_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(**read(&path, 10).unwrap(), [7; 10]);
        assert!(read(&path, 9).unwrap_err().to_string().contains("more than 9 bytes"));
        assert!(read(&folder.path().join("none"), 9).is_err());
        assert!(read(folder.path(), 9).is_err());
        assert!(read(Path::new("/dev/zero"), 9).is_err());
    }
}
