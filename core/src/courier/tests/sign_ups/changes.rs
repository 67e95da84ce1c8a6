//! What a person does with a sign-up afterwards, on this phone or on another one.

use super::*;

#[test]
fn a_form_that_is_wrong_and_a_code_that_is_used_are_told_before_anything_is_kept() {
    let list = Waitlist::new();
    let mut phone = phone(20, &list);
    let (id, code) = phone.sign_up("Ada");
    let kept = phone.store.outbox().unwrap();
    let sign_up = |phone: &mut Phone, form: &Form, code: &RecoveryCode| {
        phone.with(|courier, context| courier.sign_up(context, form, code)).unwrap_err()
    };
    let new = RecoveryCode::generate(&mut phone.rng);
    let wrong = Form { contact: "nowhere".into(), ..form("Bob") };
    assert!(matches!(sign_up(&mut phone, &wrong, &new), SignUpError::Form(FormError(Field::Contact))));
    let future = Form { birth_year: Some(2021), ..form("Bob") };
    assert!(matches!(sign_up(&mut phone, &future, &new), SignUpError::Form(FormError(Field::BirthYear))), "it is 2020");
    assert!(matches!(sign_up(&mut phone, &form("Bob"), &code), SignUpError::CodeInUse { id: found } if found == id));
    phone.servers.waitlist = None;
    assert!(matches!(sign_up(&mut phone, &form("Bob"), &new), SignUpError::NoWaitlist));
    assert_eq!(phone.store.outbox().unwrap(), kept);
}

#[test]
fn a_form_that_was_rejected_is_corrected_keeps_its_place_and_is_asked_for_again() {
    let mut list = Waitlist::new();
    let mut phone = phone(21, &list);
    let (id, code) = phone.sign_up("Ada");
    let under_way = phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Eve")));
    assert!(matches!(under_way, Err(SignUpError::ChangeUnderWay)));
    phone.live_until_received(&mut list, id);
    (list.only().state, list.only().reason) = (State::Rejected, "contact");
    phone.live(&mut list, POLL_PERIOD, |_| false);
    assert_eq!(phone.stands(id), SignUpState::Rejected(SignUpRefusal::Field(Field::Contact)));

    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Ada King"))).unwrap();
    assert_eq!((phone.status(id).change, phone.status(id).place), (Some(SignUpChange::Correction), Some(10)));
    list.fates = vec![Fate::AnswerLost, Fate::Busy(None), Fate::Lost, Fate::AnswerLost];
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 });
    assert_eq!(list.count(CORRECT_PATH), 5);
    list.assert_same_bytes(CORRECT_PATH);
    let corrected = list.seen.last().unwrap().operation.clone();
    assert!(corrected.is_some() && corrected != Some(code.operation_id().to_string()), "it has an operation id of its own");
    assert_eq!(list.only().form, form("Ada King").canonical());
    list.only().state = State::Processed;
    phone.live(&mut list, POLL_PERIOD, |_| false);
    assert_eq!(phone.stands(id), SignUpState::Processed { place: 10 });
}

#[test]
fn a_correction_that_is_refused_leaves_what_was_received() {
    let mut list = Waitlist::new();
    let mut phone = phone(22, &list);
    let (id, _) = phone.sign_up("Ada");
    phone.live_until_received(&mut list, id);
    list.key = opening_key("v2");
    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Eve"))).unwrap();
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 });
    assert_eq!(phone.status(id).refused, Some(SignUpRefusal::UnknownKey));
    assert_eq!(list.only().form.name, "Ada");
    phone.servers.waitlist = Some(list.described());
    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Eve"))).unwrap();
    phone.live_until_received(&mut list, id);
    assert_eq!((phone.status(id).refused, list.only().form.name.as_str()), (None, "Eve"));
}

#[test]
fn a_form_that_was_sealed_to_an_old_key_is_filled_in_again_under_the_same_code() {
    let mut list = Waitlist::new();
    let mut phone = phone(23, &list);
    list.key = opening_key("v2");
    let (id, code) = phone.sign_up("Ada");
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::NeedsForm);
    phone.servers.waitlist = Some(list.described());
    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Ada"))).unwrap();
    assert_eq!(phone.status(id).change, Some(SignUpChange::SignUp));
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 });
    assert!(list.people.contains_key(&code.operation_id()), "the code that the person has written down is still good");
}

#[test]
fn a_code_that_was_used_before_brings_the_first_receipt_and_corrects_what_is_there() {
    let mut list = Waitlist::new();
    let mut phone = phone(24, &list);
    let (id, code) = phone.sign_up("Ada");
    phone.live_until_received(&mut list, id);
    forget_sign_up(&mut phone.context(), id).unwrap();
    let id = phone.with(|courier, context| courier.sign_up(context, &form("Eve"), &code)).unwrap();
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Rejected(SignUpRefusal::CodeUsed));
    assert_eq!(list.only().form.name, "Ada", "nothing was stored");
    phone.with(|courier, context| courier.correct_sign_up(context, id, &form("Eve"))).unwrap();
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Received { place: 10 });
    assert_eq!(list.only().form.name, "Eve");
}

#[test]
fn with_the_code_another_phone_sees_corrects_and_withdraws_the_sign_up() {
    let mut list = Waitlist::new();
    let (mut old, mut new) = (phone(25, &list), phone(26, &list));
    let (id, code) = old.sign_up("Ada");
    old.live_until_received(&mut list, id);

    let code = RecoveryCode::parse(&code.grouped()).unwrap();
    let here = new.with(|courier, context| courier.recover_sign_up(context, &code)).unwrap();
    assert_eq!(new.stands(here), SignUpState::WaitingUntil(START));
    list.fates = vec![Fate::Offline, Fate::Lost];
    new.step(&mut list, HOUR);
    assert_eq!(new.stands(here), SignUpState::WaitingForNetwork);
    new.live(&mut list, HOUR, |phone| phone.stands(here) == SignUpState::Received { place: 10 });
    assert_eq!(new.stands(here), SignUpState::Received { place: 10 });
    assert_eq!(
        sign_up_papers(&new.store, here).unwrap().unwrap().receipt,
        sign_up_papers(&old.store, id).unwrap().unwrap().receipt
    );
    assert_eq!(new.with(|courier, context| courier.recover_sign_up(context, &code)).unwrap(), here, "once is enough");

    new.with(|courier, context| courier.correct_sign_up(context, here, &form("Ada King"))).unwrap();
    new.live_until_received(&mut list, here);
    assert_eq!(list.only().form.name, "Ada King");
    new.with(|courier, context| courier.withdraw_sign_up(context, here)).unwrap();
    list.fates = vec![Fate::AnswerLost, Fate::Lost];
    assert_eq!(new.live_until_received(&mut list, here), SignUpState::Withdrawn);
    list.assert_same_bytes(WITHDRAW_PATH);
    let sent = list.seen.len();
    new.with(|courier, context| courier.withdraw_sign_up(context, here)).unwrap();
    new.live(&mut list, HOUR, |_| false);
    assert_eq!(list.seen.len(), sent, "withdrawing twice is no error, and no request");
    let late = new.with(|courier, context| courier.correct_sign_up(context, here, &form("Eve")));
    assert!(matches!(late, Err(SignUpError::Withdrawn)));
    old.live(&mut list, 2 * POLL_PERIOD, |_| false);
    assert_eq!(old.stands(id), SignUpState::Withdrawn, "the old phone finds out");
}

#[test]
fn a_code_that_nobody_signed_up_with_is_said_to_be_unknown_and_no_more_is_asked() {
    let mut list = Waitlist::new();
    let mut phone = phone(27, &list);
    let code = RecoveryCode::generate(&mut phone.rng);
    let id = phone.with(|courier, context| courier.recover_sign_up(context, &code)).unwrap();
    phone.live(&mut list, 100 * HOUR, |_| false);
    assert_eq!(phone.stands(id), SignUpState::Rejected(SignUpRefusal::Unknown));
    assert_eq!(list.count(STATUS_PATH), 1);
}

#[test]
fn a_withdrawal_takes_the_place_of_what_is_on_its_way_and_late_answers_change_nothing() {
    let mut list = Waitlist::new();
    let mut phone = phone(28, &list);
    let (id, _) = phone.sign_up("Ada");
    let errand = phone.next_errand();
    let answer = list.exchange_at(&errand.request, START);
    phone.with(|courier, context| courier.withdraw_sign_up(context, id)).unwrap();
    assert_eq!(phone.answer(*errand, answer), vec![]);
    assert_eq!(phone.status(id).change, Some(SignUpChange::Withdrawal));
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Withdrawn);
    assert_eq!(list.only().state, State::Withdrawn, "what may have arrived is withdrawn there, too");

    let (id, _) = phone.sign_up("Bob");
    phone.with(|courier, context| courier.withdraw_sign_up(context, id)).unwrap();
    assert_eq!(phone.live_until_received(&mut list, id), SignUpState::Withdrawn, "and what has not is not there");
    assert_eq!(list.people.len(), 1);
    let nobody = phone.with(|courier, context| courier.withdraw_sign_up(context, SignUpId(5)));
    assert!(matches!(nobody, Err(SignUpError::NoSuchSignUp)));
}

#[test]
fn a_sign_up_that_waits_is_not_erased_for_its_age_and_a_report_is() {
    let mut list = Waitlist::new();
    let mut phone = phone(29, &list);
    let (id, _) = phone.sign_up("Ada");
    let report = phone.report(&VerificationCode::parse("12345678").unwrap());
    let errand = phone.next_errand();
    let days = |n: u32| Duration::from_secs(86_400) * n;
    for at in [START.after(days(20)), START.after(days(400)), START.before(days(300)), START.after(days(1))] {
        phone.now = at;
        renew_sign_ups(&mut phone.store, at).unwrap();
        phone.store.erase_expired(at).unwrap();
        assert!(matches!(phone.stands(id), SignUpState::WaitingUntil(_)), "{at}");
    }
    assert!(phone.store.outbox_entry(report.0).unwrap().is_none());
    assert_eq!(phone.status(id).made_at, START);
    let answer = list.exchange_at(&errand.request, START);
    phone.answer(*errand, answer);
    assert_eq!(phone.stands(id), SignUpState::Received { place: 10 }, "an answer that was on its way meanwhile counts");
}

#[test]
fn erasing_everything_erases_sign_ups() {
    let mut list = Waitlist::new();
    let mut phone = phone(30, &list);
    let (id, _) = phone.sign_up("Ada");
    phone.live_until_received(&mut list, id);
    phone.sign_up("Bob");
    phone.store.erase_everything(&mut phone.rng).unwrap();
    assert!(sign_ups(&phone.store).unwrap().is_empty());
    let sent = list.seen.len();
    phone.live(&mut list, 10 * HOUR, |_| false);
    assert_eq!(list.seen.len(), sent);
}
