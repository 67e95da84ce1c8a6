//! Published files and their list, where instances are slow and files vanish.

use std::path::Path;
use std::time::Duration;

use vigie_backend::config::Config;
use vigie_backend::files::Files;

use crate::phone::{Backend, DAY, File, has, keys};
use crate::place::Place;

/// The files as another instance sees them.
fn files_of(config: &Config) -> Files {
    match &config.bucket {
        Some(bucket) => Files::in_bucket(bucket).unwrap(),
        None => Files::in_folder(&config.data.join("public")).unwrap(),
    }
}

async fn reported(backend: &Backend, phone: u64) {
    let request = backend.report("likely", &keys(phone, 4, &backend.clock), &[7; 32], "").await;
    assert_eq!(backend.publish(&request).await.status, 200);
}

pub(crate) async fn an_instance_that_was_slow_replaces_no_newer_index(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let files = files_of(&place.config(folder.path()).await);
    let (slow, fast) = (files.index().await.unwrap(), files.index().await.unwrap());
    assert!(files.replace_index(fast, "keys/1.zip\n".into()).await.unwrap(), "there was none");
    assert!(!files.replace_index(slow, String::new()).await.unwrap(), "and now there is one");
    assert!(files.index().await.unwrap().says("keys/1.zip\n"));

    let backend = Backend::start(place).await;
    let files = files_of(&backend.config);
    reported(&backend, 1).await;
    backend.publish_now().await;
    let (slow, older) = (files.index().await.unwrap(), format!("{}\n", backend.files().await[0].name));
    assert!(slow.says(&older));
    reported(&backend, 2).await;
    backend.publish_now().await;
    assert!(!files.replace_index(slow, older.clone()).await.unwrap());
    let newer: String = backend.files().await.iter().map(|file| format!("{}\n", file.name)).collect();
    assert!(newer.starts_with(&older) && newer != older);
    assert!(files.replace_index(files.index().await.unwrap(), older).await.unwrap(), "who has seen the newer one may replace it");
}

pub(crate) async fn a_file_that_vanished_is_written_again(place: &Place) {
    let backend = Backend::start(place).await;
    let first = keys(1, 4, &backend.clock);
    let answer = backend.publish(&backend.report("likely", &first, &[7; 32], "").await).await;
    backend.publish_now().await;
    let revised = backend.report("confirmed", &first[1..], &[8; 32], answer.text("revisionToken")).await;
    assert_eq!(backend.publish(&revised).await.status, 200);
    backend.publish_now().await;
    let content = |files: Vec<File>| -> Vec<_> { files.into_iter().map(|file| (file.name, file.keys, file.revised)).collect() };
    let before = content(backend.files().await);
    assert_eq!((before.len(), before[1].2.len()), (2, 3));
    for (name, ..) in &before {
        files_of(&backend.config).remove(name).await.unwrap();
    }
    assert_eq!(backend.publish_now().await, 2);
    assert_eq!(content(backend.files().await), before, "the keys that were in it, and no others");
    assert_eq!(backend.publish_now().await, 0, "nothing is missing any more");
}

pub(crate) async fn a_file_whose_keys_are_erased_is_not_written_again(place: &Place) {
    let backend = Backend::start(place).await;
    let reported = keys(1, 1, &backend.clock);
    backend.publish(&backend.report("confirmed", &reported, &[7; 32], "").await).await;
    // Free at 02:00 of the next day, so that it is listed two hours longer than it is kept.
    backend.clock.advance(Duration::from_secs(8 * 3600));
    backend.publish_now().await;
    let file = backend.files().await.remove(0);
    assert!(has(&file.keys, &reported[0]));
    backend.clock.advance(14 * DAY - Duration::from_secs(3600));
    backend.publish_now().await;
    let files = files_of(&backend.config);
    assert!(files.names().await.unwrap().contains(&file.name));
    files.remove(&file.name).await.unwrap();
    backend.publish_now().await;
    assert!(!files.names().await.unwrap().contains(&file.name), "it would be another file under the same name");
    backend.clock.advance(2 * DAY);
    backend.publish_now().await;
    assert!(!backend.files().await.is_empty(), "and hinders no others");
}

/// Opens the lock file as another process does.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_in_a_folder_waits_for_the_instance_that_replaces_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::in_folder(folder.path()).unwrap();
    let found = files.index().await.unwrap();
    let held = std::fs::File::create(Path::new(folder.path()).join("index.lock")).unwrap();
    held.lock().unwrap();
    let waits = tokio::spawn({
        let files = files.clone();
        async move { files.replace_index(found, "keys/1.zip\n".into()).await }
    });
    let is_written = async || files.index().await.unwrap().says("keys/1.zip\n");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waits.is_finished() && !is_written().await);
    drop(held);
    assert!(waits.await.unwrap().unwrap() && is_written().await);
}
