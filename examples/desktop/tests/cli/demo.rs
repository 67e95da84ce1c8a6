use super::Desk;

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
