use super::*;

/// As Debian 12 ships it, cut.
const DEBIAN: &str = "[General]\n\n# Default adapter name\n# Defaults to 'BlueZ X.YZ'\n#Name = BlueZ\n\n# Default privacy setting.\n\
    # - network/on: A device will only accept advertising packets from peer\n# Defaults to \"off\"\n#Privacy = off\n\n\
    # Enables D-Bus experimental interfaces\n# Possible values: true or false\n#Experimental = false\n\n\
    [BR]\n#PageScanType=\n\n[Policy]\n#ReconnectAttempts=7\nAutoEnable=true\n";

fn arguments(line: &str) -> Arguments {
    let mut cmdline = line.replace(' ', "\0").into_bytes();
    cmdline.push(0);
    Arguments::parse(&cmdline).unwrap()
}

fn main_conf(text: &str) -> (Privacy, Option<bool>) {
    let settings = Settings::parse(text);
    (settings.privacy, settings.is_experimental)
}

#[test]
fn experimental_is_found_however_it_is_written() {
    for (line, is_experimental) in [
        ("/usr/libexec/bluetooth/bluetoothd", false),
        ("/usr/libexec/bluetooth/bluetoothd --experimental", true),
        ("/usr/libexec/bluetooth/bluetoothd --noplugin=sap -E", true),
        ("/usr/lib/bluetooth/bluetoothd -nE -d", true),
        ("/usr/lib/bluetooth/bluetoothd --experimental=d4992530-b9ec-469f-ab01-6c481c47da1c", true),
        ("/usr/lib/bluetooth/bluetoothd --debug -C", false),
        ("/usr/lib/bluetooth/bluetoothd --noplugin --experimental", false),
        ("/usr/lib/bluetooth/bluetoothd -nP -E", false),
        ("/usr/lib/bluetooth/bluetoothd -- -E", false),
        ("/usr/lib/bluetooth/bluetoothd --experimentally", false),
        ("/usr/lib/bluetooth/bluetoothd -f /etc/Extra.conf", false),
    ] {
        assert_eq!(arguments(line).is_experimental, is_experimental, "{line}");
    }
}

#[test]
fn the_configuration_is_where_it_was_started_with_or_unknown() {
    for (line, config) in [
        ("/usr/libexec/bluetooth/bluetoothd -n", Some("/etc/bluetooth/main.conf")),
        ("/nix/store/1-bluez/libexec/bluetooth/bluetoothd -f /etc/bluetooth/other.conf -E", Some("/etc/bluetooth/other.conf")),
        ("/usr/libexec/bluetooth/bluetoothd -nf /etc/b.conf", Some("/etc/b.conf")),
        ("/usr/libexec/bluetooth/bluetoothd --configfile=/etc/b.conf", Some("/etc/b.conf")),
        ("/usr/libexec/bluetooth/bluetoothd --configfile /etc/b.conf", Some("/etc/b.conf")),
        ("/usr/libexec/bluetooth/bluetoothd --configfile b.conf", None),
        ("/usr/local/libexec/bluetooth/bluetoothd", None),
        ("./bluetoothd -n", None),
    ] {
        assert_eq!(arguments(line).config_path().as_deref(), config.map(Path::new), "{line}");
    }
}

#[test]
fn another_process_under_the_same_number_is_not_taken_for_bluetoothd() {
    for cmdline in [&b""[..], b"\0", b"/usr/bin/bash\0-E\0", b"/usr/bin/vi\0/etc/bluetoothd\0", b"\xFF\xFE"] {
        assert_eq!(Arguments::parse(cmdline), None, "{cmdline:?}");
    }
    assert_eq!(Daemon::of_process(std::process::id()), Daemon::default());
    assert_eq!(Daemon::of_process(u32::MAX), Daemon::default());
}

#[test]
fn privacy_is_read_as_bluez_reads_it() {
    assert_eq!(main_conf(DEBIAN), (Privacy::Off, None));
    assert_eq!(main_conf(&DEBIAN.replace("#Privacy = off", "Privacy = device")), (Privacy::Device, None));
    for (text, expected) in [
        ("[General]\nPrivacy=device", Privacy::Device),
        ("[General]\r\nPrivacy = device\r\n", Privacy::Device),
        (" [General]\t\n\tPrivacy\t=\tdevice \n", Privacy::Device),
        ("[General]\nPrivacy = network", Privacy::Network),
        ("[General]\nPrivacy = on", Privacy::Network),
        ("[General]\nPrivacy = limited-device", Privacy::LimitedDevice),
        ("[General]\nPrivacy = limited-network", Privacy::LimitedNetwork),
        ("[General]\nPrivacy = off", Privacy::Off),
        ("[General]\nPrivacy =", Privacy::Off),
        ("[General]\nPrivacy = Device", Privacy::Off),
        ("[General]\nPrivacy = \"device\"", Privacy::Off),
        ("[General]\nPrivacy = device # for vigie", Privacy::Off),
        ("[General]\nprivacy = device", Privacy::Off),
        ("[General]\nPrivacy = device\nPrivacy = off", Privacy::Off),
        ("[General]\nPrivacy = off\n[LE]\n[General]\nPrivacy = device", Privacy::Device),
        ("[LE]\nPrivacy = device", Privacy::Off),
        ("[LE]\n#[General]\nPrivacy = device", Privacy::Off),
    ] {
        assert_eq!(main_conf(text).0, expected, "{text:?}");
    }
}

#[test]
fn one_line_that_is_none_makes_the_whole_file_void() {
    let good = "[General]\nPrivacy = device\nExperimental = true\n";
    assert_eq!(main_conf(good), (Privacy::Device, Some(true)));
    for line in ["; a comment of other programs", "Privacy", "= device", "[LE", "[LE] # more"] {
        assert_eq!(main_conf(&format!("{good}{line}\n")), (Privacy::Off, None), "{line}");
    }
    assert_eq!(main_conf("Privacy = device\n[General]\n"), (Privacy::Off, None), "before any group");
    assert_eq!(main_conf(&String::from_utf8_lossy(&[0xFF; 100])), (Privacy::Off, None));
}

#[test]
fn experimental_may_stand_in_the_file() {
    for (value, expected) in [("true", Some(true)), ("1", Some(true)), ("false", Some(false)), ("0", Some(false)), ("yes", None)]
    {
        assert_eq!(main_conf(&format!("[General]\nExperimental = {value}\n")).1, expected, "{value}");
    }
}

#[test]
fn only_privacy_device_that_is_surely_in_force_hides_the_address() {
    use Privacy::*;
    for privacy in [None, Some(Off), Some(Device), Some(Network), Some(LimitedDevice), Some(LimitedNetwork)] {
        for needs_restart in [None, Some(true), Some(false)] {
            let hides = Daemon { privacy, needs_restart, ..Daemon::default() }.hides_address();
            assert_eq!(hides, (privacy, needs_restart) == (Some(Device), Some(false)), "{privacy:?} {needs_restart:?}");
        }
    }
}

#[test]
fn the_start_of_a_process_is_found_behind_any_name() {
    let rest = "S 1 612 612 0 -1 4194560 1183 0 4 0 7 5 0 0 20 0 1 0 1742 10604544 1534 18446744073709551615 1 1 0";
    for name in ["bluetoothd", "a) S 1 (b", "\u{fffd} 9 9"] {
        assert_eq!(ticks_at_start(format!("612 ({name}) {rest}\n").as_bytes()), Some(1742), "{name}");
    }
    for broken in [
        "",
        "612 (bluetoothd",
        "612 (bluetoothd)",
        "612 (bluetoothd) S 1 612",
        "612 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x",
    ] {
        assert_eq!(ticks_at_start(broken.as_bytes()), None, "{broken}");
    }
    // This process has not run for a year, and not for less than nothing.
    let own = age(ticks_at_start(&read(Path::new("/proc/self/stat")).unwrap()).unwrap());
    assert!(own < Duration::from_secs(365 * 24 * 3600), "{own:?}");
    assert!(age(0) > own, "since boot");
}

#[test]
fn a_change_after_the_start_is_seen_whatever_time_the_file_claims() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main.conf");
    assert_eq!(read_config(&path).unwrap(), (Settings::DEFAULT, None), "no file is no error");

    fs::write(&path, "[General]\nPrivacy = device\n").unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(86_400)).unwrap();
    let (settings, changed) = read_config(&path).unwrap();
    assert_eq!(settings.privacy, Privacy::Device);
    let (since_change, since_boot) = (SystemClock.now().since(changed.unwrap()), age(0));
    assert!(since_change < since_boot, "changed {since_change:?} ago, booted {since_boot:?} ago");
}

#[test]
fn files_beside_the_configuration_make_it_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main.conf");
    assert!(!has_more_files(&path));
    fs::create_dir(folder.path().join("main.conf.d")).unwrap();
    fs::write(folder.path().join("main.conf.d/README"), "").unwrap();
    assert!(!has_more_files(&path));
    fs::write(folder.path().join("main.conf.d/50-privacy.conf"), "[General]\nPrivacy = off\n").unwrap();
    assert!(has_more_files(&path));
}

#[test]
fn a_file_is_read_to_its_bound_and_no_further() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main.conf");
    let mut text = b"[General]\nPrivacy = device\n".to_vec();
    text.resize(MAX_FILE_LEN as usize, b'\n');
    fs::write(&path, &text).unwrap();
    assert_eq!(read_config(&path).unwrap().0.privacy, Privacy::Device);
    text.push(b'\n');
    fs::write(&path, &text).unwrap();
    assert_eq!(read_config(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}
