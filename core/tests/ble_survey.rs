//! The survey against a real bluetoothd. It runs where `VIGIE_ADAPTERS` names the adapters that there are (`hci0,hci1`), and says that it was
//! skipped elsewhere. `VIGIE_EXPECT` lists what they have: `experimental`, `extended` (advertising), `privacy`; the first two where it is not set.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use vigie::radio::ble::{Access, Options, Privacy, survey};

#[test]
fn the_survey_tells_what_is_there() {
    let Ok(names) = std::env::var("VIGIE_ADAPTERS") else {
        eprintln!("skipped: VIGIE_ADAPTERS names no adapters");
        return;
    };
    let expected = std::env::var("VIGIE_EXPECT").unwrap_or_else(|_| "experimental,extended".to_owned());
    let has = |what: &str| expected.split(',').any(|word| word == what);
    let names: Vec<_> = names.split(',').collect();

    let options = Options { advertise_adapter: names.last().map(|name| (*name).to_owned()), ..Options::default() };
    let begin = Instant::now();
    let found = survey(&options);
    eprintln!("{found:#?}");
    assert!(begin.elapsed() < Duration::from_secs(30), "it has a time limit");

    assert_eq!((found.message_bus, found.service), (Access::Granted, Access::Granted));
    assert!(found.version >= Some((5, 66)), "{:?}", found.version);
    assert_eq!(found.adapters.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(found.hidden_adapters, Vec::<String>::new());
    assert_eq!(found.daemon.is_experimental, Some(has("experimental")));
    assert_eq!(found.daemon.privacy, Some(if has("privacy") { Privacy::Device } else { Privacy::Off }));
    assert_eq!(found.daemon.needs_restart, Some(false));
    assert_eq!(found.daemon.hides_address(), has("privacy"));
    for adapter in &found.adapters {
        let is_of = |name: Option<&&str>| name.is_some_and(|name| *name == adapter.name);
        assert_eq!((adapter.hears, adapter.sends), (is_of(names.first()), is_of(names.last())));
        assert!(adapter.is_powered);
        assert_eq!(adapter.has_monitor, has("experimental"));
        let advertising = adapter.advertising.unwrap_or_default();
        assert_eq!((advertising.active, advertising.is_extended), (0, has("extended")));
        assert!(advertising.free > 0);
    }
    assert!(!format!("{found:?}").to_lowercase().contains("00:aa:01"), "no address");
}
