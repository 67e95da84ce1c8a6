//! What the model tells, and when.

use vigie::courier::News as Answer;
use vigie::radio::{Limit, RadioError};
use vigie::tracer::Event;

use super::*;
use crate::commands::run::model::Condition;
use crate::commands::run::notice::Notice;

fn told(model: &mut Model, news: News, seconds: u64) -> Vec<String> {
    model.take(news, NOW.after(Duration::from_secs(seconds))).iter().map(ToString::to_string).collect()
}

#[test]
fn it_says_at_once_what_it_does_and_what_this_system_cannot_do() {
    let (model, first) = Model::new(setup(Scanning::Periodic), NOW);
    assert_eq!(
        first.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["starting on hci0, service 0xFD64; listens for 4 s every 3.5 to 5 minutes; keeps encounters in store.db; \
          checks the key files in incoming"]
    );
    assert_eq!((model.condition(), model.problem()), (Condition::Starting, None));

    let (model, first) = Model::new(Setup { sends: false, ..setup(Scanning::Periodic) }, NOW);
    assert_eq!(first[1].to_string(), "radio: this system can listen but not send: others do not hear this device");
    assert_eq!(model.condition(), Condition::Trouble);
}

#[test]
fn devices_are_told_of_when_they_come_and_when_they_go_and_many_at_once_in_one_line() {
    let mut model = model();
    assert_eq!(
        told(&mut model, seen(status(), vec![device(1, 40), device(2, 70)]), 0),
        ["device 1: immediate, 40 dB (-69 dBm)", "device 2: medium, 70 dB (-99 dBm)"]
    );
    assert!(told(&mut model, seen(status(), vec![device(2, 60), device(1, 90)]), 1).is_empty(), "they have only moved");
    assert_eq!(told(&mut model, seen(status(), vec![device(2, 60)]), 2), ["device 1 is gone"]);
    let crowd = (3..23).map(|number| device(number, 60)).collect();
    assert_eq!(told(&mut model, seen(status(), crowd), 3), ["20 devices have come and 1 have gone, 20 are near"]);
}

#[test]
fn a_summary_comes_once_a_minute_at_most_and_goes_on_when_the_clock_is_set_back() {
    let mut model = model();
    let summaries = |model: &mut Model, seconds: &mut dyn Iterator<Item = u64>| {
        seconds.map(|at| told(model, seen(status(), vec![]), at)).filter(|told| !told.is_empty()).collect::<Vec<_>>()
    };
    let expected = "running, sends; 0 near; 12 encounters today; risk none";
    assert_eq!(summaries(&mut model, &mut (0..180)), [[expected], [expected]]);
    model.take(seen(status(), vec![]), NOW.before(Duration::from_secs(86_400)));
    assert_eq!(model.take(seen(status(), vec![]), NOW.before(Duration::from_secs(86_400 - 61))).len(), 1);
    assert!(!model.messages.iter().any(|(_, notice)| matches!(notice, Notice::Status(_))));
}

#[test]
fn the_condition_follows_the_radio_and_the_user() {
    let mut model = model();
    let with = |change: &dyn Fn(&mut Status)| {
        let mut status = status();
        change(&mut status);
        seen(status, vec![])
    };
    for (news, condition) in [
        (with(&|_| {}), Condition::Tracing),
        (with(&|status| (status.is_sending, status.is_listening) = (false, false)), Condition::Starting),
        (with(&|status| status.radio_problem = Some(RadioError::PoweredOff)), Condition::Trouble),
        (with(&|status| status.tracing = Tracing::Paused), Condition::Paused),
        (News::StoreFailed("the disk is full; free some space".into()), Condition::Paused),
        (with(&|_| {}), Condition::Tracing),
        (News::StoreFailed("the disk is full; free some space".into()), Condition::Trouble),
        (News::Stopping, Condition::Stopping),
    ] {
        model.take(news, NOW);
        assert_eq!(model.condition(), condition);
    }
    assert_eq!(model.problem().as_deref(), Some("the disk is full; free some space"));
}

#[test]
fn limits_and_troubles_are_told_when_they_change() {
    let mut model = model();
    let mut limited = status();
    limited.radio_limits = vec![Limit::FewerPackets];
    let words = Limit::FewerPackets.to_string();
    assert_eq!(told(&mut model, seen(limited.clone(), vec![]), 0), [format!("radio: {words}")]);
    assert!(told(&mut model, seen(limited, vec![]), 1).is_empty());
    assert_eq!(model.remarks(), [words]);
    assert_eq!(told(&mut model, seen(status(), vec![]), 2), ["radio: has no limits any more"]);

    let gone = || News::KeysFailed(Some("the folder cannot be read".into()));
    assert_eq!(told(&mut model, gone(), 3), ["key files: the folder cannot be read"]);
    assert!(told(&mut model, gone(), 4).is_empty());
    assert_eq!(told(&mut model, News::KeysFailed(None), 5), ["key files: can be read again"]);

    let failed = || News::Told(Event::RadioFailed(RadioError::NoMessageBus));
    assert_eq!(told(&mut model, failed(), 6), [format!("radio: {}", RadioError::NoMessageBus)]);
}

#[test]
fn exposures_are_explained_with_what_made_them_and_told_again_only_when_they_change() {
    let mut model = model();
    let assessed = || News::Assessed(Box::new(assessment(&[2], -60)));
    assert_eq!(
        told(&mut model, assessed(), 0),
        [
            "risk: high; On 2020-10-20 you were near somebody who later reported, for about 32 minutes, most of it very close together \
         (confirmed test, 56 weighted minutes, attenuation 36 to 40 dB); \
         next: this was a contact: keep away from others, and ask your health authority for a test"
        ]
    );
    assert!(told(&mut model, assessed(), 1).is_empty());
    assert_eq!(
        told(&mut model, News::Assessed(Box::new(assessment(&[], -60))), 2),
        ["risk: none; next: nothing needs to be done"]
    );
}

#[test]
fn what_servers_tell_is_a_line_and_an_object_with_an_event() {
    let mut model = model();
    let told = model.take(News::Told(Event::Courier(Answer::ClockDiffers { ahead_s: 600 })), NOW).remove(0);
    assert_eq!(told.to_string(), "by a server's clock, that of this computer is about 10 minutes ahead; set whichever is wrong");
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json, serde_json::json!({"event": "server_clock_differs", "ahead_s": 600}));
}

#[test]
fn messages_are_bounded() {
    let mut model = model();
    for second in 0..1_000 {
        model.take(News::Told(Event::Rotated { is_new_key: false }), NOW.after(Duration::from_secs(second)));
    }
    assert!(model.messages.len() <= 100, "{}", model.messages.len());
}
