//! Sign-ups: each counts once, whatever happens on the way, and only a receipt that was signed for it is believed.

mod changes;
mod roll_over;
mod server;

use super::super::pacer::POLL_PERIOD;
use super::super::waitlist::*;
use super::*;
use server::{Fate, Waitlist, opening_key, refusal, signer};

const SECOND: Duration = Duration::from_secs(1);

fn form(name: &str) -> Form {
    Form {
        national_number: "ab-12 34".into(),
        name: name.into(),
        contact: "ada@Example.org".into(),
        consent: true,
        ..Form::default()
    }
}

/// A phone with a waiting list, and nothing else to do.
fn phone(seed: u64, list: &Waitlist) -> Phone {
    let mut phone = Phone::new(seed);
    phone.servers.waitlist = Some(list.described());
    phone.servers.key_lists.clear();
    phone.servers.decoy_mean_s = u64::MAX / 1_000;
    phone
}

impl Phone {
    fn sign_up(&mut self, name: &str) -> (SignUpId, RecoveryCode) {
        let code = RecoveryCode::generate(&mut self.rng);
        let mut courier = self.courier();
        let id = courier.sign_up(&mut self.context(), &form(name), &code).unwrap();
        (id, code)
    }

    fn status(&self, id: SignUpId) -> SignUpStatus {
        sign_ups(&self.store).unwrap().into_iter().find(|status| status.id == id).unwrap()
    }

    fn stands(&self, id: SignUpId) -> SignUpState {
        self.status(id).state
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Courier, &mut Context<'_>) -> T) -> T {
        let mut courier = self.courier();
        work(&mut courier, &mut self.context())
    }

    fn next_errand(&mut self) -> Box<Errand> {
        match self.courier().next(&mut self.context()).unwrap() {
            Next::Send(errand) => errand,
            other => panic!("nothing to send: {other:?}"),
        }
    }

    fn answer(&mut self, errand: Errand, result: Result<Response, TransportError>) -> Vec<News> {
        self.courier().answered(&mut self.context(), errand, result).unwrap()
    }

    /// One request and its answer; or time passes, at most so much.
    fn step(&mut self, list: &mut Waitlist, most: Duration) {
        match self.courier().next(&mut self.context()).unwrap() {
            Next::Send(errand) => {
                let result = list.exchange_at(&errand.request, self.now);
                self.now = self.now.after(Duration::from_millis(300));
                let news = self.answer(*errand, result);
                self.news.extend(news);
            }
            Next::Wait(wait) => self.now = self.now.after(wait.clamp(SECOND, most)),
            Next::Match(_) => unreachable!(),
        }
    }

    fn live(&mut self, list: &mut Waitlist, limit: Duration, mut ends: impl FnMut(&Self) -> bool) {
        let end = self.now.after(limit);
        while self.now < end && !ends(self) {
            self.step(list, end.since(self.now).max(SECOND));
        }
    }

    fn live_until_received(&mut self, list: &mut Waitlist, id: SignUpId) -> SignUpState {
        self.live(list, 24 * HOUR, |phone| phone.status(id).change.is_none());
        self.stands(id)
    }
}

#[test]
fn a_sign_up_is_sent_until_it_is_answered_always_with_the_same_bytes_and_counts_once() {
    let mut list = Waitlist::new();
    let mut phone = phone(1, &list);
    list.fates = vec![
        Fate::Lost,
        Fate::Says(200, b"<html>Welcome to our hotel".to_vec()),
        Fate::AnswerLost,
        Fate::Offline,
        Fate::Busy(Some(5)),
        Fate::Says(500, refusal(ErrorCode::Failed)),
        Fate::Says(404, b"not found".to_vec()),
        Fate::AnswerLost,
    ];
    let (id, code) = phone.sign_up("Ada");
    assert_eq!(phone.stands(id), SignUpState::WaitingUntil(START), "the first attempt is at once");
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 });
    assert_eq!(list.seen.len(), 9);
    list.assert_same_bytes(SIGN_UP_PATH);
    assert_eq!(list.seen[0].operation, Some(code.operation_id().to_string()));
    assert_eq!(list.only().form, form("Ada").canonical());

    assert!(phone.store.outbox().unwrap().is_empty(), "what is answered has left the outbox");
    let papers = sign_up_papers(&phone.store, id).unwrap().unwrap();
    assert_eq!((papers.recovery_code, papers.receipt.as_deref()), (code, Some(list.only().receipt.as_str())));
    assert!(phone.status(id).received_at.is_some_and(|at| at >= START));
    assert!(matches!(phone.news.last(), Some(News::SignUp(told)) if *told == phone.status(id)));
}

#[test]
fn it_survives_a_restart_at_every_step() {
    let mut list = Waitlist::new();
    let mut phone = phone(2, &list);
    let path = phone.folder.path().join("store");
    let reopen = |phone: &mut Phone| {
        phone.store = Store::in_memory(&mut phone.rng).unwrap();
        phone.store = Store::open(&path, phone.now, &mut phone.rng).unwrap().0;
    };
    reopen(&mut phone);
    let (id, code) = phone.sign_up("Ada");
    list.fates = vec![Fate::AnswerLost, Fate::Lost, Fate::AnswerLost];
    for _ in 0..50 {
        reopen(&mut phone);
        // Sent, and the phone goes out before the answer is kept.
        if let Next::Send(errand) = phone.courier().next(&mut phone.context()).unwrap() {
            let _ = list.exchange_at(&errand.request, phone.now);
            reopen(&mut phone);
        }
        phone.step(&mut list, HOUR);
    }
    assert_eq!(phone.stands(id), SignUpState::Received { place: 10 });
    assert!(list.count(SIGN_UP_PATH) >= 4);
    list.assert_same_bytes(SIGN_UP_PATH);
    assert_eq!(sign_up_papers(&phone.store, id).unwrap().unwrap().recovery_code, code);
    assert_eq!(list.only().place, 10);
}

#[test]
fn a_person_sees_why_it_waits_and_who_is_refused_with_a_time_comes_back_then() {
    let mut list = Waitlist::new();
    let mut phone = phone(3, &list);
    let (id, _) = phone.sign_up("Ada");
    list.fates = vec![Fate::Offline, Fate::Busy(Some(2)), Fate::Busy(Some(2)), Fate::Busy(Some(2))];
    phone.step(&mut list, HOUR);
    assert_eq!(phone.stands(id), SignUpState::WaitingForNetwork);
    assert_eq!(phone.status(id).change, Some(SignUpChange::SignUp));
    phone.live(&mut list, HOUR, |phone| matches!(phone.stands(id), SignUpState::WaitingUntil(_)));
    let SignUpState::WaitingUntil(at) = phone.stands(id) else { unreachable!() };
    assert!(at > phone.now && at.since(phone.now) <= 6 * SECOND);
    phone.live_until_received(&mut list, id);
    assert_eq!(phone.stands(id), SignUpState::Received { place: 10 });
    let gaps = list.seen.windows(2).skip(1).map(|pair| pair[1].at.since(pair[0].at));
    assert!(gaps.clone().all(|gap| gap >= 2 * SECOND && gap <= 14 * SECOND), "{:?}", gaps.collect::<Vec<_>>());
}

#[test]
fn several_people_sign_up_on_one_phone_and_each_has_a_place_of_their_own() {
    let mut list = Waitlist::new();
    let mut phone = phone(4, &list);
    let people = ["Ada", "Bob", "Cai"].map(|name| phone.sign_up(name));
    list.fates = vec![Fate::Lost, Fate::Well, Fate::Busy(Some(3))];
    phone.live(&mut list, HOUR, |phone| phone.store.outbox().unwrap().is_empty());
    let mut places: Vec<u64> = people.iter().map(|(id, _)| phone.status(*id).place.unwrap()).collect();
    for (id, code) in &people {
        assert_eq!(phone.stands(*id), SignUpState::Received { place: list.people[&code.operation_id()].place });
    }
    places.sort_unstable();
    assert_eq!(places, [10, 20, 30]);
    assert!(forget_sign_up(&mut phone.context(), people[1].0).unwrap());
    assert_eq!(sign_ups(&phone.store).unwrap().len(), 2);
    assert!(!forget_sign_up(&mut phone.context(), people[1].0).unwrap());
}

#[test]
fn what_is_received_is_asked_for_once_a_period_until_it_is_processed() {
    let mut list = Waitlist::new();
    let mut phone = phone(5, &list);
    let (id, _) = phone.sign_up("Ada");
    phone.live(&mut list, 6 * POLL_PERIOD, |_| false);
    let polls = list.count(STATUS_PATH);
    assert!((5..=6).contains(&polls), "{polls}");
    list.only().state = State::Processed;
    phone.live(&mut list, POLL_PERIOD, |_| false);
    assert_eq!(phone.stands(id), SignUpState::Processed { place: 10 });
    let polls = list.count(STATUS_PATH);
    phone.live(&mut list, 10 * POLL_PERIOD, |_| false);
    assert_eq!(list.count(STATUS_PATH), polls, "nothing more is to be known");

    list.only().state = State::Withdrawn;
    phone.with(|courier, context| courier.ask_sign_up(context, id)).unwrap();
    phone.step(&mut list, HOUR);
    assert_eq!((phone.stands(id), phone.status(id).place), (SignUpState::Withdrawn, Some(10)), "unless a person asks");
}

#[test]
fn a_receipt_that_does_not_vouch_for_this_form_is_not_believed_and_that_is_told_once() {
    let mut list = Waitlist::new();
    let mut phone = phone(6, &list);
    let (other, _) = phone.sign_up("Bob");
    phone.live_until_received(&mut list, other);
    let anothers = sign_up_papers(&phone.store, other).unwrap().unwrap().receipt.unwrap();
    let (id, code) = phone.sign_up("Ada");
    let operation = code.operation_id();
    let request: SignUpRequest = serde_json::from_slice(&phone.next_errand().request.body.unwrap()).unwrap();
    let hash = request.form.hash(operation, &request.secret_hash);
    let real = list.signer.sign(operation, 20, START.unix_s(), hash);
    let mut cut = real.clone();
    cut.pop();
    list.fates = [
        signer("r1", 7).sign(operation, 1, START.unix_s(), hash),
        signer("r1", 9).sign(operation, 1, START.unix_s(), hash),
        list.signer.sign(operation, 1, START.unix_s(), [7; 32]),
        list.signer.sign(OperationId([7; 16]), 1, START.unix_s(), hash),
        anothers,
        cut,
        String::new(),
    ]
    .map(Fate::Receipt)
    .to_vec();
    let before = phone.news.len();
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 20 });
    assert!(list.fates.is_empty());
    let told = phone.news[before..].iter().filter(|news| **news == News::ReceiptNotBelieved { id }).count();
    assert_eq!(told, 1);

    // Nor is one believed later that gives the place of somebody else.
    list.fates = vec![Fate::Receipt(list.signer.sign(operation, 5, START.unix_s(), hash)); 2];
    list.people.get_mut(&operation).unwrap().state = State::Processed;
    phone.with(|courier, context| courier.ask_sign_up(context, id)).unwrap();
    phone.step(&mut list, HOUR);
    assert_eq!(phone.stands(id), SignUpState::Received { place: 20 });
    phone.live(&mut list, 2 * POLL_PERIOD, |phone| phone.stands(id) != SignUpState::Received { place: 20 });
    assert_eq!(phone.stands(id), SignUpState::Processed { place: 20 });
    let told = phone.news.iter().filter(|news| **news == News::ReceiptNotBelieved { id }).count();
    assert_eq!(told, 2, "once for the sign-up, once for the question");
}

#[test]
fn what_the_server_refuses_for_good_is_told_and_a_gateways_words_are_not_the_servers() {
    for (status, code, state) in [
        (400, ErrorCode::BadRequest, SignUpState::Rejected(SignUpRefusal::BadRequest)),
        (413, ErrorCode::BadRequest, SignUpState::Rejected(SignUpRefusal::BadRequest)),
        (409, ErrorCode::UnknownKey, SignUpState::NeedsForm),
        (422, ErrorCode::OperationReused, SignUpState::Rejected(SignUpRefusal::CodeUsed)),
    ] {
        let mut list = Waitlist::new();
        let mut phone = phone(7, &list);
        let (id, _) = phone.sign_up("Ada");
        list.fates = vec![Fate::Says(status, b"blocked".to_vec()), Fate::Says(status, refusal(code))];
        phone.step(&mut list, HOUR);
        assert!(matches!(phone.stands(id), SignUpState::WaitingUntil(_)), "{status}");
        assert_eq!(phone.live_until_received(&mut list, id), state, "{status}");
        phone.live(&mut list, 100 * HOUR, |_| false);
        assert_eq!(list.seen.len(), 2, "{status}: it is not sent again");
    }
}

#[test]
fn hostile_answers_cost_no_sign_up() {
    let bodies: [&[u8]; 7] = [b"", b"null", b"[]", b"{}", b"{\"receipt\":5}", b"{\"code\":{}}", &[b'['; 8_000]];
    for status in [0, 100, 200, 201, 204, 301, 400, 403, 404, 409, 422, 429, 500, 999] {
        for body in bodies {
            let mut list = Waitlist::new();
            let mut phone = phone(8, &list);
            let (id, _) = phone.sign_up("Ada");
            for _ in 0..2 {
                let errand = phone.next_errand();
                let headers = vec![("retry-after".into(), "9e99".into()), ("date".into(), "yesterday".into())];
                phone.answer(*errand, Ok(Response { status, headers, body: body.to_vec() }));
                phone.now = phone.now.after(HOUR);
            }
            assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 }, "{status}");
            list.fates = vec![Fate::Says(status, body.to_vec()); 2];
            phone.live(&mut list, 30 * HOUR, |_| false);
            assert_eq!(phone.stands(id), SignUpState::Received { place: 10 }, "{status}");
        }
    }
}

#[test]
fn reports_and_sign_ups_go_in_the_order_of_their_times_and_older_entries_are_reports() {
    let list = Waitlist::new();
    let mut phone = phone(9, &list);
    let report = phone.report(&VerificationCode::parse("12345678").unwrap());
    let kept = phone.store.outbox_entry(report.0).unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&kept.content).unwrap();
    assert!(json.get("kind").is_none(), "as reports were kept before there was anything else");
    phone.now = phone.now.after(SECOND);
    let (id, _) = phone.sign_up("Ada");
    assert!(phone.next_errand().request.url.ends_with("/api/verify"));
    let first = phone.next_errand();
    phone.answer(*first, Err(TransportError::TimedOut));
    assert!(phone.next_errand().request.url.ends_with(SIGN_UP_PATH), "the report has to wait");
    assert_eq!((reports(&phone.store).unwrap().len(), sign_ups(&phone.store).unwrap().len()), (1, 1));
    assert!(!withdraw_report(&mut phone.context(), ReportId(id.0)).unwrap());

    let later = OutboxEntry { content: br#"{"kind":"bequest"}"#.to_vec().into(), id: 5, attempts: 0, ..kept };
    phone.store.keep_changes(&crate::store::Changes { made: vec![later], ..Default::default() }).unwrap();
    assert!(phone.next_errand().request.url.ends_with(SIGN_UP_PATH));
    assert!(phone.store.outbox_entry(5).unwrap().is_some(), "what a later version left is left alone");
    phone.servers.waitlist = None;
    assert!(matches!(phone.courier().next(&mut phone.context()).unwrap(), Next::Wait(_)));
    assert_eq!(sign_ups(&phone.store).unwrap().len(), 1, "and so is a sign-up while its servers are not named");
}

#[test]
fn nothing_secret_is_shown_for_debugging() {
    let mut list = Waitlist::new();
    let mut phone = phone(10, &list);
    let (id, code) = phone.sign_up("Ada");
    let errand = phone.next_errand();
    let entry = phone.store.outbox().unwrap().remove(0);
    phone.live_until_received(&mut list, id);
    let papers = sign_up_papers(&phone.store, id).unwrap().unwrap();
    let shown = format!("{errand:?} {entry:?} {papers:?} {:?} {:?}", phone.news, phone.status(id));
    let operation = code.operation_id().to_string();
    assert!(!shown.contains(code.as_str()) && !shown.contains(&operation) && !shown.contains("body"), "{shown}");
    let content = format!("{:?}", entry.content.as_slice());
    assert!(!shown.contains(&content[1..60]), "{shown}");
}
