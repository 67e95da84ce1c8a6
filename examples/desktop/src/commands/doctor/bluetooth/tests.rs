use std::path::PathBuf;

use vigie::radio::ble::Advertising;

use super::*;

/// A machine on which everything is as it should be.
fn good() -> Survey {
    let mut survey = Survey::default();
    (survey.message_bus, survey.service, survey.version) = (Access::Granted, Access::Granted, Some((5, 66)));
    survey.daemon.program = Some(PathBuf::from(DEFAULT_PROGRAM));
    survey.daemon.config = Some(PathBuf::from(DEFAULT_CONFIG));
    survey.daemon.is_experimental = Some(true);
    survey.daemon.privacy = Some(Privacy::Device);
    survey.daemon.needs_restart = Some(false);
    survey.adapters = vec![adapter("hci0")];
    survey
}

fn adapter(name: &str) -> Adapter {
    Adapter {
        name: name.to_owned(),
        is_powered: true,
        hears: true,
        sends: true,
        has_monitor: true,
        advertising: Some(Advertising { active: 0, free: 3, is_extended: true }),
    }
}

fn advertising(active: u8, free: u8, is_extended: bool) -> impl Fn(&mut Survey) {
    move |survey| survey.adapters[0].advertising = Some(Advertising { active, free, is_extended })
}

/// The one finding that is not ok after a change to the good machine: what it is about, what was found, the next step.
fn told(change: impl Fn(&mut Survey)) -> Finding {
    told_with(change, &Options::default())
}

fn told_with(change: impl Fn(&mut Survey), options: &Options) -> Finding {
    let mut survey = good();
    change(&mut survey);
    let mut findings = findings(&survey, options);
    findings.retain(|finding| finding.state != State::Ok);
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.remove(0)
}

fn is(finding: &Finding, state: State, about: &str, found: &str, next: &str) {
    assert_eq!((finding.state, finding.about), (state, about), "{finding:?}");
    assert!(finding.found.contains(found), "{found} is not in {}", finding.found);
    assert!(!finding.found.contains('\n'), "{finding:?}");
    let told = finding.next.as_deref().unwrap_or_default();
    assert!(told.contains(next), "{next} is not in {told}");
}

#[test]
fn a_machine_in_order_has_nothing_to_do() {
    let findings = findings(&good(), &Options::default());
    let about: Vec<_> = findings.iter().map(|finding| finding.about).collect();
    assert_eq!(about, ["message_bus", "bluetoothd", "permissions", "experimental", "privacy", "adapter", "sending"]);
    assert!(findings.iter().all(|finding| finding.state == State::Ok && finding.next.is_none()), "{findings:?}");
    assert!(findings[1].found.contains("5.66") && findings[5].found.contains("hci0 is on; it listens and sends"));
}

#[test]
fn a_message_bus_that_does_not_answer_is_the_only_thing_told() {
    for (access, found, next) in [
        (Access::Absent, "does not run", "sudo systemctl start dbus"),
        (Access::Refused, "refuses this user", "as another user"),
        (Access::Silent, "does not answer", "restart the machine"),
        (Access::Unknown, "does not answer", "restart the machine"),
    ] {
        let finding = told(|survey| {
            *survey = {
                let mut s = Survey::default();
                s.message_bus = access;
                s
            }
        });
        is(&finding, State::Bad, "message_bus", found, next);
    }
}

#[test]
fn a_service_that_does_not_answer_is_told_with_what_starts_it() {
    let without = |access| {
        told(move |survey| {
            *survey = Survey::default();
            (survey.message_bus, survey.service) = (Access::Granted, access);
        })
    };
    is(&without(Access::Absent), State::Bad, "bluetoothd", "does not run", "sudo systemctl start bluetooth");
    is(&without(Access::Silent), State::Bad, "bluetoothd", "does not answer", "sudo systemctl restart bluetooth");
}

#[test]
fn a_user_without_permission_is_told_the_group() {
    let mut survey = Survey::default();
    (survey.message_bus, survey.service) = (Access::Granted, Access::Refused);
    let findings = findings(&survey, &Options::default());
    is(&findings[1], State::Bad, "bluetoothd", "this user", "see permissions");
    is(&findings[2], State::Bad, "permissions", "denies access", "--groups bluetooth");
    assert_eq!(findings.len(), 3);
}

#[test]
fn a_version_that_was_not_tried_is_a_caution() {
    is(&told(|s| s.version = Some((5, 50))), State::Caution, "bluetoothd", "version 5.50", "update BlueZ");
    for version in [None, Some((5, 85)), Some((6, 0))] {
        let mut survey = good();
        survey.version = version;
        assert_eq!(service(survey.service, survey.version).state, State::Ok, "{version:?}");
    }
}

#[test]
fn without_experimental_the_consequence_and_the_line_are_told() {
    let without = |configured: Option<bool>, restart: Option<bool>| {
        move |survey: &mut Survey| {
            survey.adapters[0].has_monitor = false;
            survey.daemon.is_experimental = configured;
            survey.daemon.needs_restart = restart;
            if restart != Some(false) {
                // Then privacy has its own finding, which is not meant here.
                survey.daemon.privacy = None;
            }
        }
    };
    let plain = told(without(Some(false), Some(false)));
    is(&plain, State::Caution, "experimental", "once in 10 s", "below [General], add the line\n  Experimental = true");
    assert!(plain.found.contains("1280 ms instead of 200 to 270 ms"), "{}", plain.found);
    is(&plain, State::Caution, "experimental", "without --experimental", "in /etc/bluetooth/main.conf");
    is(&plain, State::Caution, "experimental", "", "sudo systemctl restart bluetooth");

    let old = |survey: &mut Survey| {
        without(Some(false), Some(false))(survey);
        survey.version = None;
    };
    let unit = "sudo systemctl edit bluetooth, with these lines:\n  [Service]\n  ExecStart=\n  ExecStart=/usr/libexec/bluetooth/bluetoothd --experimental";
    is(&told(old), State::Caution, "experimental", "", unit);
    is(&told(without(Some(true), Some(false))), State::Caution, "experimental", "no adapter offers", "update the kernel");

    let mut survey = good();
    without(Some(true), Some(true))(&mut survey);
    is(&experimental(&survey), State::Caution, "experimental", "changed after bluetoothd started", "systemctl restart bluetooth");
    without(None, None)(&mut survey);
    is(&experimental(&survey), State::Caution, "experimental", "without --experimental", "Experimental = true");
    survey.adapters.clear();
    is(&experimental(&survey), State::Caution, "experimental", "is not known", "plug in an adapter");
    survey.daemon.is_experimental = Some(true);
    survey.daemon.needs_restart = Some(false);
    assert_eq!(experimental(&survey).state, State::Ok);
}

#[test]
fn privacy_that_is_not_in_force_is_told_with_its_line_or_the_restart() {
    for (privacy, text) in [
        (Privacy::Off, "`Privacy` is off in"),
        (Privacy::Network, "`Privacy` is network in"),
        (Privacy::LimitedDevice, "`Privacy` is limited-device in"),
        (Privacy::LimitedNetwork, "`Privacy` is limited-network in"),
    ] {
        let finding = told(|survey| survey.daemon.privacy = Some(privacy));
        is(
            &finding,
            State::Caution,
            "privacy",
            text,
            "in /etc/bluetooth/main.conf, below [General], add the line\n  Privacy = device\n",
        );
        is(
            &finding,
            State::Caution,
            "privacy",
            "phones that cannot send service data",
            "and then: sudo systemctl restart bluetooth",
        );
    }
    let changed = told(|survey| survey.daemon.needs_restart = Some(true));
    is(&changed, State::Caution, "privacy", "is not in force", "sudo systemctl restart bluetooth");
    is(&told(|survey| survey.daemon.needs_restart = None), State::Caution, "privacy", "not known", "/proc");

    let elsewhere = told(|survey| survey.daemon.privacy = None);
    is(&elsewhere, State::Caution, "privacy", "main.conf.d", "let all read /etc/bluetooth/main.conf");
    let own_build = told(|survey| (survey.daemon.privacy, survey.daemon.config) = (None, None));
    is(&own_build, State::Caution, "privacy", "which configuration", "--configfile=/etc/bluetooth/main.conf");
    let hidden = told(|survey| survey.daemon = Daemon::default());
    is(&hidden, State::Caution, "privacy", "the process of bluetoothd cannot be seen", "outside a container");
}

#[test]
fn privacy_on_an_adapter_without_extended_advertising_is_told_with_the_line_to_remove() {
    let legacy = told(advertising(0, 3, false));
    is(&legacy, State::Bad, "privacy", "hci0 keeps its address longer than an identifier", "remove the line");
    let mut survey = good();
    advertising(0, 3, false)(&mut survey);
    survey.daemon.privacy = Some(Privacy::Off);
    assert!(
        findings(&survey, &Options::default()).iter().all(|finding| finding.about != "privacy" || finding.state == State::Ok)
    );
}

#[test]
fn no_adapter_is_told_with_its_reason() {
    let none = |block: Option<Block>, hidden: &'static [&'static str]| {
        told(move |survey| {
            survey.adapters.clear();
            survey.blocks = block.into_iter().collect();
            survey.hidden_adapters = hidden.iter().map(|name| (*name).to_owned()).collect();
        })
    };
    is(&none(None, &[]), State::Bad, "adapter", "there is no Bluetooth adapter", "plug one in");
    is(&none(None, &["hci0"]), State::Bad, "adapter", "the kernel has hci0", "systemctl restart bluetooth");
    is(&none(Some(Block::Soft), &["hci0"]), State::Bad, "adapter", "airplane mode", "rfkill unblock bluetooth");
    is(&none(Some(Block::Hard), &[]), State::Bad, "adapter", "a switch of this machine", "turn the switch");
}

#[test]
fn an_adapter_that_is_off_is_told_with_what_switches_it_on() {
    is(&told(|s| s.adapters[0].is_powered = false), State::Bad, "adapter", "hci0 is off", "bluetoothctl power on");
    let of_two = told(|survey| {
        survey.adapters =
            vec![Adapter { sends: false, ..adapter("hci0") }, Adapter { is_powered: false, hears: false, ..adapter("hci1") }];
    });
    is(
        &of_two,
        State::Bad,
        "adapter",
        "hci1 is off",
        "busctl set-property org.bluez /org/bluez/hci1 org.bluez.Adapter1 Powered b true",
    );
    let blocked = told(|survey| {
        survey.adapters[0].is_powered = false;
        survey.blocks = vec![Block::Soft];
    });
    is(&blocked, State::Bad, "adapter", "rfkill", "rfkill unblock bluetooth");
    let unused =
        |survey: &mut Survey| survey.adapters.push(Adapter { is_powered: false, hears: false, sends: false, ..adapter("hci1") });
    let mut survey = good();
    unused(&mut survey);
    assert!(findings(&survey, &Options::default()).iter().all(|f| f.state == State::Ok), "what is not used may be off");
}

#[test]
fn adapters_that_are_not_there_are_told_with_those_that_are() {
    let options = Options { adapter: Some("hci7".to_owned()), ..Options::default() };
    let named = |survey: &mut Survey| {
        survey.adapters = vec![
            Adapter { hears: false, sends: false, ..adapter("hci0") },
            Adapter { hears: false, sends: false, ..adapter("hci1") },
        ];
    };
    is(&told_with(named, &options), State::Bad, "adapter", "there is no adapter hci7", "name another one: hci0, hci1");
    let hidden = told(|survey| survey.hidden_adapters = vec!["hci1".to_owned()]);
    is(&hidden, State::Caution, "adapter", "the kernel has hci1", "systemctl restart bluetooth");
}

#[test]
fn what_an_adapter_sends_less_well_is_told() {
    let none = told(|survey| survey.adapters[0].advertising = None);
    is(&none, State::Bad, "sending", "hci0 cannot advertise", "--advertise-adapter");
    is(
        &told(advertising(1, 2, true)),
        State::Caution,
        "sending",
        "another program advertises on hci0",
        "bluetoothctl advertise off",
    );
    is(&told(advertising(0, 0, true)), State::Bad, "sending", "no room", "--advertise-adapter");

    let mut survey = good();
    advertising(1, 4, false)(&mut survey);
    let findings = findings(&survey, &Options::default());
    let crowded = findings.iter().find(|finding| finding.found.contains("another program")).unwrap();
    is(crowded, State::Caution, "sending", "changes addresses", "end the other program");
}
