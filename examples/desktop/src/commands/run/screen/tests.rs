//! What the screen looks like where it is large and where it is small. In both nobody may miss why it does not trace, and what to do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use vigie::courier::ReportState;
use vigie::radio::{Limit, RadioError};
use vigie::tracer::{Event, Scanning, Tracing};

use super::*;
use crate::commands::bulletin::{Curve, Day, Piece, Sheet};
use crate::commands::run::model::News;
use crate::commands::run::tests::{NOW, assessment, device, model, seen, setup, status};
use crate::commands::standing::{List, Report};

const OVERVIEW: Look = Look { is_help: false, scrolled: 0, has_colors: false };

fn drawn(model: &Model, look: Look, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, look)).unwrap();
    terminal
}

/// Without the quotes of the test backend and what is empty at the end of a line.
fn text(model: &Model, look: Look, width: u16, height: u16) -> String {
    let screen = drawn(model, look, width, height).backend().to_string();
    screen.lines().map(|line| line.trim_matches('"').trim_end().to_owned() + "\n").collect()
}

/// Holds both sizes against what is kept beside this file, and wants all of these words on both.
fn assert_screens(name: &str, model: &Model, look: Look, words: &[&str]) {
    for (width, height) in [(80, 24), (40, 12)] {
        let screen = text(model, look, width, height);
        let flowing = screen.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in words {
            assert!(flowing.contains(part), "{part} is not in\n{screen}");
        }
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("{name}_{width}x{height}"), screen);
        });
    }
}

#[test]
fn while_it_starts_it_says_so() {
    assert_screens("starting", &model(), OVERVIEW, &["starting", "q quit"]);
}

#[test]
fn devices_and_an_exposure_with_what_to_do() {
    let mut model = model();
    model.take(News::Told(Event::Rotated { is_new_key: false }), NOW);
    model.take(News::Assessed(Box::new(assessment(&[2], -60))), NOW);
    let devices = [(3, 41), (5, 58), (4, 71), (12, 90)].map(|(number, attenuation)| device(number, attenuation));
    model.take(seen(status(), devices.to_vec()), NOW);
    let words = [
        "tracing",
        "new identifier in 12:03",
        "12 encounters today",
        "Near now: 4",
        "device 3 immediate 41 dB",
        "high risk",
        "2020-10-20",
        "keep away from others, and ask your health authority for a test",
    ];
    assert_screens("exposed", &model, OVERVIEW, &words);
}

#[test]
fn with_servers_it_says_when_the_lists_were_seen_and_how_a_report_stands() {
    let mut setup = setup(Scanning::Continuous);
    (setup.started.keys, setup.started.server) = (None, Some("client.json".into()));
    let (mut model, _) = Model::new(setup, NOW);
    assert!(text(&model, OVERVIEW, 80, 24).contains("key lists: not seen yet"));
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    let list = |seen, next, applied, refused| List {
        seen_at: Some(NOW.before(minutes(seen))),
        next_poll: Some(NOW.after(minutes(next))),
        applied,
        refused,
        ..List::unseen("https://keys.example/index.txt")
    };
    let lists = vec![list(12, 190, 14, 0), list(3, 230, 1, 2)];
    let reports = vec![Report::new(NOW, &ReportState::WaitingUntil(NOW.after(minutes(11))), NOW)];
    model.take(News::Corresponded { lists, reports }, NOW);
    model.take(seen(status(), vec![]), NOW);
    let words =
        ["report: waits until 2020-10-22T11:11:00Z", "key lists: seen 12 min ago, next in 3 h; 15 files applied, 2 refused"];
    assert_screens("servers", &model, OVERVIEW, &words);
}

#[test]
fn a_bulletin_is_shown_with_its_age_figures_and_advice_and_in_full_on_the_other_page() {
    let mut model = model();
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    let day = |(at, value): (usize, f64)| Day { date: format!("2020-10-{:02}", at + 1), value };
    let values = [310.0, 340.0, 390.0, 420.0, 405.0, 460.0, 512.0].into_iter().enumerate().map(day).collect();
    let sheet = Sheet {
        serial: 7,
        region: "LU".into(),
        issued_at: NOW.before(minutes(300)),
        seen_at: NOW.before(minutes(12)),
        language: Some("fr".into()),
        figures: vec![Curve { name: "cases".into(), title: "Nouveaux cas".into(), unit: None, values }],
        advice: vec![Piece { title: "Aérer".into(), paragraphs: vec!["Ouvrez les fenêtres toutes les heures.".into()] }],
        wants_newer_program: true,
    };
    model.take(News::Bulletin(Box::new(sheet)), NOW);
    model.take(seen(status(), vec![]), NOW);
    assert_screens("bulletin", &model, OVERVIEW, &["12 encounters today"]);
    let wide = text(&model, OVERVIEW, 80, 24);
    for part in [
        "Bulletin: 5 h old, seen 12 min ago",
        "Nouveaux cas: 512 on 2020-10-07 ▁▂▄▅▄▆█",
        "Aérer",
        "a newer version of this program",
    ] {
        assert!(wide.contains(part), "{part} is not in\n{wide}");
    }
    let full = text(&model, Look { is_help: true, ..OVERVIEW }, 80, 60);
    assert!(full.contains("Ouvrez les fenêtres"), "{full}");
}

#[test]
fn without_an_adapter_the_reason_and_the_next_step_are_on_the_screen() {
    let mut model = model();
    let mut off = status();
    (off.is_sending, off.is_listening, off.next_rotation) = (false, false, None);
    off.radio_problem = Some(RadioError::NoMessageBus);
    model.take(News::Told(Event::RadioFailed(RadioError::NoMessageBus)), NOW);
    model.take(News::Assessed(Box::new(assessment(&[2], -60))), NOW);
    model.take(seen(off, vec![]), NOW);
    let problem = RadioError::NoMessageBus.to_string();
    assert_screens(
        "no_message_bus",
        &model,
        OVERVIEW,
        &["trouble", &problem, "does not send", "high risk", "keep away from others"],
    );
}

#[test]
fn what_works_less_well_is_told_or_pointed_to() {
    let (mut model, _) = Model::new(setup(Scanning::Periodic), NOW);
    let mut limited = status();
    limited.is_listening = false;
    limited.radio_limits = vec![Limit::FewerPackets, Limit::NoConnections];
    limited.clock_is_trusted = false;
    model.take(seen(limited.clone(), vec![]), NOW);
    assert_screens("limited", &model, OVERVIEW, &["tracing", "nobody yet; listens 4 s in 3.5 to 5 min"]);
    assert!(text(&model, OVERVIEW, 40, 12).contains("press ?"));

    // Scrolled through, all of it can be read on the small screen.
    let look = |scrolled| Look { is_help: true, scrolled, has_colors: false };
    let most = scrollable(&model, 40, 12);
    let pages: Vec<_> = (0..=most).map(|scrolled| text(&model, look(scrolled), 40, 12)).collect();
    let lines: Vec<_> = pages.iter().map(|page| page.lines().nth(1).unwrap().trim().to_owned()).collect();
    let all = lines.join(" ");
    for limit in &limited.radio_limits {
        assert!(all.contains(&limit.to_string()), "{limit} is not in {all}");
    }
    assert!(pages[most].contains("stopping") || pages[most].contains("radio:"), "the last page ends with the messages");
}

#[test]
fn paused_it_says_how_to_go_on() {
    let mut model = model();
    let mut paused = status();
    (paused.tracing, paused.is_sending, paused.is_listening, paused.next_rotation) = (Tracing::Paused, false, false, None);
    model.take(News::Told(Event::TracingChanged(Tracing::Paused)), NOW);
    model.take(seen(paused, vec![]), NOW);
    assert_screens("paused", &model, OVERVIEW, &["paused", "p go on", "does not send"]);
}

#[test]
fn the_other_page_explains_the_keys_and_the_words() {
    let mut model = model();
    model.take(seen(status(), vec![]), NOW);
    assert_screens("help", &model, Look { is_help: true, ..OVERVIEW }, &["q, Esc, Ctrl-C quit", "p pause", "? back"]);
}

#[test]
fn a_crowd_and_many_days_are_cut_and_say_so() {
    let mut model = model();
    model.take(News::Assessed(Box::new(assessment(&[1, 2, 3, 4, 5, 6], -60))), NOW);
    model.take(seen(status(), (1..100).map(|number| device(number, 50)).collect()), NOW);
    assert_screens("crowd", &model, OVERVIEW, &["Near now: 99", "and 5 more: press ?", "2020-10-21", "keep away from others"]);
    assert!(text(&model, OVERVIEW, 80, 24).contains(" more\n"));
}

#[test]
fn no_size_is_too_small_to_draw_and_no_curve_is_drawn_beside_the_screen() {
    let mut model = model();
    model.take(seen(status(), vec![device(u64::MAX, 255)]), NOW);
    for look in [OVERVIEW, Look { is_help: true, scrolled: 1_000, has_colors: true }] {
        for width in [1, 2, 13, 40, 200] {
            for height in 1..14 {
                drawn(&model, look, width, height);
            }
        }
    }
}

#[test]
fn there_are_colours_only_where_they_are_wanted() {
    let mut model = model();
    model.take(News::Told(Event::RadioFailed(RadioError::PoweredOff)), NOW);
    model.take(seen(status(), vec![device(1, 41)]), NOW);
    let is_plain = |look| {
        let terminal = drawn(&model, look, 80, 24);
        terminal.backend().buffer().content().iter().all(|cell| cell.style() == ratatui::buffer::Cell::EMPTY.style())
    };
    assert!(is_plain(OVERVIEW));
    assert!(!is_plain(Look { has_colors: true, ..OVERVIEW }));
}
