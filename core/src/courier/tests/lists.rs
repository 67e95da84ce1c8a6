//! Key lists: each file once, whatever breaks off.

use super::server::Fate;
use super::*;

fn status(phone: &Phone) -> KeyListStatus {
    phone.courier().lists(&phone.store, phone.now).unwrap().remove(0)
}

fn with_files(files: &[(&str, &[u8])]) -> Server {
    let mut server = Server::new(true);
    server.index = files.iter().map(|(path, _)| format!("{path}\n")).collect();
    server.files = files.iter().map(|(path, content)| ((*path).to_string(), content.to_vec())).collect();
    server
}

#[test]
fn files_are_fetched_once_in_the_devices_own_moment() {
    let mut phone = Phone::new(1);
    let mut server = with_files(&[("lu/1.zip", b"good 1"), ("lu/2.zip", b"good 2")]);
    phone.run(&mut server, 24 * HOUR, |_| false);
    assert_eq!(server.requests_of_files, [("lu/1.zip".to_string(), None), ("lu/2.zip".to_string(), None)]);
    let status = status(&phone);
    assert_eq!((status.done, status.waiting, status.refused), (2, 0, 0));
    assert_eq!(std::fs::read_dir(phone.folder.path()).unwrap().count(), 0, "nothing is left on the disk");
}

#[test]
fn a_file_that_breaks_off_goes_on_where_it_was() {
    let mut phone = Phone::new(2);
    let mut server = with_files(&[("lu/1.zip", b"good and long")]);
    server.breaks_at = Some(5);
    phone.run(&mut server, 24 * HOUR, |_| false);
    assert_eq!(
        server.requests_of_files,
        [("lu/1.zip".to_string(), None), ("lu/1.zip".to_string(), Some("bytes=5-".to_string()))]
    );
    assert_eq!(status(&phone).done, 1);
}

#[test]
fn what_was_continued_and_does_not_verify_is_fetched_once_more_from_its_start() {
    let mut phone = Phone::new(3);
    let mut server = with_files(&[("lu/1.zip", b"good and long")]);
    server.breaks_at = Some(5);
    phone.run(&mut server, 24 * HOUR, |phone| std::fs::read_dir(phone.folder.path()).unwrap().count() > 0);
    let part = std::fs::read_dir(phone.folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&part, b"evil ").unwrap();
    phone.run(&mut server, 24 * HOUR, |_| false);
    assert_eq!(server.requests_of_files.len(), 3);
    assert_eq!((server.requests_of_files[2].1.clone(), status(&phone).done), (None, 1));
    assert!(!exists(&part));
}

#[test]
fn a_file_that_is_wrong_or_missing_is_reported_and_blocks_nothing() {
    let mut phone = Phone::new(4);
    let mut server = with_files(&[("lu/1.zip", b"evil"), ("lu/2.zip", b"good"), ("lu/3.zip", b"good"), ("lu/4.zip", b"good")]);
    server.files.remove("lu/2.zip");
    phone.run(&mut server, 12 * HOUR, |_| false);
    let now = status(&phone);
    assert_eq!((now.done, now.refused, now.waiting), (2, 1, 1), "an index may be ahead of its files");
    phone.run(&mut server, 24 * HOUR, |_| false);
    let now = status(&phone);
    assert_eq!((now.done, now.refused, now.waiting), (2, 2, 0));
    for path in ["lu/1.zip", "lu/2.zip"] {
        assert!(phone.news.contains(&News::FileRefused { index_url: now.index_url.clone(), path: path.into() }));
    }
    let tries = |path: &str| server.requests_of_files.iter().filter(|(found, _)| found == path).count();
    assert!(tries("lu/1.zip") <= 2 && tries("lu/2.zip") == 6, "and is not asked for without end: {}", tries("lu/2.zip"));
}

#[test]
fn an_index_that_lost_files_is_reported() {
    let mut phone = Phone::new(5);
    let mut server = with_files(&[("1", b"good"), ("2", b"good"), ("3", b"good")]);
    phone.run(&mut server, 6 * HOUR, |_| false);
    server.index = "1\n3\n".into();
    phone.run(&mut server, 6 * HOUR, |_| false);
    assert!(phone.news.iter().any(|news| matches!(news, News::ListLostFiles { files: 1, .. })));
}

#[test]
fn somebody_who_waits_gets_the_lists_at_once_even_after_failures() {
    let mut phone = Phone::new(6);
    let mut server = with_files(&[("1", b"good")]);
    server.fates = vec![Fate::Busy; 5];
    phone.run(&mut server, 12 * HOUR, |_| false);
    let (mut courier, now) = (phone.courier(), phone.now);
    courier.sync_now(&mut phone.context()).unwrap();
    server.fates.clear();
    for _ in 0..3 {
        match courier.next(&mut phone.context()).unwrap() {
            Next::Send(errand) => {
                let result = server.exchange_at(&errand.request, now);
                courier.answered(&mut phone.context(), *errand, result).unwrap();
            }
            Next::Match(file) => {
                courier.matched(&mut phone.context(), &file, server.judge(&file.file)).unwrap();
            }
            Next::Wait(wait) => panic!("nothing is due for {wait:?}"),
        }
    }
    assert_eq!(status(&phone).done, 1, "index, file and match, at once");
}

#[test]
fn somebody_who_waits_gets_the_lists_soon_though_index_and_file_fail_and_is_a_poll_again_later() {
    let mut phone = Phone::new(7);
    let mut server = with_files(&[("1", b"good")]);
    phone.courier().sync_now(&mut phone.context()).unwrap();
    server.fates = vec![Fate::Busy, Fate::Lost, Fate::Well, Fate::Busy, Fate::Lost];
    phone.run(&mut server, HOUR / 4, |_| false);
    assert_eq!(status(&phone).done, 1);

    phone.courier().sync_now(&mut phone.context()).unwrap();
    server.fates = vec![Fate::Busy; 100];
    phone.run(&mut server, HOUR / 2, |_| false);
    let soon = 100 - server.fates.len();
    // Every minute or two, as the server says; then as a poll that fails, at most every half hour. Decoys come later.
    phone.run(&mut server, HOUR, |_| false);
    let later = 100 - soon - server.fates.len();
    assert!((15..=31).contains(&soon) && later <= 3, "{soon} and {later}");
}

#[test]
fn who_has_got_the_lists_waits_no_more() {
    let mut phone = Phone::new(7);
    let mut server = with_files(&[("1", b"good")]);
    phone.run(&mut server, 5 * HOUR, |_| false);
    phone.now = status(&phone).next_poll.before(Duration::from_secs(300));
    phone.courier().sync_now(&mut phone.context()).unwrap();
    let asked_at = phone.now;
    phone.run(&mut server, HOUR, |phone| phone.now > asked_at);
    assert!(status(&phone).seen_at >= Some(asked_at));
    server.fates = vec![Fate::Lost; 100];
    phone.run(&mut server, HOUR / 4, |_| false);
    assert_eq!(server.fates.len(), 99, "the poll of this moment, and no repeat soon");
}

#[test]
fn somebody_who_waits_asks_no_sooner_than_the_server_said_and_is_told_when() {
    let mut phone = Phone::new(8);
    let mut server = with_files(&[("1", b"good")]);
    let mut courier = phone.courier();
    courier.sync_now(&mut phone.context()).unwrap();
    let Next::Send(errand) = courier.next(&mut phone.context()).unwrap() else { unreachable!() };
    let headers = vec![("retry-after".to_string(), "3600".to_string())];
    courier.answered(&mut phone.context(), *errand, Ok(Response { status: 503, headers, body: Vec::new() })).unwrap();

    courier.sync_now(&mut phone.context()).unwrap();
    let told = status(&phone);
    assert!(told.next_poll >= phone.now.after(HOUR) && told.next_poll <= phone.now.after(HOUR * 3 / 2), "{told:?}");
    assert_eq!(told.server_asks_for, Some(told.next_poll));
    let Next::Wait(wait) = courier.next(&mut phone.context()).unwrap() else { panic!("it is asked too soon") };
    assert!(phone.now.after(wait) <= told.next_poll);
    phone.run(&mut server, told.next_poll.since(phone.now), |_| false);
    assert!(status(&phone).seen_at.is_none());

    phone.now = told.next_poll;
    phone.courier().sync_now(&mut phone.context()).unwrap();
    phone.run(&mut server, Duration::from_secs(5), |_| false);
    assert_eq!((status(&phone).done, status(&phone).server_asks_for), (1, None));
}

#[test]
fn a_clock_that_was_wrong_by_years_holds_nothing_up() {
    let mut phone = Phone::new(7);
    let mut server = with_files(&[("1", b"good")]);
    phone.now = START.after(24 * HOUR * 365 * 10);
    phone.run(&mut server, Duration::from_secs(10), |_| false);
    phone.now = START;
    phone.run(&mut server, 5 * HOUR, |_| false);
    assert_eq!(status(&phone).done, 1);
}

#[test]
fn a_login_page_in_place_of_the_index_loses_no_file_and_is_no_poll() {
    let mut phone = Phone::new(8);
    let mut server = with_files(&[("1", b"good"), ("2", b"good")]);
    phone.run(&mut server, 6 * HOUR, |_| false);
    let seen = status(&phone).seen_at;
    let index = std::mem::replace(&mut server.index, "<!doctype html>\n<p>Sign in to use this network.\n".into());
    phone.run(&mut server, 6 * HOUR, |_| false);
    assert_eq!((status(&phone).seen_at, status(&phone).done), (seen, 2));
    assert!(phone.news.is_empty(), "{:?}", phone.news);
    server.index = index;
    phone.run(&mut server, 12 * HOUR, |_| false);
    assert!(status(&phone).seen_at > seen);
}
