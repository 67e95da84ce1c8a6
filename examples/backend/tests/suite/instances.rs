//! Two instances on one PostgreSQL: nothing twice, nothing lost, wherever one of them stops.

use std::collections::HashMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use vigie::courier::wire::PublishedKey;
use vigie::time::Clock;
use vigie_backend::files::Files;
use vigie_backend::rules::{self, Context};
use vigie_backend::{open, random};

use crate::phone::{Backend, keys};
use crate::place::Place;

/// Where an instance is killed: after this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Step {
    Plan,
    File,
    Mark,
    Index,
}

/// Publishes as an instance does, and stops after a step, without any end.
async fn killed_after(step: Step, backend: &Backend) {
    let (config, now) = (backend.config.clone(), backend.clock.now());
    let mut opened = tokio::task::spawn_blocking(move || open(&config)).await.unwrap().unwrap();
    let policy = backend.config.policy.clone();
    let files = Files::in_folder(&backend.data.path().join("public")).unwrap();
    let (batch, mut opened) = tokio::task::spawn_blocking(move || {
        let mut rng = random().unwrap();
        let batch = opened.database.run(|transaction| {
            let mut context = Context { now, secrets: &opened.secrets, policy: &policy, rng: &mut rng };
            rules::plan(transaction, &mut context, true)
        });
        assert!(batch.unwrap() > 0);
        let batch = opened.database.run(|transaction| {
            let context = Context { now, secrets: &opened.secrets, policy: &policy, rng: &mut rng };
            rules::load_unwritten(transaction, &context)
        });
        (batch.unwrap().unwrap(), opened)
    })
    .await
    .unwrap();
    if step >= Step::File {
        files.put_new(&batch.name, batch.file(&opened.secrets.exports).unwrap()).await.unwrap();
    }
    let index = tokio::task::spawn_blocking(move || {
        if step >= Step::Mark {
            opened.database.run(|transaction| rules::mark_written(transaction, batch.number, now)).unwrap();
        }
        let index = opened.database.run(|transaction| rules::index(transaction, now)).unwrap();
        drop(opened);
        index
    });
    let index = index.await.unwrap();
    if step >= Step::Index {
        assert!(files.replace_index(files.index().await.unwrap(), index).await.unwrap());
    }
}

/// How often each key stands in a file.
async fn published(backend: &Backend) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for file in backend.files().await {
        for key in file.keys {
            *counts.entry(BASE64_STANDARD.encode(key.key.as_bytes())).or_default() += 1;
        }
    }
    counts
}

fn each_once(counts: &HashMap<String, usize>, keys: &[PublishedKey], what: &str) {
    assert!(keys.iter().all(|key| counts.get(&key.key) == Some(&1)), "{what}: lost or twice");
}

async fn continued_by_another(place: &Place) {
    for step in [Step::Plan, Step::File, Step::Mark, Step::Index] {
        let backend = Backend::start(place).await;
        let first = keys(1, 4, &backend.clock);
        backend.publish(&backend.report("confirmed", &first, &[7; 32], "").await).await;
        killed_after(step, &backend).await;
        let second = keys(2, 4, &backend.clock);
        backend.publish(&backend.report("confirmed", &second, &[8; 32], "").await).await;
        let before = published(&backend).await;
        if step == Step::Index {
            each_once(&before, &first[1..], "before");
        } else {
            assert!(before.is_empty(), "{step:?}: what is not finished is not listed");
        }
        backend.publish_now().await;
        let counts = published(&backend).await;
        each_once(&counts, &[&first[1..], &second[1..]].concat(), &format!("killed after {step:?}"));
        assert!(counts.values().all(|count| *count == 1), "{step:?}: made-up keys, too");
        assert_eq!(counts.len(), 1000, "{step:?}: two batches of 500");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_left_is_finished_by_another() {
    continued_by_another(&Place::sqlite()).await;
    if let Some(place) = Place::sqlite().with_postgresql() {
        continued_by_another(&place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_publish_at_once_and_nothing_twice() {
    let Some(place) = Place::sqlite().with_postgresql() else { return };
    let backend = Backend::with(&place, |config| (config.policy.maximum_keys, config.policy.minimum_keys) = (7, 5)).await;
    let other = backend.beside().await;
    let mut all = Vec::new();
    for round in 0..6 {
        for phone in 0..5 {
            let reported = keys(10 * round + phone, 4, &backend.clock);
            let request = backend.report("confirmed", &reported, &[7; 32], "").await;
            assert_eq!(backend.publish(&request).await.status, 200);
            all.extend_from_slice(&reported[1..]);
        }
        let (here, there) = tokio::join!(backend.publish_now(), other.publish_now());
        assert!(here + there.unwrap() >= 3);
    }
    each_once(&published(&backend).await, &all, "two at once");
    let names: Vec<String> = backend.files().await.into_iter().map(|file| file.name).collect();
    assert!(names.is_sorted() && names.len() >= 18);
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_other_secrets_does_not_start() {
    let Some(place) = Place::sqlite().with_postgresql() else { return };
    let backend = Backend::start(&place).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let mut config = backend.config.clone();
    config.data = elsewhere.path().to_owned();
    let refused = tokio::task::spawn_blocking(move || open(&config).map(drop)).await.unwrap();
    let text = format!("{:#}", refused.unwrap_err());
    assert!(text.contains("every instance needs the same folder `keys`"), "{text}");
}
