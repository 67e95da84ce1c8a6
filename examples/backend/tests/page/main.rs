//! The sign-up page, and the operator's, in Debian's Chromium, driven by chromedriver: with scripts, without them, without X25519 and without a secure context.
//!
//! What the page sealed is opened here with the authority's key. axe-core comes from npm at the first run and is kept in the target folder. Where
//! chromium, chromedriver or npm is missing, the tests say that they are skipped, or fail where `CI` is set.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

mod browser;
#[path = "../common/skipped.rs"]
mod common;
mod desk;
mod meanwhile;
mod operator;
mod sealed_here;
mod sealed_on_arrival;

use browser::{Browser, Way};
use desk::Desk;

/// Browsers are heavy: one at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn with_scripts_the_browser_seals_and_every_repeat_is_the_same_bytes() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::Scripts).await else { return };
    sealed_here::mistakes_are_named_and_the_code_is_shown_before_anything_is_sent(&browser, &desk).await;
    sealed_here::a_double_click_a_reload_and_back_are_one_sign_up(&browser, &desk).await;
    sealed_here::a_second_person_gets_a_place_of_their_own(&browser, &desk).await;
    sealed_here::an_answer_that_was_lost_is_asked_for_with_the_same_bytes(&browser, &desk).await;
    sealed_here::other_bytes_show_the_first_receipt_which_can_be_corrected(&browser, &desk).await;
    sealed_here::with_the_code_alone_it_is_seen_and_withdrawn(&browser, &desk).await;
    sealed_here::a_receipt_that_was_signed_with_others_is_verified_and_no_other(&browser, &desk).await;
    browser.end().await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_come_again_or_has_no_network_waits_and_sends_the_same_bytes() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::BusyAtFirst).await else { return };
    sealed_here::busy_and_without_network_it_waits(&browser, &desk).await;
    browser.end().await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sealed_to_a_key_that_has_gone_keeps_the_code_and_is_on_the_list() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::OldKeyAtFirst).await else { return };
    sealed_here::a_form_for_a_key_that_has_gone_is_sealed_again(&browser, &desk).await;
    sealed_here::after_a_reload_it_is_filled_in_again_under_the_same_code(&browser, &desk).await;
    browser.end().await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_meanwhile_stays_forgotten_and_what_is_refused_meanwhile_is_told_later() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::Scripts).await else { return };
    meanwhile::what_was_forgotten_before_the_answer_is_not_kept_again(&browser, &desk).await;
    meanwhile::another_window_forgets_too(&browser, &desk).await;
    meanwhile::a_page_that_comes_back_has_forgotten_too(&browser, &desk).await;
    meanwhile::a_sign_up_that_is_refused_behind_another_one_is_told_when_it_is_looked_at(&browser, &desk).await;
    meanwhile::a_correction_that_is_refused_behind_another_one_leaves_the_receipt(&browser, &desk).await;
    meanwhile::a_sign_up_of_yesterday_that_is_refused_is_told_when_it_is_looked_at(&browser, &desk).await;
    browser.end().await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_page_shows_figures_live_and_to_nobody_without_the_token() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::Scripts).await else { return };
    operator::without_the_token_nothing_is_shown(&browser, &desk).await;
    operator::figures_move_by_themselves(&browser, &desk).await;
    browser.end().await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_seal_gets_a_form_that_the_server_seals() {
    let _turn = TURN.lock().await;
    for way in [Way::NoScripts, Way::NoX25519, Way::NotSecure] {
        let desk = Desk::open().await;
        let Some(browser) = Browser::start(way).await else { return };
        sealed_on_arrival::the_page_leads_to_the_form_and_mistakes_are_named(&browser, &desk).await;
        sealed_on_arrival::a_double_click_a_reload_and_back_are_one_sign_up(&browser, &desk).await;
        sealed_on_arrival::other_fields_show_the_first_receipt_and_two_ways_on(&browser, &desk).await;
        sealed_on_arrival::with_the_code_alone_it_is_seen_and_withdrawn(&browser, &desk).await;
        browser.end().await;
        desk.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_without_a_browser_is_known_and_answers_are_kept_by_nobody() {
    let desk = Desk::open().await;
    sealed_on_arrival::repeats_at_the_same_time_are_one_sign_up(&desk).await;
    sealed_on_arrival::a_correction_that_is_repeated_is_one(&desk).await;
    sealed_on_arrival::where_the_database_fails_the_form_and_its_code_stay(&desk).await;
    sealed_on_arrival::what_is_the_same_for_everybody_is_cacheable_and_nothing_else(&desk).await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_in_any_language() {
    let _turn = TURN.lock().await;
    let desk = Desk::open().await;
    let Some(browser) = Browser::start(Way::Scripts).await else { return };
    browser.open(&desk, "/signup").await;
    browser.is_accessible("languages").await;
    for language in ["fr", "de", "pt", "en"] {
        sealed_here::every_step_is_accessible(&browser, &desk, language).await;
        sealed_on_arrival::every_page_is_accessible(&browser, &desk, language).await;
    }
    browser.end().await;
    desk.close().await;
}
