//! The whole server through HTTP: one suite, run over SQLite and PostgreSQL, a folder and a bucket.
//!
//! PostgreSQL 15 (`/usr/lib/postgresql/15/bin`) and an S3 server (`moto_server`) are started here, each in a folder of its own on a free port; where
//! one is not installed, its tests say that they are skipped, or fail where `CI` is set. `VIGIE_LOG=1` shows what the servers log.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod bulletin;
mod decoys;
mod files;
mod instances;
mod mails;
mod nginx;
mod phone;
mod place;
mod postgresql;
mod repeats;
mod reports;
mod schema;
mod story;
mod stranger;
mod waitlist;

use place::Place;

/// Everything that must hold, wherever the data lies.
async fn everything(place: &Place) {
    if std::env::var_os("VIGIE_LOG").is_some() {
        let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
    }
    reports::a_report_becomes_a_signed_file(place).await;
    reports::a_key_is_held_back_until_two_hours_after_its_end(place).await;
    reports::a_report_is_revised_only_by_its_device_and_only_once(place).await;
    reports::what_is_withdrawn_before_it_was_published_never_is(place).await;
    reports::types_of_test_are_given_to_those_who_can_handle_them(place).await;
    reports::a_large_batch_is_several_files(place).await;
    reports::after_fourteen_days_nothing_is_left(place).await;
    repeats::a_code_is_exchanged_again_only_under_its_idempotency_key(place).await;
    repeats::a_token_is_certified_again_only_for_its_hmac(place).await;
    repeats::a_report_is_answered_again_as_it_was_at_first(place).await;
    repeats::nothing_that_is_kept_for_repeats_shows_what_was_sent(place).await;
    decoys::a_decoy_uses_nothing_up(place).await;
    bad_input::what_is_wrong_is_refused_with_its_code_and_not_repeated(place).await;
    bad_input::certificates_that_others_made_are_refused(place).await;
    bad_input::keys_that_cannot_be_are_dropped(place).await;
    bad_input::only_wrong_codes_count_and_a_right_one_passes(place).await;
    files::an_instance_that_was_slow_replaces_no_newer_index(place).await;
    files::a_file_that_vanished_is_written_again(place).await;
    files::a_file_whose_keys_are_erased_is_not_written_again(place).await;
    waitlist::who_signs_up_gets_a_receipt_and_the_same_one_for_ever(place).await;
    waitlist::while_there_is_no_database_everybody_is_told_when_to_come_again(place).await;
    waitlist::a_receiver_takes_in_what_only_the_opener_can_read(place).await;
    waitlist::its_owner_sees_corrects_and_withdraws_a_sign_up_and_nobody_else(place).await;
    waitlist::what_is_no_sign_up_is_refused_and_not_repeated(place).await;
    waitlist::an_operator_sees_figures_and_nobody_without_the_token_does(place).await;
    bulletin::what_is_published_reaches_a_phone_and_what_has_not_changed_is_not_sent_again(place).await;
    stranger::nobody_learns_who_is_on_the_list(place).await;
    story::one_reports_and_the_other_is_warned(place).await;
    story::every_answer_is_lost_once_and_nothing_is_published_twice(place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_a_folder() {
    everything(&Place::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_and_a_folder() {
    if let Some(place) = Place::sqlite().with_postgresql() {
        everything(&place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_a_bucket() {
    if let Some(place) = Place::sqlite().with_bucket().await {
        everything(&place).await;
    }
}
