//! The operator's page.

use serde_json::json;
use vigie::courier::waitlist::{RecoveryCode, SealedForm};

use crate::browser::Browser;
use crate::desk::Desk;

pub(crate) async fn without_the_token_nothing_is_shown(browser: &Browser, desk: &Desk) {
    browser.driver.goto(desk.admin_url("/")).await.unwrap();
    browser.seen("token").await.send_keys("guessed").await.unwrap();
    browser.find("#key button").await.click().await.unwrap();
    browser.says("state", "The token is wrong.").await;
    assert!(!browser.is_seen("figures").await);
    browser.is_accessible("operator, before").await;
}

pub(crate) async fn figures_move_by_themselves(browser: &Browser, desk: &Desk) {
    let token = browser.seen("token").await;
    token.clear().await.unwrap();
    token.send_keys(desk.admin_token()).await.unwrap();
    browser.find("#key button").await.click().await.unwrap();
    browser.says("figures", "0, 0 in all").await;
    let shown = browser.text("figures").await;
    for title in [
        "Sign-ups a second",
        "Requests that wait, of this process",
        "Forms to be opened",
        "Mails to be sent",
        "Mails sent",
        "Numbers with different addresses",
        "Reports taken",
        "Key files published",
        "Requests refused",
        "Requests told to come again",
        "Errors",
    ] {
        assert!(shown.contains(title), "{title}: {shown}");
    }
    browser.is_accessible("operator").await;

    // One who sends something that is no form: taken in, and rejected later.
    let own = RecoveryCode::parse("0123456789ABCDEFGHJKJ").unwrap();
    let form = SealedForm { key_id: "v1".into(), encapsulated: [1; 32], sealed: vec![1; vigie::courier::waitlist::SEALED_LEN] };
    let request = reqwest::Client::new()
        .post(desk.url("/v1/waitlist"))
        .header("content-type", "application/json")
        .header("idempotency-key", own.operation_id().to_string())
        .body(json!({ "form": form, "secret_hash": own.secret().hash() }).to_string());
    assert_eq!(request.send().await.unwrap().status(), 201);
    browser.says("figures", "1 in all").await;
    let page = browser.driver.source().await.unwrap();
    assert!(!page.contains(&own.operation_id().to_string()) && page.contains("<polyline"), "figures and plots alone");
}
