//! Keys of the waiting list that change while apps are out there: the bulletin names the new ones.

use serde_json::json;

use super::server::BULLETIN_PATH;
use super::*;
use crate::courier::bulletin::{BulletinKey, BulletinSigner};

/// An authority with a bulletin, and a phone that knows it.
struct Scene {
    list: Waitlist,
    phone: Phone,
    authority: BulletinSigner,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let (list, authority) = (Waitlist::new(), BulletinSigner::generate().unwrap());
        let mut phone = phone(seed, &list);
        let keys = vec![BulletinKey { key_id: "b1".into(), public_key: authority.public_key() }];
        phone.servers.bulletin =
            Some(BulletinServer { url: format!("https://list.example{BULLETIN_PATH}"), region: "LU".into(), keys });
        Self { list, phone, authority }
    }

    /// From now on the bulletin names the keys that the waiting list has.
    fn publish(&mut self) {
        let bulletin = json!({
            "serial": 1, "region": "LU", "issued_at": START.to_string(),
            "keys": {
                "waiting_list": [{"key_id": self.list.key.id(), "public_key": self.list.key.public_text()}],
                "receipts": [{"key_id": self.list.signer.id(), "public_key": self.list.signer.public_text()}],
            },
        });
        self.list.bulletin = Some(self.authority.sign("b1", bulletin.to_string().as_bytes()).unwrap());
    }
}

#[test]
fn a_form_that_was_sealed_to_an_old_key_is_sealed_to_the_one_that_the_bulletin_names_which_is_asked_for_at_once() {
    let mut scene = Scene::new(61);
    let (list, phone) = (&mut scene.list, &mut scene.phone);
    phone.live(list, POLL_PERIOD, |_| false);
    list.key = opening_key("v2");
    let (id, code) = phone.sign_up("Ada");
    assert_eq!(phone.live_until_received(list, id), SignUpState::NeedsForm);
    scene.publish();
    let (list, phone) = (&mut scene.list, &mut scene.phone);
    phone.live(list, HOUR, |_| false);
    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Ada"))).unwrap();
    assert_eq!(phone.live_until_received(list, id), SignUpState::Received { place: 10 });
    assert!(list.people.contains_key(&code.operation_id()));
    let (second, _) = phone.sign_up("Bob");
    assert_eq!(phone.live_until_received(list, second), SignUpState::Received { place: 20 });
}

#[test]
fn a_receipt_of_a_new_key_is_believed_when_the_bulletin_names_that_key() {
    let mut scene = Scene::new(62);
    scene.list.signer = signer("r2", 5);
    let (list, phone) = (&mut scene.list, &mut scene.phone);
    let (id, _) = phone.sign_up("Ada");
    phone.live(list, HOUR, |_| false);
    assert!(phone.news.contains(&News::ReceiptNotBelieved { id }) && phone.status(id).change.is_some());
    scene.publish();
    let (list, phone) = (&mut scene.list, &mut scene.phone);
    assert_eq!(phone.live_until_received(list, id), SignUpState::Received { place: 10 });
    list.only().state = State::Processed;
    phone.live(list, 2 * POLL_PERIOD, |_| false);
    assert_eq!(phone.stands(id), SignUpState::Processed { place: 10 });
}
