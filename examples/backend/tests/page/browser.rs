//! A browser, and what is asked of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::prelude::*;

use crate::common::{free_port, skipped};
use crate::desk::{Desk, Person};

/// What the browser can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything.
    Scripts,
    /// Everything; and its first call of the waiting list is answered with 503.
    BusyAtFirst,
    /// Everything; and each page has an old key of the waiting list at first.
    OldKeyAtFirst,
    /// No scripts at all, by the browser's own setting.
    NoScripts,
    /// Scripts and WebCrypto, but no X25519, as older browsers.
    NoX25519,
    /// Scripts, but no secure context, and so no WebCrypto: http, and a host that is not this computer.
    NotSecure,
}

const NO_X25519: &str = "
    const generate = SubtleCrypto.prototype.generateKey;
    SubtleCrypto.prototype.generateKey = function (algorithm, ...more) {
        if (algorithm.name === 'X25519') return Promise.reject(new DOMException('', 'NotSupportedError'));
        return generate.call(this, algorithm, ...more);
    };";

const BUSY_AT_FIRST: &str = "
    const ask = window.fetch;
    window.bodies = [];
    window.fetch = function (address, options) {
        if (address !== '/v1/waitlist') return ask.call(window, address, options);
        window.bodies.push(options.body);
        if (window.bodies.length > 1) return ask.call(window, address, options);
        return Promise.resolve(new Response('{}', { status: 503, headers: { 'retry-after': '1' } }));
    };";

const OLD_KEY_AT_FIRST: &str = "
    const ask = window.fetch;
    window.statuses = [];
    let isFirst = true;
    window.fetch = async function (address, options) {
        const answer = await ask.call(window, address, options);
        if (address === '/v1/waitlist') window.statuses.push(answer.status);
        if (address !== '/client.json' || !isFirst) return answer;
        isFirst = false;
        const known = await answer.json();
        known.waitlist.key_id = 'gone';
        return new Response(JSON.stringify(known));
    };";

const AXE: &str = "axe-core@4.14.1";

/// How long something may take that a browser does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Chromium, ended when dropped.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    pub(crate) way: Way,
    process: Child,
    axe: Arc<str>,
}

impl Browser {
    /// Where everything is installed.
    pub(crate) async fn start(way: Way) -> Option<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_there =
            |program: &str| std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).exists());
        for program in ["chromium", "chromedriver", "npm"] {
            if !is_there(program) {
                skipped(&format!("{program} is not installed (Debian: chromium chromium-driver npm)"));
                return None;
            }
        }
        let axe = std::fs::read_to_string(axe()).unwrap().into();
        let port = free_port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--host-resolver-rules=MAP vigie.test 127.0.0.1",
            "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        if way == Way::NoScripts {
            let preferences = json!({ "profile.managed_default_content_settings.javascript": 2 });
            capabilities.add_experimental_option("prefs", preferences).unwrap();
        }
        let url = format!("http://127.0.0.1:{port}");
        let mut begun = WebDriver::new(&url, capabilities.clone()).await;
        for _ in 0..100 {
            if begun.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            begun = WebDriver::new(&url, capabilities.clone()).await;
        }
        let browser = Self { driver: begun.unwrap(), way, process, axe };
        match way {
            Way::NoX25519 => browser.before_each_page(NO_X25519).await,
            Way::BusyAtFirst => browser.before_each_page(BUSY_AT_FIRST).await,
            Way::OldKeyAtFirst => browser.before_each_page(OLD_KEY_AT_FIRST).await,
            _ => {}
        }
        Some(browser)
    }

    async fn before_each_page(&self, script: &str) {
        let parameters = json!({ "source": script });
        self.driver.cdp().send_raw("Page.addScriptToEvaluateOnNewDocument", parameters).await.unwrap();
    }

    pub(crate) async fn network(&self, is_there: bool) {
        self.driver.cdp().send_raw("Network.enable", json!({})).await.unwrap();
        let conditions = json!({ "offline": !is_there, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.driver.cdp().send_raw("Network.emulateNetworkConditions", conditions).await.unwrap();
    }

    /// Ends it in order.
    pub(crate) async fn end(self) {
        self.driver.clone().quit().await.unwrap();
    }

    pub(crate) async fn open(&self, desk: &Desk, path: &str) {
        let host = if self.way == Way::NotSecure { "vigie.test" } else { "127.0.0.1" };
        self.driver.goto(format!("http://{host}:{}{path}", desk.port)).await.unwrap();
    }

    /// The element with this id, once it can be seen.
    pub(crate) async fn seen(&self, id: &str) -> WebElement {
        self.find(&format!("#{id}")).await
    }

    /// The element, once it can be seen.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        let begun = std::time::Instant::now();
        loop {
            if let Ok(element) = self.driver.find(By::Css(css)).await
                && element.is_displayed().await.unwrap_or(false)
            {
                return element;
            }
            if begun.elapsed() > PATIENCE {
                let page = self.driver.find(By::Css("body")).await.unwrap().text().await.unwrap();
                panic!("{css} cannot be seen on {}:\n{page}", self.driver.current_url().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn is_seen(&self, id: &str) -> bool {
        match self.driver.find(By::Id(id)).await {
            Ok(element) => element.is_displayed().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    pub(crate) async fn click(&self, id: &str) {
        self.seen(id).await.click().await.unwrap();
    }

    pub(crate) async fn submit(&self) {
        self.find("form button[type=submit]").await.click().await.unwrap();
    }

    pub(crate) async fn double_click(&self, css: &str) {
        let element = self.find(css).await;
        self.driver.action_chain().double_click_element(&element).perform().await.unwrap();
    }

    /// The text of the element with this id, once it has one.
    pub(crate) async fn text(&self, id: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            let text = self.seen(id).await.text().await.unwrap_or_default();
            if !text.is_empty() {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} stays empty");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the text of this element contains that.
    pub(crate) async fn says(&self, id: &str, what: &str) {
        let begun = std::time::Instant::now();
        while !self.text(id).await.contains(what) {
            assert!(begun.elapsed() < PATIENCE, "{id} says {}, not {what}", self.text(id).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The id of the element that has the focus.
    pub(crate) async fn focus(&self) -> String {
        self.driver.active_element().await.unwrap().attr("id").await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn fill_in(&self, person: &Person) {
        let fields =
            [("national_number", person.number), ("name", person.name), ("birth_year", person.year), ("contact", person.contact)];
        for (id, value) in fields {
            let field = self.seen(id).await;
            field.clear().await.unwrap();
            field.send_keys(value).await.unwrap();
        }
        let consent = self.seen("consent").await;
        if !consent.is_selected().await.unwrap() {
            consent.click().await.unwrap();
        }
    }

    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.driver.execute(script, arguments).await.unwrap().json().clone()
    }

    /// What a script gives to the function behind its arguments.
    pub(crate) async fn run_later(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.driver.execute_async(script, arguments).await.unwrap().json().clone()
    }

    /// What axe-core finds on the page as it is now: nothing.
    pub(crate) async fn is_accessible(&self, place: &str) {
        self.run(&self.axe, Vec::new()).await;
        let script = "axe.run(document).then(arguments[0], (error) => arguments[0]({ error: String(error) }));";
        let found = self.run_later(script, Vec::new()).await;
        assert!(found["passes"].as_array().is_some_and(|passes| passes.len() > 5), "{place}: {}", found["error"]);
        let violations: Vec<String> = found["violations"].as_array().unwrap().iter().map(told).collect();
        assert!(violations.is_empty(), "{place}: {}", violations.join("\n"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // After a test that failed there is still the browser, which would outlive the driver.
        for child in children(self.process.id()) {
            let _ = Command::new("kill").arg(child).status();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn told(violation: &Value) -> String {
    let nodes: Vec<&str> = violation["nodes"].as_array().unwrap().iter().filter_map(|node| node["html"].as_str()).collect();
    format!("{}: {} {nodes:?}", violation["id"], violation["help"])
}

/// axe-core as it is on npm, fetched once.
fn axe() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AXE.replace('@', "-"));
    let script = folder.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder).arg(AXE);
        let output = npm.output().unwrap();
        assert!(output.status.success(), "{AXE}: {}", String::from_utf8_lossy(&output.stderr));
    }
    script
}

/// The processes that this one has started, where the system says it (Linux).
fn children(id: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children: String = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok()).collect();
    children.split_whitespace().map(str::to_owned).collect()
}
