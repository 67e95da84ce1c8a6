//! Where published files lie: a folder, or a bucket that speaks S3.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{
    Attribute, Attributes, Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};

/// The list of files.
pub const INDEX: &str = "index.txt";

/// Where key files lie; their names begin with it.
const KEYS: &str = "keys";

/// Held by the instance that replaces the list in a folder.
const LOCK: &str = "index.lock";

/// How often it is tried, and how long is waited in between: five seconds, for what takes milliseconds.
const LOCK_TRIES: usize = 250;
const LOCK_WAIT: Duration = Duration::from_millis(20);
/// The bulletin.
pub const BULLETIN: &str = "bulletin.txt";

/// The longest index that is read back, in bytes: 40,000 files.
const MAX_INDEX: u64 = 1 << 20;

/// How long a cache may keep a file, and the list of them.
pub(crate) const CACHE_FILE: &str = "public, max-age=1209600, immutable";
/// A list that is older than this delays a warning.
pub(crate) const CACHE_INDEX: &str = "public, max-age=300";

/// A bucket.
#[derive(Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The server, where it is not Amazon's: `https://host` or, in a trusted network, `http://host:port`.
    pub endpoint: Option<String>,
    /// What the environment does not say.
    pub settings: Vec<(AmazonS3ConfigKey, String)>,
}

/// Settings may hold a secret.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The list of files as it was found.
#[derive(Debug)]
pub struct FoundIndex {
    text: Option<Bytes>,
    version: Option<UpdateVersion>,
}

impl FoundIndex {
    /// Whether it says just this.
    pub fn says(&self, text: &str) -> bool {
        self.text.as_deref() == Some(text.as_bytes())
    }
}

/// Published files.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Where they lie in a folder: it keeps no attributes, and writes nothing on a condition.
    folder: Option<PathBuf>,
}

impl Files {
    /// Files in a folder, which is made. Each write is synchronised to the disk.
    ///
    /// # Errors
    /// [`Error`] where the folder cannot be used.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|e| Error::Generic { store: "folder", source: Box::new(e) })?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), folder: Some(folder.to_owned()) })
    }

    /// Files in a bucket. Keys and region come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`).
    ///
    /// # Errors
    /// [`Error`] where the bucket is not described well.
    pub fn in_bucket(bucket: &Bucket) -> Result<Self, Error> {
        // Where another part of the program chose one, that one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&bucket.name);
        if let Some(endpoint) = &bucket.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        for (key, value) in &bucket.settings {
            builder = builder.with_config(*key, value);
        }
        Ok(Self { store: Arc::new(builder.build()?), folder: None })
    }

    /// Writes a file, whole or not at all, where there is none. What is there stays: another instance was faster.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn put_new(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let options = self.options(PutMode::Create, "application/zip", CACHE_FILE);
        match self.store.put_opts(&Name::from(name), PutPayload::from(content), options).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The names of the key files that are there.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn names(&self) -> Result<HashSet<String>, Error> {
        let found = self.store.list_with_delimiter(Some(&Name::from(KEYS))).await?;
        Ok(found.objects.into_iter().map(|file| file.location.into()).collect())
    }

    /// The list as it is now, for [`Self::replace_index`].
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn index(&self) -> Result<FoundIndex, Error> {
        match self.store.get(&Name::from(INDEX)).await {
            Ok(found) => {
                let version = Some(version(&found.meta));
                let text = if found.meta.size <= MAX_INDEX { Some(found.bytes().await?) } else { None };
                Ok(FoundIndex { text, version })
            }
            Err(Error::NotFound { .. }) => Ok(FoundIndex { text: None, version: None }),
            Err(e) => Err(e),
        }
    }

    /// Writes the bulletin, whole or not at all.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn put_bulletin(&self, file: Vec<u8>) -> Result<(), Error> {
        let options = self.options(PutMode::Overwrite, "text/plain", CACHE_INDEX);
        self.store.put_opts(&Name::from(BULLETIN), PutPayload::from(file), options).await.map(drop)
    }

    /// The bulletin that is published.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn bulletin(&self) -> Result<Option<Bytes>, Error> {
        match self.store.get(&Name::from(BULLETIN)).await {
            Ok(found) if found.meta.size <= MAX_INDEX => found.bytes().await.map(Some),
            Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes the list, whole or not at all, where nobody has written it since it was found. Whether it was written.
    ///
    /// # Errors
    /// [`Error`] where the store fails, or another instance holds the folder's lock for seconds.
    pub async fn replace_index(&self, found: FoundIndex, text: String) -> Result<bool, Error> {
        let Some(folder) = self.folder.clone() else {
            let mode = found.version.map_or(PutMode::Create, PutMode::Update);
            return match self.put_index(mode, text).await {
                Ok(()) => Ok(true),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(e) => Err(e),
            };
        };
        let files = self.clone();
        // A task of its own holds the lock until it has written, also where nobody waits for it any more.
        let replaced = tokio::spawn(async move {
            let _held = locked(&folder).await?;
            let version = match files.store.head(&Name::from(INDEX)).await {
                Ok(now) => Some(version(&now)),
                Err(Error::NotFound { .. }) => None,
                Err(e) => return Err(e),
            };
            if version != found.version {
                return Ok(false);
            }
            files.put_index(PutMode::Overwrite, text).await.map(|()| true)
        });
        replaced.await?
    }

    async fn put_index(&self, mode: PutMode, text: String) -> Result<(), Error> {
        let options = self.options(mode, "text/plain", CACHE_INDEX);
        self.store.put_opts(&Name::from(INDEX), PutPayload::from(text), options).await.map(drop)
    }

    /// Removes a file, or finds that it is removed.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        match self.store.delete(&Name::from(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn options(&self, mode: PutMode, kind: &'static str, cache: &'static str) -> PutOptions {
        let mut attributes = Attributes::new();
        if self.folder.is_none() {
            attributes.insert(Attribute::ContentType, kind.into());
            attributes.insert(Attribute::CacheControl, cache.into());
        }
        PutOptions { mode, attributes, ..PutOptions::default() }
    }
}

fn version(meta: &ObjectMeta) -> UpdateVersion {
    UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() }
}

/// The lock on the list in a folder, given back when dropped and when its process ends.
async fn locked(folder: &Path) -> Result<File, Error> {
    let failed = |e: std::io::Error| Error::Generic { store: "folder", source: Box::new(e) };
    let file = File::options().write(true).create(true).truncate(false).open(folder.join(LOCK)).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_WAIT).await,
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
    Err(failed(std::io::Error::new(std::io::ErrorKind::TimedOut, "another instance holds the lock on index.lock")))
}
