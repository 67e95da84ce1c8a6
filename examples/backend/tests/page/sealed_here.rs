//! With scripts: the browser seals.

use serde_json::{Value, json};
use vigie::courier::waitlist::{Language, OperationId, Receipt, ReceiptSigner, RecoveryCode};

use crate::browser::Browser;
use crate::desk::{ADA, BOB, Desk, MOVED, Person};

const KEPT: &str =
    "return Object.keys(localStorage).sort().map((name) => ({ name, ...JSON.parse(localStorage.getItem(name)) }));";
pub(crate) const KEEP: &str = "const { name, ...known } = arguments[0]; localStorage.setItem(name, JSON.stringify(known));";

const READ: &str = "const [receipts, keys, done] = arguments;
    import('/signup/sealing.js')
        .then(({ readReceipt }) => Promise.all(receipts.map((receipt) => readReceipt(receipt, keys))))
        .then(done, (error) => done(String(error)));";

pub(crate) async fn kept(browser: &Browser) -> Vec<Value> {
    browser.run(KEPT, Vec::new()).await.as_array().unwrap().clone()
}

/// Fills the form in and goes on to the code; returns it.
pub(crate) async fn to_code(browser: &Browser, person: &Person) -> String {
    browser.fill_in(person).await;
    browser.submit().await;
    browser.text("code").await
}

pub(crate) async fn mistakes_are_named_and_the_code_is_shown_before_anything_is_sent(browser: &Browser, desk: &Desk) {
    browser.open(desk, "/signup").await;
    browser.find("main a[hreflang=fr]").await.click().await.unwrap();
    browser.seen("form").await;
    assert!(!browser.is_seen("without").await);
    browser.submit().await;
    browser.seen("errors").await;
    assert_eq!(browser.focus().await, "errors");
    for field in ["national_number", "name", "birth_year", "contact", "consent"] {
        browser.seen(&format!("{field}-error")).await;
    }
    browser.find("#errors a[href='#contact']").await.click().await.unwrap();
    assert_eq!(browser.focus().await, "contact");
    to_code_of_wrong_number(browser).await;

    let code = to_code(browser, &ADA).await;
    assert!(RecoveryCode::parse(&code).is_ok(), "{code}");
    assert_eq!(browser.focus().await, "code-title");
    assert_eq!((desk.sign_ups(), kept(browser).await.len()), (0, 0), "nothing was sent yet, and nothing kept");
    browser.click("change").await;
    assert_eq!(to_code(browser, &ADA).await, code, "the code that may be written down already stays");
}

/// A crowd shares signatures, and the page meets no crowd here.
pub(crate) async fn a_receipt_that_was_signed_with_others_is_verified_and_no_other(browser: &Browser, desk: &Desk) {
    browser.open(desk, "/signup").await;
    // PKCS#8 of RFC 8410, and a seed.
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let signer = ReceiptSigner::from_pkcs8("v7", &[&head[..], &[7; 32]].concat()).unwrap();
    let receipt = |place| Receipt {
        key_id: "v7".into(),
        operation_id: OperationId([place as u8; 16]),
        place,
        received_s: 1,
        form_hash: [place as u8; 32],
    };
    let receipts: Vec<Receipt> = (1..=11).map(receipt).collect();
    let proofs = signer.prove(&receipts);
    let mut texts: Vec<String> = receipts.iter().zip(&proofs).map(|(receipt, proof)| receipt.to_text(proof)).collect();
    texts.push(receipts[0].to_text(&proofs[1]));
    texts.push(receipts[0].to_text(&[&proofs[0][..], &[0; 64]].concat()));
    texts.push(format!("{}.AA", texts[0]));
    let keys = json!([{ "key_id": "v7", "public_key": signer.public_text() }]);
    let read = browser.run_later(READ, vec![json!(texts), keys]).await;
    let read = read.as_array().unwrap_or_else(|| panic!("{read}"));
    for (place, says) in (1..=11).zip(read) {
        assert_eq!((&says["place"], &says["isVerified"]), (&json!(place), &json!(true)));
    }
    assert_eq!(
        read[11..],
        [Value::Null, Value::Null, Value::Null],
        "the proof of another, a longer one, and something behind it"
    );
}

async fn to_code_of_wrong_number(browser: &Browser) {
    browser.fill_in(&Person { number: "1893120105731", ..ADA }).await;
    browser.submit().await;
    browser.seen("national_number-error").await;
    assert!(!browser.is_seen("contact-error").await && !browser.is_seen("code").await);
    described(browser).await;
}

/// What a screen reader adds to a field: the hint, and the mistake where there is one.
pub(crate) async fn described(browser: &Browser) {
    for (field, by) in [("national_number", "national_number-hint national_number-error"), ("contact", "contact-hint")] {
        let field = browser.seen(field).await;
        assert_eq!(field.attr("aria-describedby").await.unwrap().as_deref(), Some(by));
    }
    assert!(browser.seen("consent").await.attr("aria-describedby").await.unwrap().is_none());
}

pub(crate) async fn a_double_click_a_reload_and_back_are_one_sign_up(browser: &Browser, desk: &Desk) {
    let code = browser.text("code").await;
    browser.double_click("#send").await;
    assert_eq!(browser.text("place").await, "1");
    assert_eq!(browser.focus().await, "result-title");
    assert_eq!((desk.sign_ups(), desk.opened(1)), (1, ADA.form(Language::French)));
    let own = RecoveryCode::parse(&code).unwrap();
    assert_eq!(desk.sealed(1).1, own.operation_id(), "the code that was shown names the sign-up");
    browser.find("#receipt-details summary").await.click().await.unwrap();
    browser.says("verified", "vérifié").await;
    let receipt = browser.text("receipt").await;

    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.text("place").await, "1");
    browser.driver.back().await.unwrap();
    browser.driver.forward().await.unwrap();
    assert_eq!(browser.text("place").await, "1");
    assert_eq!(kept(browser).await[0]["receipt"], receipt.as_str());
    assert_eq!(desk.sign_ups(), 1);
    let everything = browser.run(KEPT, Vec::new()).await.to_string();
    for typed in ["1893120105732", "Ada", "ada@", "1950"] {
        assert!(!everything.contains(typed), "{typed} is kept");
    }
}

pub(crate) async fn a_second_person_gets_a_place_of_their_own(browser: &Browser, desk: &Desk) {
    browser.click("another").await;
    let code = to_code(browser, &BOB).await;
    assert_ne!(RecoveryCode::parse(&code).unwrap().operation_id(), desk.sealed(1).1);
    browser.click("send").await;
    assert_eq!(browser.text("place").await, "2");
    assert_eq!((desk.sign_ups(), desk.opened(2)), (2, BOB.form(Language::French)));
    browser.find("#kept-list li:first-child button").await.click().await.unwrap();
    browser.says("place", "1").await;
}

pub(crate) async fn an_answer_that_was_lost_is_asked_for_with_the_same_bytes(browser: &Browser, desk: &Desk) {
    browser.click("another").await;
    to_code(browser, &BOB).await;
    // What was kept before the first byte was sent.
    let script = "window.kept = []; const set = Storage.prototype.setItem;
        Storage.prototype.setItem = function (name, value) {
            window.kept.push({ name, ...JSON.parse(value) });
            return set.call(this, name, value);
        };";
    browser.run(script, Vec::new()).await;
    browser.click("send").await;
    browser.says("place", "3").await;
    let receipt = kept(browser).await[2]["receipt"].clone();
    let before = browser.run("return window.kept[0];", Vec::new()).await;
    assert!(before["pending"]["body"].is_string() && before["receipt"].is_null() && receipt.is_string());
    browser.run(KEEP, vec![before]).await;
    browser.driver.refresh().await.unwrap();
    browser.says("place", "3").await;
    assert_eq!((desk.sign_ups(), kept(browser).await[2]["receipt"].clone()), (3, receipt));
}

pub(crate) async fn other_bytes_show_the_first_receipt_which_can_be_corrected(browser: &Browser, desk: &Desk) {
    let first = kept(browser).await[0].clone();
    let (code, receipt) = (first["code"].as_str().unwrap().to_owned(), first["receipt"].clone());
    let own = RecoveryCode::parse(&code).unwrap();
    let (form, _) = desk.sealed(2);
    let body = json!({ "form": form, "secret_hash": own.secret().hash() }).to_string();
    let pending = json!({ "kind": "sign_up", "id": own.operation_id(), "hash": "", "body": body });
    browser.run("localStorage.clear();", Vec::new()).await;
    browser.run(KEEP, vec![json!({ "name": first["name"], "code": code, "pending": pending })]).await;
    browser.driver.refresh().await.unwrap();
    browser.seen("reused").await;
    assert_eq!(browser.text("place").await, "1");
    assert_eq!((desk.sign_ups(), desk.opened(1)), (3, ADA.form(Language::French)), "nothing of it was stored");
    assert_eq!(kept(browser).await[0]["receipt"], receipt);

    browser.seen("another").await;
    browser.click("correct").await;
    browser.seen("correcting").await;
    browser.fill_in(&MOVED).await;
    browser.submit().await;
    assert_eq!(browser.text("place").await, "1");
    assert!(!browser.is_seen("reused").await);
    assert_eq!((desk.sign_ups(), desk.opened(1)), (3, MOVED.form(Language::French)));
    assert_ne!(desk.sealed(1).1, own.operation_id(), "a correction has an id of its own");
}

pub(crate) async fn with_the_code_alone_it_is_seen_and_withdrawn(browser: &Browser, desk: &Desk) {
    let code = browser.text("result-code").await;
    browser.click("forget").await;
    browser.seen("start").await;
    assert!(kept(browser).await.is_empty() && !browser.is_seen("kept").await);
    let field = browser.seen("recovery-code").await;
    field.send_keys("ABCDEFG").await.unwrap();
    browser.find("#recover-form button").await.click().await.unwrap();
    browser.seen("recovery-code-error").await;
    field.clear().await.unwrap();
    field.send_keys(code.to_lowercase()).await.unwrap();
    browser.find("#recover-form button").await.click().await.unwrap();
    browser.says("place", "1").await;

    browser.find("#withdraw-details summary").await.click().await.unwrap();
    browser.click("withdraw").await;
    browser.says("result-title", "retirée").await;
    browser.driver.refresh().await.unwrap();
    browser.says("result-title", "retirée").await;
    assert!(!browser.is_seen("correct").await && desk.sign_ups() == 3);
}

pub(crate) async fn busy_and_without_network_it_waits(browser: &Browser, desk: &Desk) {
    browser.open(desk, "/signup/en").await;
    to_code(browser, &ADA).await;
    browser.click("send").await;
    browser.says("status", "Many people are signing up").await;
    browser.is_accessible("waiting").await;
    assert_eq!(browser.text("place").await, "1");
    let bodies = browser.run("return window.bodies;", Vec::new()).await;
    assert!(bodies.as_array().unwrap().len() == 2 && bodies[0] == bodies[1], "the same bytes again");

    browser.click("another").await;
    to_code(browser, &BOB).await;
    browser.network(false).await;
    browser.click("send").await;
    browser.says("status", "There is no network").await;
    let sealed = kept(browser).await[1]["pending"]["body"].clone();
    assert_eq!(desk.sign_ups(), 1);
    browser.network(true).await;
    browser.says("place", "2").await;
    let sealed: Value = serde_json::from_str(sealed.as_str().unwrap()).unwrap();
    assert_eq!((desk.sign_ups(), json!(desk.sealed(2).0)), (2, sealed["form"].clone()));
}

pub(crate) async fn a_form_for_a_key_that_has_gone_is_sealed_again(browser: &Browser, desk: &Desk) {
    browser.open(desk, "/signup/en").await;
    let code = to_code(browser, &ADA).await;
    browser.click("send").await;
    assert_eq!(browser.text("place").await, "1");
    assert_eq!(browser.run("return window.statuses;", Vec::new()).await, json!([409, 201]));
    assert_eq!((desk.sign_ups(), desk.opened(1)), (1, ADA.form(Language::English)));
    assert_eq!(desk.sealed(1).1, RecoveryCode::parse(&code).unwrap().operation_id(), "under the same code");
}

/// What a page of yesterday has kept, which had the form: sealed to a key that has gone.
pub(crate) async fn keep_of_yesterday(browser: &Browser, desk: &Desk, code: &str, name: Value) {
    let own = RecoveryCode::parse(code).unwrap();
    let (mut form, _) = desk.sealed(1);
    form.key_id = "gone".into();
    let body = json!({ "form": form, "secret_hash": own.secret().hash() }).to_string();
    let pending = json!({ "kind": "sign_up", "id": own.operation_id(), "hash": "", "body": body });
    browser.run(KEEP, vec![json!({ "name": name, "code": own.as_str(), "pending": pending })]).await;
}

pub(crate) async fn after_a_reload_it_is_filled_in_again_under_the_same_code(browser: &Browser, desk: &Desk) {
    let name = kept(browser).await[0]["name"].clone();
    browser.click("another").await;
    let code = to_code(browser, &BOB).await;
    browser.run("localStorage.clear();", Vec::new()).await;
    keep_of_yesterday(browser, desk, &code, name).await;
    browser.driver.refresh().await.unwrap();
    browser.says("status", "Nothing was stored").await;
    assert_eq!(desk.sign_ups(), 1);
    assert_eq!(to_code(browser, &BOB).await, code, "the code that may be written down already stays");
    browser.click("send").await;
    browser.says("place", "2").await;
    assert_eq!(
        (desk.sign_ups(), desk.opened(2), desk.sealed(2).1),
        (2, BOB.form(Language::English), RecoveryCode::parse(&code).unwrap().operation_id())
    );
}

pub(crate) async fn every_step_is_accessible(browser: &Browser, desk: &Desk, language: &str) {
    let check = async |step: &str| browser.is_accessible(&format!("{language}: {step}")).await;
    browser.open(desk, &format!("/signup/{language}")).await;
    browser.seen("form").await;
    check("form").await;
    browser.submit().await;
    browser.seen("errors").await;
    check("mistakes").await;
    to_code(browser, &ADA).await;
    check("code").await;
    browser.click("send").await;
    browser.text("place").await;
    browser.find("#receipt-details summary").await.click().await.unwrap();
    browser.find("#withdraw-details summary").await.click().await.unwrap();
    check("receipt").await;
    browser.click("forget").await;
    browser.says("status", ".").await;
    check("forgotten").await;
}
