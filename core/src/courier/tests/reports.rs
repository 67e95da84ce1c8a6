//! Reports: published once, whatever happens on the way.

use super::server::Fate;
use super::*;

fn assert_published_once(server: &Server, keys: usize) {
    assert_eq!(server.published.len(), keys);
    assert!(server.published.values().all(|count| *count == 1));
}

#[test]
fn a_report_takes_three_requests_each_with_an_id_of_its_own() {
    let (mut phone, mut server) = (Phone::new(1), Server::new(true));
    let code = code(&mut server);
    let id = phone.report(&code);
    assert_eq!(phone.state(id), ReportState::WaitingUntil(START));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 3 });
    assert_published_once(&server, 3);
    let ids: std::collections::BTreeSet<&str> = server.seen.iter().map(|seen| seen.operation.as_str()).collect();
    assert_eq!((server.seen.len(), ids.len()), (3, 3));
    assert!(ids.iter().all(|id| id.len() == 32), "128 bits");
    assert!(matches!(phone.news.last(), Some(News::Report(ReportStatus { state: ReportState::Done { keys: 3 }, .. }))));
    let kept = phone.store.outbox_entry(id.0).unwrap().unwrap();
    let text = String::from_utf8(kept.content.to_vec()).unwrap();
    assert!(
        !text.contains(code.as_str()) && !text.contains("certificate 0") && !text.contains("rollingStart"),
        "secrets stay: {text}"
    );
}

#[test]
fn the_first_attempt_is_at_once_and_repeats_are_the_same_bytes() {
    let (mut phone, mut server) = (Phone::new(2), Server::new(true));
    server.fates = vec![
        Fate::Lost,
        Fate::Busy,
        Fate::AnswerLost,
        Fate::Portal,
        Fate::Offline,
        Fate::AnswerLost,
        Fate::Well,
        Fate::AnswerLost,
    ];
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::Done { keys: 3 });
    assert_published_once(&server, 3);
    let mut bodies = std::collections::BTreeMap::new();
    for seen in &server.seen {
        assert_eq!(*bodies.entry(seen.operation.clone()).or_insert(seen.length), seen.length);
    }
    assert_eq!(bodies.len(), 3, "three operations, however often they are sent");
}

#[test]
fn every_answer_may_get_lost_where_the_server_knows_operation_ids() {
    for lost in 0..3 {
        let (mut phone, mut server) = (Phone::new(3), Server::new(true));
        server.fates = vec![Fate::Well; lost];
        server.fates.extend([Fate::AnswerLost; 3]);
        let id = phone.report(&code(&mut server));
        assert_eq!(
            phone.run_report(&mut server, id, 24 * HOUR),
            ReportState::Done { keys: if lost == 2 { 0 } else { 3 } },
            "{lost}"
        );
        assert_published_once(&server, 3);
    }
}

#[test]
fn at_a_deployed_server_a_lost_answer_asks_for_a_new_code_and_keeps_keys_and_consent() {
    for lost in 0..2 {
        let (mut phone, mut server) = (Phone::new(4), Server::new(false));
        server.fates = vec![Fate::Well; lost];
        server.fates.push(Fate::AnswerLost);
        let id = phone.report(&code(&mut server));
        let keys_before = phone.store.own_keys().unwrap();
        assert_eq!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::NeedsNewCode);
        assert_published_once(&server, 0);
        let again = code(&mut server);
        assert!(report_again(&mut phone.context(), id, &again).unwrap());
        assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 3 });
        assert_published_once(&server, 3);
        assert_eq!(phone.store.own_keys().unwrap(), keys_before);
        assert!(!report_again(&mut phone.context(), id, &again).unwrap(), "it is done");
    }
}

#[test]
fn a_deployed_servers_missing_revision_token_means_done_and_those_keys_are_left_out_later() {
    let (mut phone, mut server) = (Phone::new(5), Server::new(false));
    server.fates = vec![Fate::Well, Fate::Well, Fate::AnswerLost];
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::Done { keys: 3 });
    assert_published_once(&server, 3);
    // The successor of the key that ended is sent, and reported later with another code: the server would refuse the others.
    let sending = next_sending(&phone.store.own_keys().unwrap(), phone.now.interval().plus(1), &mut phone.rng);
    phone.store.keep_sending(&sending).unwrap();
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 1 });
    assert_published_once(&server, 4);
}

#[test]
fn keys_made_later_go_with_a_new_code_and_the_revision_token_that_was_kept() {
    let (mut phone, mut server) = (Phone::new(6), Server::new(false));
    let id = phone.report(&code(&mut server));
    phone.run_report(&mut server, id, HOUR);
    let sending = next_sending(&phone.store.own_keys().unwrap(), phone.now.interval().plus(1), &mut phone.rng);
    phone.store.keep_sending(&sending).unwrap();
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 1 });
    assert_published_once(&server, 4);
}

#[test]
fn a_wrong_code_needs_another_one_and_goes_on_as_a_decoy() {
    let (mut phone, mut server) = (Phone::new(7), Server::new(true));
    let wrong = VerificationCode::generate(&mut phone.rng);
    let id = phone.report(&wrong);
    phone.run(&mut server, HOUR, |_| false);
    assert_eq!(phone.state(id), ReportState::NeedsNewCode);
    let steps: Vec<(bool, &str)> = server.seen.iter().map(|seen| (seen.is_chaff, seen.url.rsplit('/').next().unwrap())).collect();
    assert_eq!(steps[..3], [(false, "verify"), (true, "certificate"), (true, "publish")]);
}

#[test]
fn a_certificate_that_has_expired_is_renewed_with_the_same_keys_and_hmac() {
    let (mut phone, mut server) = (Phone::new(8), Server::new(true));
    server.let_certificates_expire(1);
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 3 });
    assert_eq!(server.seen.len(), 3 + 2);
    let mut server = Server::new(true);
    server.let_certificates_expire(100);
    let mut phone = Phone::new(8);
    let id = phone.report(&code(&mut server));
    assert!(matches!(phone.run_report(&mut server, id, HOUR), ReportState::Refused(_)), "not for ever");
}

#[test]
fn a_clock_that_is_ahead_is_named_and_the_report_goes_when_it_is_set() {
    let (mut phone, mut server) = (Phone::new(9), Server::new(true));
    server.behind_s = 7_200;
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::SetClock { ahead_s: 7_200 });
    assert!(phone.news.contains(&News::ClockDiffers { ahead_s: 7_200 }));
    server.behind_s = 0;
    phone.run(&mut server, HOUR, |phone| matches!(phone.state(id), ReportState::Done { .. }));
    assert_eq!(phone.state(id), ReportState::Done { keys: 3 });
}

#[test]
fn a_report_can_be_withdrawn_until_its_keys_are_sent() {
    let (mut phone, mut server) = (Phone::new(10), Server::new(true));
    let id = phone.report(&code(&mut server));
    assert!(withdraw_report(&mut phone.context(), id).unwrap());
    phone.run(&mut server, HOUR, |_| false);
    assert!(server.seen.iter().all(|seen| seen.is_chaff) && server.published.is_empty(), "what may have begun ends as a decoy");
    server.seen.clear();
    let id = phone.report(&code(&mut server));
    server.fates = vec![Fate::Well, Fate::Well, Fate::AnswerLost];
    phone.run(&mut server, HOUR, |_| false);
    assert!(!withdraw_report(&mut phone.context(), id).unwrap(), "its keys may be there");
    assert_published_once(&server, 3);
}

#[test]
fn what_may_be_published_is_not_withdrawn_when_another_code_is_asked_for() {
    let (mut phone, mut server) = (Phone::new(13), Server::new(false));
    server.expires_after = Some(3);
    server.fates = vec![Fate::Well, Fate::Well, Fate::AnswerLost];
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::NeedsNewCode);
    assert_published_once(&server, 3);
    assert!(!withdraw_report(&mut phone.context(), id).unwrap());
    let again = code(&mut server);
    assert!(report_again(&mut phone.context(), id, &again).unwrap());
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 3 });
    assert_published_once(&server, 3);
}

#[test]
fn a_lost_answer_to_a_second_report_is_no_refusal_where_the_earlier_token_does_not_know_its_keys() {
    let (mut phone, mut server) = (Phone::new(14), Server::new(false));
    let id = phone.report(&code(&mut server));
    phone.run_report(&mut server, id, HOUR);
    let sending = next_sending(&phone.store.own_keys().unwrap(), phone.now.interval().plus(1), &mut phone.rng);
    phone.store.keep_sending(&sending).unwrap();
    server.knows_keys_of_tokens = true;
    server.fates = vec![Fate::Well, Fate::Well, Fate::AnswerLost];
    let id = phone.report(&code(&mut server));
    assert!(matches!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::Done { .. }));
    assert_published_once(&server, 4);
}

#[test]
fn a_gateways_words_are_not_the_servers() {
    let (mut phone, mut server) = (Phone::new(15), Server::new(true));
    let id = phone.report(&code(&mut server));
    for _ in 0..2 {
        let Next::Send(errand) = phone.courier().next(&mut phone.context()).unwrap() else { panic!("nothing to send") };
        let answer = server.exchange_at(&errand.request, START);
        phone.courier().answered(&mut phone.context(), *errand, answer).unwrap();
    }
    let Next::Send(errand) = phone.courier().next(&mut phone.context()).unwrap() else { panic!("nothing to send") };
    let blocked = Response { status: 403, headers: Vec::new(), body: br#"{"code":"blocked_by_policy"}"#.to_vec() };
    phone.courier().answered(&mut phone.context(), *errand, Ok(blocked)).unwrap();
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::Done { keys: 3 });
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_the_report_up() {
    let (mut phone, mut server) = (Phone::new(16), Server::new(true));
    server.behind_s = 7_200;
    let id = phone.report(&code(&mut server));
    assert_eq!(phone.run_report(&mut server, id, HOUR), ReportState::SetClock { ahead_s: 7_200 });
    (server.behind_s, phone.now) = (0, phone.now.before(2 * HOUR));
    phone.run(&mut server, HOUR / 2, |phone| matches!(phone.state(id), ReportState::Done { .. }));
    assert_eq!(phone.state(id), ReportState::Done { keys: 3 });
}

#[test]
fn an_answer_that_comes_after_the_withdrawal_changes_nothing() {
    let (mut phone, mut server) = (Phone::new(11), Server::new(true));
    let id = phone.report(&code(&mut server));
    let Next::Send(errand) = phone.courier().next(&mut phone.context()).unwrap() else { panic!("nothing to send") };
    let answer = server.exchange_at(&errand.request, START);
    assert!(withdraw_report(&mut phone.context(), id).unwrap());
    let news = phone.courier().answered(&mut phone.context(), *errand, answer).unwrap();
    assert_eq!((news, reports(&phone.store).unwrap()), (vec![], vec![]));
}

#[test]
fn hostile_answers_cost_no_report() {
    let bodies: [&[u8]; 8] = [b"", b"null", b"[]", b"{}", b"{\"token\":5}", b"{\"errorCode\":{}}", b"\xff\xfe", &[b'['; 10_000]];
    for status in [0, 100, 200, 204, 301, 400, 403, 404, 429, 500, 999] {
        for body in bodies {
            let (mut phone, mut server) = (Phone::new(12), Server::new(true));
            let id = phone.report(&code(&mut server));
            for _ in 0..3 {
                let Next::Send(errand) = phone.courier().next(&mut phone.context()).unwrap() else {
                    break;
                };
                let headers = vec![("retry-after".into(), "9e99".into()), ("date".into(), "yesterday".into())];
                let response = Response { status, headers, body: body.to_vec() };
                phone.courier().answered(&mut phone.context(), *errand, Ok(response)).unwrap();
            }
            assert_eq!(phone.run_report(&mut server, id, 24 * HOUR), ReportState::Done { keys: 3 }, "{status}");
        }
    }
}
