//! With scripts: what happens while an answer is on its way.

use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::WindowHandle;
use vigie::courier::waitlist::{Language, RecoveryCode};

use crate::browser::Browser;
use crate::desk::{ADA, BOB, Desk, MOVED};
use crate::sealed_here::{keep_of_yesterday, kept, to_code};

const SIGN_UP: &str = "/v1/waitlist";
const CORRECT: &str = "/v1/waitlist/correct";
const STATUS: &str = "/v1/waitlist/status";

/// Answers at this address with this status, also where the server is asked first; and counts.
const ANSWER: &str = "const [address, status, isServerAsked] = arguments;
    const ask = window.fetch;
    window.answered = 0;
    window.fetch = async (asked, options) => {
        if (asked !== address) return ask.call(window, asked, options);
        window.answered += 1;
        if (isServerAsked) await ask.call(window, asked, options);
        return new Response('{}', { status });
    };";

/// Holds the answers at this address back until they are let go.
const HOLD: &str = "const [address] = arguments;
    const ask = window.fetch;
    window.fetch = async (asked, options) => {
        const answer = await ask.call(window, asked, options);
        if (asked === address) await new Promise((resolve) => { window.letGo = resolve; });
        return answer;
    };";

/// Waits until an answer is held back.
const HELD: &str = "const [done] = arguments;
    const again = () => (window.letGo ? done() : setTimeout(again, 20));
    again();";

/// Lets it go, and gives the page time to do with it what it does.
const LET_GO: &str = "const [done] = arguments;
    window.letGo();
    window.letGo = null;
    setTimeout(done, 1000);";

/// Longer than the first wait before a repeat.
const REPEATED: Duration = Duration::from_secs(4);

async fn answer(browser: &Browser, address: &str, status: u16, is_server_asked: bool) {
    browser.run(ANSWER, vec![json!(address), json!(status), json!(is_server_asked)]).await;
}

async fn answered(browser: &Browser) -> u64 {
    browser.run("return window.answered;", Vec::new()).await.as_u64().unwrap()
}

async fn hold(browser: &Browser, address: &str) {
    browser.run(HOLD, vec![json!(address)]).await;
}

async fn held(browser: &Browser) {
    browser.run_later(HELD, Vec::new()).await;
}

async fn let_go(browser: &Browser) {
    browser.run_later(LET_GO, Vec::new()).await;
}

/// The page anew, and one sign-up that is shown.
async fn with_one_kept(browser: &Browser, desk: &Desk) -> String {
    browser.open(desk, "/signup/en").await;
    let code = to_code(browser, &ADA).await;
    browser.click("send").await;
    browser.text("place").await;
    code
}

async fn status(browser: &Browser) -> String {
    browser.run("return document.getElementById('status').textContent;", Vec::new()).await.as_str().unwrap().to_owned()
}

async fn forget(browser: &Browser) {
    browser.click("forget").await;
    browser.says("status", "Nothing is kept").await;
}

async fn is_empty(browser: &Browser, case: &str) {
    browser.seen("start").await;
    assert_eq!(kept(browser).await, Vec::<Value>::new(), "{case}");
    assert!(!browser.is_seen("kept").await && !browser.is_seen("result").await, "{case}");
}

async fn look_at_kept(browser: &Browser, place: usize) {
    browser.find(&format!("#kept-list li:nth-child({place}) button")).await.click().await.unwrap();
}

pub(crate) async fn what_was_forgotten_before_the_answer_is_not_kept_again(browser: &Browser, desk: &Desk) {
    let then_forget = async |case: &str| {
        held(browser).await;
        forget(browser).await;
        let_go(browser).await;
        is_empty(browser, case).await;
        assert!(browser.text("status").await.contains("Nothing is kept"), "{case}");
    };
    with_one_kept(browser, desk).await;
    hold(browser, STATUS).await;
    browser.click("look").await;
    then_forget("a look").await;

    let cases = [
        ("a sign-up", None, SIGN_UP),
        ("a sign-up with other bytes", Some((422, true)), STATUS),
        ("a sign-up for a key that has gone", Some((409, false)), "/client.json"),
    ];
    for (case, instead, held) in cases {
        browser.open(desk, "/signup/en").await;
        to_code(browser, &BOB).await;
        if let Some((status, is_server_asked)) = instead {
            answer(browser, SIGN_UP, status, is_server_asked).await;
        }
        hold(browser, held).await;
        browser.click("send").await;
        then_forget(case).await;
    }
}

pub(crate) async fn another_window_forgets_too(browser: &Browser, desk: &Desk) {
    let first = browser.driver.window().await.unwrap();
    let switch = async |window: &WindowHandle| browser.driver.switch_to_window(window.clone()).await.unwrap();
    let code = with_one_kept(browser, desk).await;
    let second = browser.driver.new_tab().await.unwrap();

    // The other window shows it, and looks at it.
    switch(&second).await;
    browser.open(desk, "/signup/en").await;
    browser.text("place").await;
    hold(browser, STATUS).await;
    browser.click("look").await;
    held(browser).await;
    switch(&first).await;
    forget(browser).await;
    switch(&second).await;
    is_empty(browser, "shown").await;
    let_go(browser).await;
    is_empty(browser, "looked at").await;

    // The other window looks at what only its code is known of.
    browser.seen("recovery-code").await.send_keys(&code).await.unwrap();
    browser.find("#recover-form button").await.click().await.unwrap();
    held(browser).await;
    switch(&first).await;
    with_one_kept(browser, desk).await;
    forget(browser).await;
    switch(&second).await;
    let_go(browser).await;
    is_empty(browser, "looked at by its code").await;

    // The other window sends it again and again.
    to_code(browser, &BOB).await;
    answer(browser, SIGN_UP, 503, false).await;
    browser.click("send").await;
    browser.says("status", "Many people").await;
    switch(&first).await;
    browser.open(desk, "/signup/en").await;
    browser.text("place").await;
    forget(browser).await;
    switch(&second).await;
    is_empty(browser, "sent").await;
    let sent = answered(browser).await;
    tokio::time::sleep(REPEATED).await;
    assert_eq!((answered(browser).await, kept(browser).await.len()), (sent, 0), "not sent again");
    browser.driver.close_window().await.unwrap();
    switch(&first).await;
}

pub(crate) async fn a_page_that_comes_back_has_forgotten_too(browser: &Browser, desk: &Desk) {
    with_one_kept(browser, desk).await;
    browser.find("nav a[hreflang=de]").await.click().await.unwrap();
    browser.says("result-title", "Liste").await;
    browser.click("forget").await;
    browser.says("status", "nichts").await;
    browser.driver.back().await.unwrap();
    assert!(browser.driver.current_url().await.unwrap().path().ends_with("/en"));
    is_empty(browser, "back").await;
}

pub(crate) async fn a_sign_up_that_is_refused_behind_another_one_is_told_when_it_is_looked_at(browser: &Browser, desk: &Desk) {
    for (refusal, says) in [(400, "not taken"), (404, "no such sign-up"), (413, "not taken")] {
        with_one_kept(browser, desk).await;
        browser.click("another").await;
        let code = to_code(browser, &BOB).await;
        answer(browser, SIGN_UP, refusal, false).await;
        hold(browser, SIGN_UP).await;
        browser.click("send").await;
        held(browser).await;
        look_at_kept(browser, 1).await;
        let place = browser.text("place").await;
        let_go(browser).await;
        tokio::time::sleep(REPEATED).await;
        assert_eq!((answered(browser).await, browser.text("place").await), (1, place), "{refusal}: not sent again");
        let refused = kept(browser).await[1].clone();
        let own = RecoveryCode::parse(&code).unwrap();
        assert_eq!(
            refused,
            json!({ "name": refused["name"], "code": own.as_str(), "refused": refusal }),
            "and nothing else is kept"
        );

        look_at_kept(browser, 2).await;
        browser.says("status", says).await;
        assert_eq!(to_code(browser, &BOB).await, code, "the code that may be written down already stays");
        forget(browser).await;
    }
}

pub(crate) async fn a_correction_that_is_refused_behind_another_one_leaves_the_receipt(browser: &Browser, desk: &Desk) {
    with_one_kept(browser, desk).await;
    let (place, receipt) = (browser.text("place").await, kept(browser).await[0]["receipt"].clone());
    browser.click("another").await;
    to_code(browser, &BOB).await;
    browser.click("send").await;
    browser.text("place").await;
    look_at_kept(browser, 1).await;
    browser.click("correct").await;
    browser.fill_in(&MOVED).await;
    answer(browser, CORRECT, 404, false).await;
    hold(browser, CORRECT).await;
    browser.submit().await;
    held(browser).await;
    look_at_kept(browser, 2).await;
    let_go(browser).await;
    tokio::time::sleep(REPEATED).await;
    assert_eq!((answered(browser).await, status(browser).await), (1, String::new()), "not sent again, and nothing is said yet");

    look_at_kept(browser, 1).await;
    browser.says("status", "no such sign-up").await;
    assert_eq!((browser.text("place").await, &kept(browser).await[0]["receipt"]), (place, &receipt));
    browser.driver.refresh().await.unwrap();
    look_at_kept(browser, 1).await;
    browser.seen("correct").await;
    assert_eq!(status(browser).await, "");
    assert!(kept(browser).await.iter().all(|one| one["pending"].is_null() && one["refused"].is_null()), "it was told");
    forget(browser).await;
}

/// Its form has gone with the page of yesterday that sealed it, to a key of yesterday.
pub(crate) async fn a_sign_up_of_yesterday_that_is_refused_is_told_when_it_is_looked_at(browser: &Browser, desk: &Desk) {
    with_one_kept(browser, desk).await;
    let place = browser.text("place").await;
    browser.click("another").await;
    let code = to_code(browser, &BOB).await;
    keep_of_yesterday(browser, desk, &code, "vigie-sign-up 0".into()).await;
    browser.driver.refresh().await.unwrap();
    browser.says("kept-list", "Not accepted").await;
    assert_eq!((browser.text("place").await, status(browser).await), (place, String::new()));

    look_at_kept(browser, 1).await;
    browser.says("status", "Nothing was stored").await;
    assert_eq!(to_code(browser, &BOB).await, code, "the code that may be written down already stays");
    browser.click("send").await;
    browser.text("place").await;
    assert_eq!((kept(browser).await.len(), desk.opened(desk.sign_ups())), (2, BOB.form(Language::English)));
    forget(browser).await;
}
