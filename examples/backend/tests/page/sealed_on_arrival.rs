//! Without scripts, without X25519, without a secure context: the server seals.

use std::collections::HashMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use reqwest::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use thirtyfour::By;
use vigie::courier::waitlist::{Language, RecoveryCode};

use crate::browser::{Browser, Way};
use crate::desk::{ADA, BOB, Desk, MOVED, Person};

pub(crate) async fn the_page_leads_to_the_form_and_mistakes_are_named(browser: &Browser, desk: &Desk) {
    browser.open(desk, "/signup/de").await;
    let has_scripts = browser.way != Way::NoScripts;
    if has_scripts {
        let is_secure = browser.run("return window.isSecureContext;", Vec::new()).await;
        assert_eq!(is_secure, browser.way != Way::NotSecure);
    }
    assert!(!browser.is_seen("form").await);
    browser.find("#without a").await.click().await.unwrap();
    browser.seen("code").await;
    browser.submit().await;
    let title = browser.find("#errors h2").await.text().await.unwrap();
    assert_eq!(title, "Bitte berichtigen Sie Folgendes");
    assert_eq!(browser.focus().await, "errors");
    browser.seen("consent-error").await;
    browser.fill_in(&Person { number: "1893120105731", ..ADA }).await;
    let code = browser.text("code").await;
    browser.submit().await;
    browser.seen("national_number-error").await;
    assert!(!browser.is_seen("contact-error").await);
    crate::sealed_here::described(browser).await;
    assert_eq!(browser.text("code").await, code, "the code that may be written down already stays");
    assert_eq!(browser.seen("contact").await.value().await.unwrap().unwrap(), ADA.contact, "nothing is typed twice");
    assert_eq!(desk.sign_ups(), 0);
}

pub(crate) async fn a_double_click_a_reload_and_back_are_one_sign_up(browser: &Browser, desk: &Desk) {
    browser.fill_in(&ADA).await;
    let code = RecoveryCode::parse(&browser.text("code").await).unwrap();
    browser.double_click("form button[type=submit]").await;
    assert_eq!(browser.text("place").await, "1");
    assert_eq!((desk.sign_ups(), desk.opened(1)), (1, ADA.form(Language::German)));
    assert_eq!(desk.sealed(1).1, code.operation_id());
    assert!(!desk.contains("1893120105732") && !desk.contains("ada@example.org"), "sealed before anything was stored");
    let cookie = browser.driver.get_named_cookie("vigie-signup").await.unwrap();
    assert_eq!((cookie.http_only, cookie.same_site), (Some(true), Some(thirtyfour::SameSite::Strict)));

    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.text("place").await, "1");
    browser.driver.back().await.unwrap();
    browser.driver.forward().await.unwrap();
    assert_eq!(browser.text("place").await, "1");
    assert_eq!(desk.sign_ups(), 1);
}

/// The form as it was, in browsers that keep a page for "back". Chromium does not, where a page says `no-store`.
async fn back_to_the_form(browser: &Browser, code: &RecoveryCode) {
    let hidden = browser.driver.find(By::Css("input[name=code]")).await.unwrap();
    let script = "arguments[0].value = arguments[1];";
    browser.run(script, vec![hidden.to_json().unwrap(), code.as_str().into()]).await;
}

pub(crate) async fn other_fields_show_the_first_receipt_and_two_ways_on(browser: &Browser, desk: &Desk) {
    browser.click("another").await;
    browser.fill_in(&BOB).await;
    let code = RecoveryCode::parse(&browser.text("code").await).unwrap();
    browser.submit().await;
    assert_eq!(browser.text("place").await, "2");
    browser.driver.back().await.unwrap();
    browser.seen("contact").await;
    browser.find("main a[href='/signup/receipt?lang=de']").await.click().await.unwrap();
    assert_eq!((browser.text("place").await.as_str(), desk.sign_ups()), ("2", 2), "back leads to what was made");

    for (choice, place) in [("correct", "2"), ("another", "3")] {
        browser.open(desk, "/signup/form?lang=de").await;
        browser.fill_in(&ADA).await;
        back_to_the_form(browser, &code).await;
        browser.submit().await;
        browser.find("[role=alert]").await;
        assert_eq!(browser.text("place").await, "2", "the first receipt");
        assert_eq!(desk.sign_ups(), 2, "nothing was stored");
        browser.click(choice).await;
        let contact = browser.seen("contact").await.value().await.unwrap().unwrap();
        assert_eq!(contact, ADA.contact, "what was typed is kept");
        assert_eq!(browser.is_seen("code").await, choice == "another", "a correction has no code of its own");
        browser.submit().await;
        browser.says("place", place).await;
    }
    let german = |person: Person| person.form(Language::German);
    assert_eq!((desk.sign_ups(), desk.opened(2), desk.opened(3)), (3, german(ADA), german(ADA)));
    assert_ne!(desk.sealed(3).1, code.operation_id());
}

pub(crate) async fn with_the_code_alone_it_is_seen_and_withdrawn(browser: &Browser, desk: &Desk) {
    browser.click("another").await;
    browser.fill_in(&MOVED).await;
    let code = browser.text("code").await;
    browser.submit().await;
    browser.says("place", "4").await;
    browser.click("forget").await;
    browser.find("[role=alert]").await;
    assert!(browser.driver.get_named_cookie("vigie-signup").await.is_err());
    let field = browser.seen("recovery-code").await;
    field.send_keys("ABCDEFG").await.unwrap();
    browser.submit().await;
    browser.seen("recovery-code-error").await;
    browser.seen("recovery-code").await.send_keys(code.to_lowercase()).await.unwrap();
    browser.submit().await;
    assert_eq!(browser.text("place").await, "4");
    browser.find("#withdraw-details summary").await.click().await.unwrap();
    browser.click("withdraw").await;
    browser.says("state", "Zurückgezogen").await;
    assert_eq!(desk.sign_ups(), 4);
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(Policy::none()).build().unwrap()
}

fn fields<'a>(person: &'a Person, id: (&'a str, &'a str)) -> HashMap<&'a str, &'a str> {
    HashMap::from([
        id,
        ("language", "en"),
        ("national_number", person.number),
        ("name", person.name),
        ("birth_year", person.year),
        ("contact", person.contact),
        ("consent", "yes"),
    ])
}

fn encoded(fields: &HashMap<&str, &str>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn post(desk: &Desk, cookie: &str, fields: &HashMap<&str, &str>) -> Response {
    client().post(desk.url("/signup/form")).header("cookie", cookie).body(encoded(fields)).send().await.unwrap()
}

fn cookie(response: &Response) -> String {
    response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
}

const CODE: &str = "0123456789ABCDEFGHJKJ";

pub(crate) async fn repeats_at_the_same_time_are_one_sign_up(desk: &Desk) {
    let ada = fields(&ADA, ("code", CODE));
    let typed_otherwise = fields(&Person { number: "1893120105732", name: "Ada King ", ..ADA }, ("code", CODE));
    let answers = tokio::join!(post(desk, "", &ada), post(desk, "", &ada), post(desk, "", &typed_otherwise));
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!((answer.status().as_u16(), &answer.headers()[LOCATION]), (303, &"/signup/receipt?lang=en".parse().unwrap()));
    }
    assert_eq!((desk.sign_ups(), desk.opened(1)), (1, ADA.form(Language::English)));
    let other = post(desk, "", &fields(&BOB, ("code", CODE))).await;
    assert_eq!(other.status(), 422);
    assert!(other.text().await.unwrap().contains("<dd id=\"place\">1</dd>"));
    let without = post(desk, "", &fields(&BOB, ("code", "nonsense"))).await;
    assert_eq!((without.status().as_u16(), desk.sign_ups()), (400, 1));
    let long = client().post(desk.url("/signup/form")).body("x".repeat(8_193)).send().await.unwrap();
    assert_eq!(long.status(), 413);
}

pub(crate) async fn a_correction_that_is_repeated_is_one(desk: &Desk) {
    let own = cookie(&post(desk, "", &fields(&ADA, ("code", CODE))).await);
    let id = "00112233445566778899aabbccddeeff";
    for _ in 0..2 {
        assert_eq!(post(desk, &own, &fields(&MOVED, ("correction", id))).await.status(), 303);
    }
    assert_eq!((desk.sign_ups(), desk.opened(1)), (1, MOVED.form(Language::English)));
    assert_eq!(post(desk, &own, &fields(&BOB, ("correction", id))).await.status(), 422);
    assert_eq!(post(desk, "", &fields(&BOB, ("correction", id))).await.status(), 404, "who has no cookie corrects nothing");
    assert_eq!(desk.opened(1), MOVED.form(Language::English));
}

pub(crate) async fn where_the_database_fails_the_form_and_its_code_stay(desk: &Desk) {
    let name = |from, to| desk.run(&format!("ALTER TABLE {from} RENAME TO {to}"));
    let code = RecoveryCode::generate(&mut ChaCha20Rng::seed_from_u64(1)).grouped();
    let bob = fields(&BOB, ("code", &code));
    let sign_ups = desk.sign_ups();
    name("task", "elsewhere");
    let failed = post(desk, "", &bob).await;
    assert_eq!(failed.status(), 500);
    assert!(failed.headers().contains_key("retry-after") && !failed.headers().contains_key(SET_COOKIE));
    let page = failed.text().await.unwrap();
    assert!(page.contains(&format!("name=\"code\" value=\"{code}\"")) && page.contains(BOB.name), "{page}");
    name("elsewhere", "task");
    assert_eq!((post(desk, "", &bob).await.status().as_u16(), desk.sign_ups()), (303, sign_ups + 1));
}

pub(crate) async fn what_is_the_same_for_everybody_is_cacheable_and_nothing_else(desk: &Desk) {
    for path in ["/signup", "/signup/fr", "/signup/page.js", "/signup/page.css", "/signup/sealing.js", "/signup/form.js"] {
        let answer = client().get(desk.url(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()[CACHE_CONTROL]), (200, &"public, max-age=300".parse().unwrap()));
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(answer.headers().get(SET_COOKIE).is_none());
        let again = client().get(desk.url(path)).header(IF_NONE_MATCH, &answer.headers()[ETAG]).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
    }
    for path in ["/signup/form", "/signup/form?lang=fr", "/signup/receipt"] {
        let answer = client().get(desk.url(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()[CACHE_CONTROL]), (200, &"no-store".parse().unwrap()));
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    }
    assert_eq!(client().get(desk.url("/signup/nothing")).send().await.unwrap().status(), 404);
}

pub(crate) async fn every_page_is_accessible(browser: &Browser, desk: &Desk, language: &str) {
    let check = async |page: &str| browser.is_accessible(&format!("{language}, sealed on arrival: {page}")).await;
    browser.open(desk, &format!("/signup/form?lang={language}")).await;
    check("form").await;
    browser.submit().await;
    browser.seen("errors").await;
    check("mistakes").await;
    browser.fill_in(&ADA).await;
    let code = RecoveryCode::parse(&browser.text("code").await).unwrap();
    browser.submit().await;
    browser.text("place").await;
    check("receipt").await;
    browser.open(desk, &format!("/signup/form?lang={language}")).await;
    browser.fill_in(&BOB).await;
    back_to_the_form(browser, &code).await;
    browser.submit().await;
    browser.find("[role=alert]").await;
    check("422").await;
    browser.click("correct").await;
    browser.seen("contact").await;
    check("correction").await;
    browser.open(desk, &format!("/signup/receipt?lang={language}")).await;
    browser.click("forget").await;
    browser.find("[role=alert]").await;
    check("forgotten").await;
    browser.submit().await;
    browser.seen("recovery-code-error").await;
    check("wrong code").await;
}
