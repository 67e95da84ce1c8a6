use super::super::finding::State;
use super::*;

const GIB: u64 = 1024 * MIB;

/// A store in order, on a disk with room.
fn good() -> Facts {
    let path = PathBuf::from("/data/ada/vigie");
    Facts {
        path: Ok(path.join("store.db")),
        is_default: true,
        look: Ok(Look::Sound { last_seen: Some("2026-11-22T12:00:00Z".parse().unwrap()) }),
        folder: Some(Folder { path, is_parent: true, is_writable: true, free: Some(3 * GIB) }),
        is_open_to_others: false,
    }
}

fn folder(change: impl Fn(&mut Folder)) -> Option<Folder> {
    let mut folder = good().folder.unwrap();
    change(&mut folder);
    Some(folder)
}

/// The one finding of a name.
fn told(facts: &Facts, about: &str) -> (State, String, String) {
    let mut findings = findings(facts);
    findings.retain(|finding| finding.about == about);
    assert_eq!(findings.len(), 1, "{about}: {findings:?}");
    let finding = findings.remove(0);
    assert_eq!(finding.next.is_none(), finding.state == State::Ok, "{finding:?}");
    (finding.state, finding.found, finding.next.unwrap_or_default())
}

#[test]
fn every_state_of_a_store_is_told_with_its_next_step() {
    let look = |look| Facts { look: Ok(look), ..good() };
    let refused = |error| Facts { look: Err(error), ..good() };
    let path = || PathBuf::from("x");
    for (facts, state, found, next) in [
        (good(), State::Ok, "in order, last in use at 2026-11-22T12:00:00Z", ""),
        (look(Look::Sound { last_seen: None }), State::Ok, "in order", ""),
        (look(Look::Nothing), State::Ok, "is not there yet", ""),
        (Facts { folder: folder(|f| f.is_parent = false), ..look(Look::Nothing) }, State::Ok, "is not there yet", ""),
        (
            Facts { folder: folder(|f| f.is_parent = false), is_default: false, ..look(Look::Nothing) },
            State::Bad,
            "the folder of /data/ada/vigie/store.db is not there",
            "mkdir -p /data/ada/vigie",
        ),
        (Facts { folder: folder(|f| f.is_writable = false), ..good() }, State::Bad, "may not write to /data/ada", "the owner"),
        (Facts { folder: None, ..good() }, State::Bad, "there is no folder", "--store DB"),
        (Facts { path: Err(anyhow::anyhow!("no home")), ..good() }, State::Bad, "no home", "--store DB"),
        (look(Look::InUse), State::Caution, "in use by another process", "nothing, if that is `vigie run`"),
        (look(Look::NotClosed), State::Caution, "was not closed", "`vigie run`"),
        (look(Look::Damaged), State::Bad, "is damaged", "saves own keys and alerts"),
        (refused(StoreError::NoPermission), State::Bad, "may not be read and written", "sudo chown"),
        (refused(StoreError::NotAVigieStore { path: path() }), State::Bad, "something else", "name another one"),
        (refused(StoreError::NewerVersion { found: 9, known: 2 }), State::Bad, "version 9", "newest version"),
        (refused(StoreError::Io { kind: std::io::ErrorKind::NotADirectory }), State::Bad, "could not be used", "--store DB"),
    ] {
        let told = told(&facts, "store");
        assert_eq!(told.0, state, "{told:?}");
        assert!(told.1.contains(found) && told.2.contains(next), "{found}, {next}: {told:?}");
    }
}

#[test]
fn a_disk_that_runs_full_is_told_before_it_is() {
    for (free, state) in [
        (3 * GIB, State::Ok),
        (256 * MIB, State::Ok),
        (256 * MIB - 1, State::Caution),
        (16 * MIB, State::Caution),
        (0, State::Bad),
    ] {
        let told = told(&Facts { folder: folder(|f| f.free = Some(free)), ..good() }, "disk");
        assert_eq!(told.0, state, "{told:?}");
        assert!(told.2.is_empty() || told.2.contains("free some space"), "{told:?}");
    }
    let unknown = Facts { folder: folder(|f| f.free = None), ..good() };
    assert!(findings(&unknown).iter().all(|finding| finding.about != "disk"), "what is not known is not told");
}

#[test]
fn a_store_that_others_may_read_is_told() {
    let told = told(&Facts { is_open_to_others: true, ..good() }, "store_permissions");
    assert_eq!(told.0, State::Caution);
    assert!(told.2.contains("chmod 600 /data/ada/vigie/store.db"), "{told:?}");
    assert!(findings(&good()).iter().all(|finding| finding.about != "store_permissions"));
}

#[test]
fn gathering_finds_the_nearest_folder_and_makes_none() {
    let place = tempfile::tempdir().unwrap();
    let facts = Facts::gather(Some(place.path().join("a/b/store.db")));
    let folder = facts.folder.unwrap();
    assert_eq!((folder.path.as_path(), folder.is_parent, folder.is_writable), (place.path(), false, true));
    assert!(!cfg!(unix) || folder.free.is_some());
    assert_eq!((facts.look, facts.is_open_to_others), (Ok(Look::Nothing), false));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "it made something");
}
