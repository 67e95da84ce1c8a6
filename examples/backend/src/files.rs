//! Where published files lie: a folder, or a bucket that speaks S3.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// The list of files.
pub const INDEX: &str = "index.txt";

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

/// Published files.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Folders keep no attributes.
    has_attributes: bool,
}

impl Files {
    /// Files in a folder, which is made. Each write is synchronised to the disk.
    ///
    /// # Errors
    /// [`Error`] where the folder cannot be used.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|e| Error::Generic { store: "folder", source: Box::new(e) })?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), has_attributes: false })
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
        Ok(Self { store: Arc::new(builder.build()?), has_attributes: true })
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

    /// Writes the list, whole or not at all, where it is not the same already. Whether it was written.
    ///
    /// # Errors
    /// [`Error`] where the store fails.
    pub async fn put_index(&self, text: &str) -> Result<bool, Error> {
        let name = Name::from(INDEX);
        if self.read_index(&name).await?.is_some_and(|found| found == text.as_bytes()) {
            return Ok(false);
        }
        let options = self.options(PutMode::Overwrite, "text/plain", CACHE_INDEX);
        self.store.put_opts(&name, PutPayload::from(text.to_owned()), options).await?;
        Ok(true)
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
        self.read_index(&Name::from(BULLETIN)).await
    }

    async fn read_index(&self, name: &Name) -> Result<Option<Bytes>, Error> {
        match self.store.get(name).await {
            Ok(found) if found.meta.size <= MAX_INDEX => found.bytes().await.map(Some),
            Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
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
        if self.has_attributes {
            attributes.insert(Attribute::ContentType, kind.into());
            attributes.insert(Attribute::CacheControl, cache.into());
        }
        PutOptions { mode, attributes, ..PutOptions::default() }
    }
}
