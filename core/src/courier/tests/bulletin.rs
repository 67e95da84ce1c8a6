//! The bulletin as a phone fetches it: what is accepted stays until a newer one comes, whatever else comes in between.

use serde_json::json;

use super::*;
use crate::courier::bulletin::{BulletinSigner, KeptBulletin};
use crate::courier::pacer::POLL_PERIOD;

const URL: &str = "https://files.example/bulletin.txt";

/// A phone, and an authority with two keys.
struct Scene {
    phone: Phone,
    signers: [BulletinSigner; 2],
    /// When the bulletin was asked for, and with which ETag.
    asked: Vec<(Timestamp, Option<String>)>,
}

impl Scene {
    fn new() -> Self {
        let signers = [0, 1].map(|_| BulletinSigner::generate().unwrap());
        let mut phone = Phone::new(1);
        let key = |at: usize| json!({"key_id": format!("v{}", at + 1), "public_key": base64(&signers[at].public_key())});
        let servers = json!({
            "verification_url": "https://verify.example", "api_key": "key", "publish_url": "https://keys.example/v1/publish",
            "health_authority_id": "lu", "public_keys": [],
            "key_lists": [{"index_url": "https://files.example/index.txt", "base_url": "https://files.example/"}],
            "bulletin": {"url": URL, "region": "LU", "keys": [key(0), key(1)]},
        });
        phone.servers = Servers::from_json(servers.to_string().as_bytes()).unwrap();
        Self { phone, signers, asked: Vec::new() }
    }

    fn document(serial: u64) -> serde_json::Value {
        json!({"serial": serial, "region": "LU", "issued_at": START.to_string()})
    }

    fn file(&self, serial: u64) -> Vec<u8> {
        self.signers[0].sign("v1", Self::document(serial).to_string().as_bytes()).unwrap()
    }

    /// Lets time pass while the bulletin's server answers so; the others are out of reach.
    fn run(&mut self, limit: Duration, answer: impl Fn(&Request) -> Result<Response, TransportError>) -> Vec<News> {
        let end = self.phone.now.after(limit);
        while self.phone.now < end {
            match self.phone.courier().next(&mut self.phone.context()).unwrap() {
                Next::Wait(wait) => self.phone.now = self.phone.now.after(wait.max(Duration::from_secs(1))).min(end),
                Next::Send(errand) => {
                    let is_bulletin = errand.request.url == URL;
                    if is_bulletin {
                        assert_eq!(errand.request.destination, Destination::Memory { limit: 65_536 });
                        let etag = errand.request.headers.iter().find(|(name, _)| *name == "if-none-match");
                        self.asked.push((self.phone.now, etag.map(|(_, etag)| etag.clone())));
                    }
                    let result = if is_bulletin { answer(&errand.request) } else { Err(TransportError::Offline) };
                    let news = self.phone.courier().answered(&mut self.phone.context(), *errand, result).unwrap();
                    self.phone.news.extend(news);
                }
                Next::Match(_) => unreachable!(),
            }
        }
        std::mem::take(&mut self.phone.news)
    }

    /// One poll, or more.
    fn polled(&mut self, status: u16, body: Vec<u8>) -> Vec<News> {
        self.run(5 * HOUR, |_| Ok(answer(status, body.clone())))
    }

    fn kept(&self) -> Option<KeptBulletin> {
        self.phone.courier().bulletin(&self.phone.store).unwrap().cloned()
    }

    fn serial(&self) -> Option<u64> {
        self.kept().map(|kept| kept.bulletin.serial)
    }

    /// Wants this answer to be refused, told once, and the one that is kept to stay.
    fn refuses(&mut self, body: Vec<u8>, expected: &str) {
        let before = self.serial();
        let news = self.polled(200, body.clone());
        let [News::BulletinRefused { reason }] = &news[..] else { unreachable!("{news:?}") };
        assert!(reason.to_string().contains(expected), "{expected} is not in {reason}");
        assert_eq!(self.polled(200, body), [], "told once");
        assert_eq!(self.serial(), before);
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.encode(bytes)
}

fn answer(status: u16, body: Vec<u8>) -> Response {
    Response { status, headers: vec![("etag".into(), "\"7\"".into())], body }
}

#[test]
fn it_is_fetched_in_the_devices_own_moment_with_its_etag_and_kept_with_its_exact_bytes() {
    let mut scene = Scene::new();
    let file = scene.file(7);
    assert_eq!(scene.polled(200, file.clone()), [News::Bulletin { serial: 7 }]);
    let asked = scene.asked.clone();
    assert!(asked[0].0 > START && asked[0].0.since(START) <= 4 * HOUR);
    assert_eq!(asked[0].1, None);
    assert_eq!(scene.run(24 * HOUR, |_| Ok(answer(304, Vec::new()))), []);
    let period = |pair: &[(Timestamp, Option<String>)]| pair[1].0.since(pair[0].0);
    assert!(scene.asked.windows(2).all(|pair| period(pair) == 4 * HOUR), "{:?}", scene.asked);
    assert!(scene.asked[2..].iter().all(|(_, etag)| etag.as_deref() == Some("\"7\"")));
    let kept = scene.kept().unwrap();
    assert_eq!((kept.bulletin.serial, kept.seen_at), (7, scene.asked.last().unwrap().0), "its age is known");
    assert_eq!(scene.phone.store.note(&format!("bulletin file {URL}")).unwrap().unwrap(), file);
}

#[test]
fn a_newer_one_takes_its_place_and_may_be_signed_with_the_successor() {
    let mut scene = Scene::new();
    scene.polled(200, scene.file(7));
    let next = scene.signers[1].sign("v2", Scene::document(9).to_string().as_bytes()).unwrap();
    assert_eq!(scene.polled(200, next), [News::Bulletin { serial: 9 }]);
    assert_eq!(scene.serial(), Some(9));
    let same = scene.signers[0].sign("v1", Scene::document(9).to_string().as_bytes()).unwrap();
    assert_eq!(scene.polled(200, same), [], "the same document under the other signature is the same");
}

#[test]
fn what_is_older_forged_for_others_or_implausible_is_refused_and_the_kept_one_stays() {
    let mut scene = Scene::new();
    scene.polled(200, scene.file(7));
    scene.refuses(scene.file(6), "its serial number is 6, and 7 was seen before");
    let mut other = Scene::document(7);
    other["advice"] = json!({"fr": []});
    let other = scene.signers[0].sign("v1", other.to_string().as_bytes()).unwrap();
    scene.refuses(other, "that of another bulletin");
    scene.refuses(Scene::document(8).to_string().into_bytes(), "not signed");
    let stranger = BulletinSigner::generate().unwrap();
    scene.refuses(stranger.sign("v1", Scene::document(8).to_string().as_bytes()).unwrap(), "signature is wrong");
    scene.refuses(stranger.sign("v9", Scene::document(8).to_string().as_bytes()).unwrap(), "key that is not known");
    let mut elsewhere = Scene::document(8);
    elsewhere["region"] = json!("BE");
    scene.refuses(scene.signers[0].sign("v1", elsewhere.to_string().as_bytes()).unwrap(), "for the region BE");
    let mut tomorrow = Scene::document(8);
    let day = scene.phone.now.after(34 * HOUR).date().to_string();
    tomorrow["figures"] = json!([{"name": "cases", "title": {"fr": "Cas"}, "values": [{"date": day, "value": 1}]}]);
    scene.refuses(scene.signers[0].sign("v1", tomorrow.to_string().as_bytes()).unwrap(), "`figures` is of");
    scene.refuses(vec![b'x'; 70_000], "longer than 65536 bytes");
    let news = scene.run(5 * HOUR, |_| Err(TransportError::TooLarge { limit: 65_536 }));
    assert_eq!(news, [], "a body without end is the same refusal");
    assert_eq!(scene.polled(200, scene.file(8)), [News::Bulletin { serial: 8 }], "and a good one is accepted afterwards");
}

#[test]
fn a_server_that_is_down_or_a_login_page_takes_nothing_away_and_is_asked_again_soon() {
    let mut scene = Scene::new();
    scene.polled(200, scene.file(7));
    for fate in [Ok(answer(503, Vec::new())), Ok(answer(200, b"<html>Sign in".to_vec())), Err(TransportError::TimedOut)] {
        scene.run(24 * HOUR, |_| fate.clone());
        assert_eq!(scene.serial(), Some(7));
    }
    scene.asked.clear();
    scene.run(10 * HOUR, |_| Err(TransportError::TimedOut));
    assert!(!scene.asked.is_empty(), "it is not given up");
}

#[test]
fn what_is_kept_is_verified_again_and_the_serial_does_not_go_back_with_it() {
    let mut scene = Scene::new();
    scene.polled(200, scene.file(7));
    let name = format!("bulletin file {URL}");
    let mut file = scene.phone.store.note(&name).unwrap().unwrap();
    *file.last_mut().unwrap() ^= 1;
    scene.phone.store.keep_changes(&crate::store::Changes { notes: vec![(name, file)], ..Default::default() }).unwrap();
    assert_eq!(scene.serial(), None, "somebody has changed the store");
    scene.asked.clear();
    scene.refuses(scene.file(6), "7 was seen before");
    assert!(scene.asked.iter().all(|(_, etag)| etag.is_none()), "it needs the whole again");
    scene.polled(200, scene.file(7));
    assert_eq!(scene.serial(), Some(7));
}

#[test]
fn its_period_is_that_of_the_key_lists_and_not_its_own() {
    let mut scene = Scene::new();
    let mut document = Scene::document(7);
    document["configuration"] = json!({"poll_period_s": 86_400});
    let file = scene.signers[0].sign("v1", document.to_string().as_bytes()).unwrap();
    scene.polled(200, file);
    let mut lists = Vec::new();
    scene.asked.clear();
    let end = scene.phone.now.after(97 * HOUR);
    while scene.phone.now < end {
        match scene.phone.courier().next(&mut scene.phone.context()).unwrap() {
            Next::Wait(wait) => scene.phone.now = scene.phone.now.after(wait.max(Duration::from_secs(1))),
            Next::Send(errand) => {
                if errand.request.url.ends_with("index.txt") {
                    lists.push(scene.phone.now);
                }
                scene.asked.extend((errand.request.url == URL).then_some((scene.phone.now, None)));
                let status = if errand.request.url == URL { 304 } else { 200 };
                let result = Ok(Response { status, ..Response::default() });
                scene.phone.courier().answered(&mut scene.phone.context(), *errand, result).unwrap();
            }
            Next::Match(_) => unreachable!(),
        }
    }
    assert!((4..=5).contains(&lists.len()), "{lists:?}");
    assert!(lists[1..].windows(2).all(|pair| pair[1].since(pair[0]) == 24 * HOUR), "{lists:?}");
    assert!(scene.asked.len() >= 23, "so that a mistake can be taken back soon: {}", scene.asked.len());
}

#[test]
fn somebody_who_waits_gets_it_at_once() {
    let mut scene = Scene::new();
    let mut courier = scene.phone.courier();
    courier.fetch_bulletin_now(&mut scene.phone.context()).unwrap();
    let Next::Send(errand) = courier.next(&mut scene.phone.context()).unwrap() else { unreachable!() };
    assert_eq!((errand.request.url.as_str(), errand.work), (URL, Work::Person));
}

#[test]
fn somebody_who_waits_is_told_once_why_it_is_refused() {
    let mut scene = Scene::new();
    scene.phone.courier().fetch_bulletin_now(&mut scene.phone.context()).unwrap();
    let news = scene.run(HOUR / 4, |_| Ok(answer(200, b"<html>Welcome to our hotel".to_vec())));
    assert!(scene.asked.len() >= 5, "it is tried again");
    assert_eq!(news.iter().filter(|news| matches!(news, News::BulletinRefused { .. })).count(), 1);
}

#[test]
fn who_has_got_it_waits_no_more() {
    let mut scene = Scene::new();
    let file = scene.file(7);
    scene.polled(200, file);
    let next_poll = scene.asked.last().unwrap().0.after(POLL_PERIOD);
    scene.phone.now = next_poll.before(Duration::from_secs(300));
    scene.phone.courier().fetch_bulletin_now(&mut scene.phone.context()).unwrap();
    scene.run(Duration::from_secs(60), |_| Ok(answer(304, Vec::new())));
    let so_far = scene.asked.len();
    scene.run(Duration::from_secs(1_500), |_| Err(TransportError::TimedOut));
    assert_eq!(scene.asked[so_far..].iter().map(|(at, _)| *at).collect::<Vec<_>>(), [next_poll], "no repeat comes soon");
}
