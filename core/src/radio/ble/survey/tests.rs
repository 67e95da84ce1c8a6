use super::*;
use dbus::arg::Variant;

fn properties(values: Vec<(&str, Box<dyn RefArg>)>) -> PropMap {
    values.into_iter().map(|(name, value)| (name.to_owned(), Variant(value))).collect()
}

/// An adapter as bluetoothd 5.66 shows it.
fn object(powered: bool, modalias: &str) -> HashMap<String, PropMap> {
    let adapter = properties(vec![
        ("Address", Box::new("00:AA:01:00:00:00".to_owned())),
        ("Powered", Box::new(powered)),
        ("Modalias", Box::new(modalias.to_owned())),
    ]);
    HashMap::from([("org.bluez.Adapter1".to_owned(), adapter)])
}

fn manager(active: u8, free: u8, is_extended: bool) -> PropMap {
    let mut manager = properties(vec![("ActiveInstances", Box::new(active)), ("SupportedInstances", Box::new(free))]);
    if is_extended {
        let channels = vec!["1M".to_owned(), "2M".to_owned()];
        manager.insert("SupportedSecondaryChannels".to_owned(), Variant(Box::new(channels)));
    }
    manager
}

#[test]
fn adapters_are_told_from_everything_else_that_bluetoothd_shows() {
    let mut complete = object(true, "usb:v1D6Bp0246d0542");
    complete.insert("org.bluez.LEAdvertisingManager1".to_owned(), manager(1, 2, true));
    complete.insert("org.bluez.AdvertisementMonitorManager1".to_owned(), PropMap::new());
    let mut legacy = object(true, "");
    legacy.insert("org.bluez.LEAdvertisingManager1".to_owned(), manager(0, 5, false));
    let device = HashMap::from([("org.bluez.Device1".to_owned(), PropMap::new())]);
    let objects: Objects = HashMap::from([
        ("/org/bluez".into(), HashMap::from([("org.bluez.AgentManager1".to_owned(), PropMap::new())])),
        ("/org/bluez/hci10".into(), object(false, "")),
        ("/org/bluez/hci2".into(), legacy),
        ("/org/bluez/hci0".into(), complete),
        ("/org/bluez/hci0/dev_00_AA_01_01_00_01".into(), device),
    ]);
    let named = |name: &str| Adapter { name: name.to_owned(), is_powered: true, ..Adapter::default() };
    assert_eq!(
        adapters(&objects),
        [
            Adapter {
                has_monitor: true,
                advertising: Some(Advertising { active: 1, free: 2, is_extended: true }),
                ..named("hci0")
            },
            Adapter { advertising: Some(Advertising { active: 0, free: 5, is_extended: false }), ..named("hci2") },
            Adapter { is_powered: false, ..named("hci10") },
        ]
    );
    assert!(!format!("{:?}", adapters(&objects)).contains("AA"), "no address");
}

#[test]
fn properties_of_another_type_are_as_if_they_were_not_there() {
    let mut object = object(true, "");
    object.insert("org.bluez.Adapter1".to_owned(), properties(vec![("Powered", Box::new("yes".to_owned()))]));
    object.insert("org.bluez.LEAdvertisingManager1".to_owned(), properties(vec![("ActiveInstances", Box::new(-1_i64))]));
    let found = adapter("/org/bluez/hci0", &object).unwrap();
    assert_eq!((found.is_powered, found.advertising), (false, Some(Advertising::default())));
}

#[test]
fn the_version_is_read_from_the_modalias_that_bluez_makes_and_from_no_other() {
    for (modalias, expected) in [
        ("usb:v1D6Bp0246d0542", Some((5, 66))),
        ("usb:v1D6Bp0246d0555", Some((5, 85))),
        ("usb:v1D6Bp0246d054", None),
        ("bluetooth:v1D6Bp0246d0542", None),
        ("usb:v05ACp0246d0542", None),
        ("usb:v1D6Bp0246d05420", None),
        ("usb:v1D6Bp0246dä", None),
        ("", None),
    ] {
        assert_eq!(version(&object(true, modalias)), expected, "{modalias}");
    }
}

#[test]
fn the_adapters_that_would_be_used_are_the_ones_named_or_the_first() {
    let used = |names: &[&str], adapter: Option<&str>, advertise_adapter: Option<&str>| {
        let mut adapters: Vec<_> = names.iter().map(|name| Adapter { name: (*name).to_owned(), ..Adapter::default() }).collect();
        let options = Options {
            adapter: adapter.map(str::to_owned),
            advertise_adapter: advertise_adapter.map(str::to_owned),
            ..Options::default()
        };
        assign(&mut adapters, &options);
        let one = |is: fn(&Adapter) -> bool| adapters.iter().find(|a| is(a)).map(|a| a.name.clone()).unwrap_or_default();
        (one(|a| a.hears), one(|a| a.sends))
    };
    let pair = |hears: &str, sends: &str| (hears.to_owned(), sends.to_owned());
    assert_eq!(used(&["hci0", "hci1"], None, None), pair("hci0", "hci0"));
    assert_eq!(used(&["hci1", "hci2"], None, None), pair("hci1", "hci1"));
    assert_eq!(used(&["hci0", "hci1"], Some("hci1"), None), pair("hci1", "hci1"));
    assert_eq!(used(&["hci0", "hci1"], None, Some("hci1")), pair("hci0", "hci1"));
    assert_eq!(used(&["hci0"], Some("hci7"), Some("hci0")), pair("", "hci0"));
    assert_eq!(used(&[], None, None), pair("", ""));
}

#[test]
fn errors_of_the_bus_are_told_apart() {
    for (name, expected) in [
        ("org.freedesktop.DBus.Error.FileNotFound", Access::Absent),
        ("org.freedesktop.DBus.Error.NoServer", Access::Absent),
        ("org.freedesktop.DBus.Error.ServiceUnknown", Access::Absent),
        ("org.freedesktop.DBus.Error.AccessDenied", Access::Refused),
        ("org.freedesktop.DBus.Error.NoReply", Access::Silent),
        ("org.bluez.Error.NotReady", Access::Silent),
    ] {
        assert_eq!(access(&dbus::Error::new_custom(name, "")), expected, "{name}");
    }
}

#[test]
fn the_kernel_tells_adapters_and_switches() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hci10", "hci2", "hci0", "hci0:64", "other"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    assert_eq!(kernel_adapters(folder.path()), ["hci0", "hci2", "hci10"]);
    assert_eq!(kernel_adapters(&folder.path().join("none")), Vec::<String>::new());

    let switch = |name: &str, kind: &str, soft: &str, hard: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in [("type", kind), ("soft", soft), ("hard", hard)] {
            fs::write(path.join(file), format!("{text}\n")).unwrap();
        }
    };
    switch("rfkill0", "wlan", "1", "1");
    switch("rfkill1", "bluetooth", "0", "0");
    assert_eq!(blocks(folder.path()), []);
    switch("rfkill2", "bluetooth", "1", "0");
    assert_eq!(blocks(folder.path()), [Block::Soft]);
    switch("rfkill1", "bluetooth", "0", "1");
    assert_eq!(blocks(folder.path()), [Block::Hard, Block::Soft]);
    assert_eq!(blocks(&folder.path().join("none")), []);
}
