use super::Desk;
#[cfg(feature = "http")]
use super::backend::Backend;

#[test]
fn without_arguments_it_plays_the_town_and_ends_with_a_plain_statement() {
    let desk = Desk::new();
    let told = desk.yes("");
    assert!(told.ends_with("Warning and truth agree.\n"), "{told}");
    assert!(!told.contains('\u{1b}'));
    assert_eq!(desk.yes("demo"), told, "the same seed is the same town");
}

#[test]
fn a_machine_reads_the_verdict_of_everybody() {
    let desk = Desk::new();
    let outcome: serde_json::Value = serde_json::from_str(&desk.yes("demo --seed 3 --people 12 --days 2 --json")).unwrap();
    assert_eq!(outcome["agrees"], true);
    assert_eq!(outcome["everybody"].as_array().unwrap().len(), 11);
}

#[test]
fn towns_that_cannot_be_are_refused() {
    let desk = Desk::new();
    for arguments in ["demo --people 1", "demo --days 0", "demo --days 7", "demo --seed minus"] {
        assert_eq!(desk.run(arguments).code, Some(2), "{arguments}");
    }
}

#[cfg(feature = "http")]
#[test]
fn with_a_server_the_keys_go_through_it_and_the_right_people_are_warned_each_time() {
    let desk = Desk::new();
    let backend = Backend::start(&desk);
    let admin = backend.admin();
    let play = format!("demo --people 8 --days 2 --server vigie-data/client.json --admin {admin}");
    let outcome: serde_json::Value = serde_json::from_str(&desk.yes(&format!("{play} --json"))).unwrap();
    assert_eq!(
        (&outcome["agrees"], &outcome["keys_of_patient"], &outcome["keys_published"]),
        (&true.into(), &2.into(), &2.into())
    );
    assert_eq!((&outcome["server"]["files"], &outcome["server"]["refused_files"]), (&1.into(), &0.into()));
    let everybody = outcome["everybody"].as_array().unwrap();
    assert!(everybody.iter().any(|person| person["relation"] == "contact" && person["warned"] == true), "{outcome}");

    let url = backend.public();
    let told =
        desk.yes(&format!("demo --people 8 --days 2 --server {url} --admin {admin} --admin-token vigie-data/keys/admin-token"));
    assert!(told.contains("reports 2 keys with a code") && told.contains("what is listed (2 files)"), "{told}");
    assert!(told.ends_with("Warning and truth agree.\n"), "{told}");
}

#[cfg(feature = "http")]
#[test]
fn with_a_server_whose_files_do_not_verify_warning_and_truth_disagree() {
    let desk = Desk::new();
    let backend = Backend::start(&desk);
    let mut client: serde_json::Value =
        serde_json::from_slice(&std::fs::read(desk.path("vigie-data/client.json")).unwrap()).unwrap();
    client["public_keys"][0]["pem"] = std::fs::read_to_string(desk.path("public.pem")).unwrap().into();
    std::fs::write(desk.path("other.json"), client.to_string()).unwrap();
    let admin = backend.admin();
    let token = "--admin-token vigie-data/keys/admin-token";
    let ran = desk.run(&format!("demo --people 8 --days 2 --server other.json --admin {admin} {token}"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.ends_with("Warning and truth DISAGREE.\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 key files cannot be used"), "{}", ran.stderr);
}

#[cfg(feature = "http")]
#[test]
fn a_server_that_cannot_be_used_is_told_before_the_town_is_played() {
    let desk = Desk::new();
    let backend = Backend::start(&desk);
    let (public, admin) = (backend.public(), backend.admin());
    let here = format!("demo --server {public}");
    desk.fails(&format!("demo --server vigie-data/client.json --admin {public}"), &["status 404", "next: --admin names"]);
    desk.fails(
        &format!("{here} --admin {admin} --admin-token nowhere"),
        &["there is no admin token nowhere", "next: name it: --admin-token"],
    );
    desk.fails(
        &format!("{here} --admin {admin} --admin-token public.pem"),
        &["does not take the token in public.pem", "next: name this backend's own"],
    );
    desk.fails(&format!("demo --admin {admin}"), &["--server"]);
    drop(backend);
    desk.fails(&here, &["cannot be fetched", "next: ", "cargo run --release -p vigie-backend"]);
    desk.fails(
        &format!("demo --server vigie-data/client.json --admin {admin}"),
        &["cannot be reached", "next: start the backend: cargo run --release -p vigie-backend"],
    );
}
