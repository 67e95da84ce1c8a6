//! The sign-up page, for people without the app.
//!
//! ```text
//! GET /signup                          links to the languages    \
//! GET /signup/fr, /de, /pt, /en        the page                   |  the same for everybody, and cacheable: nothing in it is anybody's
//! GET /signup/page.js, page.css, ..    what it consists of       /
//! /signup/form, /signup/receipt, ..    without scripts: see `form`
//! ```
//!
//! The page seals the form in the browser and talks to `/v1/waitlist` as an app does. Its language is in its address, so that a cache needs to look at no
//! header. Where the browser cannot seal, the page links to the form that this server seals.

mod form;
mod submitted;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use ring::digest;
use vigie::courier::waitlist::{FormRules, Language};

use super::App;

/// How long a cache may keep what is the same for everybody: an operator's change is seen soon, and a crowd asks a cache.
const CACHE: &str = "public, max-age=300";

/// Nothing from elsewhere, nothing inline, in nobody's frame; and no address of this site goes to another.
const SECURITY: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

const HTML: &str = "text/html; charset=utf-8";

/// A language: its code, its own name, and the texts.
struct Texts {
    language: Language,
    code: &'static str,
    name: &'static str,
    text: Value,
}

/// The languages, in the order in which they are offered.
const LANGUAGES: [(Language, &str, &str, &str); 4] = [
    (Language::French, "fr", "Français", include_str!("../../../page/fr.json")),
    (Language::German, "de", "Deutsch", include_str!("../../../page/de.json")),
    (Language::Portuguese, "pt", "Português", include_str!("../../../page/pt.json")),
    (Language::English, "en", "English", include_str!("../../../page/en.json")),
];

const TEMPLATES: [(&str, &str); 7] = [
    ("layout.html", include_str!("../../../page/layout.html")),
    ("index.html", include_str!("../../../page/index.html")),
    ("signup.html", include_str!("../../../page/signup.html")),
    ("fields.html", include_str!("../../../page/fields.html")),
    ("form.html", include_str!("../../../page/form.html")),
    ("recover.html", include_str!("../../../page/recover.html")),
    ("receipt.html", include_str!("../../../page/receipt.html")),
];

const FILES: [(&str, &str, &str); 4] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../../../page/page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../../../page/page.js")),
    ("form.js", "text/javascript; charset=utf-8", include_str!("../../../page/form.js")),
    ("sealing.js", "text/javascript; charset=utf-8", include_str!("../../../page/sealing.js")),
];

/// What is the same for everybody.
struct Fixed {
    content_type: &'static str,
    etag: HeaderValue,
    content: bytes::Bytes,
}

impl Fixed {
    fn new(content_type: &'static str, content: String) -> anyhow::Result<Self> {
        let hash = digest::digest(&digest::SHA256, content.as_bytes());
        let etag = HeaderValue::try_from(format!("\"{}\"", hex::encode(&hash.as_ref()[..16])))?;
        Ok(Self { content_type, etag, content: content.into() })
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [(header::ETAG, self.etag.clone()), (header::CACHE_CONTROL, HeaderValue::from_static(CACHE))];
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        if known.any(|tag| self.etag == tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, self.content_type)], self.content.clone()).into_response()
    }
}

/// The pages, for these rules of the form.
pub struct Pages {
    environment: Environment<'static>,
    texts: Vec<Texts>,
    fixed: BTreeMap<&'static str, Fixed>,
    rules: FormRules,
    is_secure: bool,
}

impl Pages {
    /// Renders what is the same for everybody. `is_secure`: people reach it over TLS.
    ///
    /// # Errors
    /// Where a text is missing, which a test notices.
    pub fn new(rules: FormRules, is_secure: bool) -> anyhow::Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        for (name, template) in TEMPLATES {
            environment.add_template(name, template)?;
        }
        let texts = LANGUAGES
            .into_iter()
            .map(|(language, code, name, json)| {
                let text: BTreeMap<String, String> = serde_json::from_str(json).with_context(|| format!("{code}.json"))?;
                Ok(Texts { language, code, name, text: Value::from(Serde(text)) })
            })
            .collect::<anyhow::Result<_>>()?;
        let mut pages = Self { environment, texts, fixed: BTreeMap::new(), rules, is_secure };
        for (name, content_type, content) in FILES {
            pages.fixed.insert(name, Fixed::new(content_type, content.to_owned())?);
        }
        let index = pages.render("index.html", Language::English, context! {})?;
        pages.fixed.insert("", Fixed::new(HTML, index)?);
        for (language, code, ..) in LANGUAGES {
            let page = pages.render("signup.html", language, context! {})?;
            pages.fixed.insert(code, Fixed::new(HTML, page)?);
        }
        Ok(pages)
    }

    fn render(&self, template: &str, language: Language, given: Value) -> Result<String, minijinja::Error> {
        let texts = self.texts.iter().find(|texts| texts.language == language).or(self.texts.first());
        let titles = self.texts.iter().map(|texts| {
            let title = texts.text.get_attr("title").unwrap_or_default();
            context! { code => texts.code, name => texts.name, title }
        });
        let always = context! {
            language => texts.map(|texts| texts.code),
            text => texts.map(|texts| texts.text.clone()),
            languages => titles.collect::<Vec<_>>(),
            rules => Serde(self.rules),
            errors => Vec::<Value>::new(),
            values => context! { national_number => "", name => "", birth_year => "", contact => "", consent => false },
        };
        self.environment.get_template(template)?.render(context! { ..given, ..always })
    }

    /// A page of somebody's own, which no cache keeps.
    fn own(&self, status: StatusCode, template: &str, language: Language, given: Value) -> Response {
        match self.render(template, language, given) {
            Ok(page) => (status, [(header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-store")], page).into_response(),
            Err(error) => {
                // Only the kind: the rest could repeat what somebody filled in.
                tracing::error!(template, kind = ?error.kind(), "a page cannot be made");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The language that an address or a form names.
fn language(code: &str) -> Language {
    LANGUAGES.into_iter().find(|(_, known, ..)| *known == code).map_or(Language::English, |(language, ..)| language)
}

fn code(language: Language) -> &'static str {
    LANGUAGES.into_iter().find(|(known, ..)| *known == language).map_or("en", |(_, code, ..)| code)
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/signup", get(|State(app), headers| fixed(app, String::new(), headers)))
        .route("/signup/{name}", get(|State(app), Path(name), headers| fixed(app, name, headers)))
        .merge(form::router())
        .layer(map_response(with_security))
        .with_state(app)
}

async fn fixed(app: Arc<App>, name: String, headers: HeaderMap) -> Response {
    app.pages.fixed.get(name.as_str()).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |fixed| fixed.answer(&headers))
}

async fn with_security(mut response: Response) -> Response {
    for (name, value) in SECURITY {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use vigie::courier::waitlist::{NumberFormat, Presence};

    use super::*;

    #[test]
    fn every_language_has_every_text_and_says_whose_number_counts() {
        let of = |json: &str| serde_json::from_str::<BTreeMap<String, String>>(json).unwrap();
        let english = of(LANGUAGES[3].3);
        for (_, code, _, json) in LANGUAGES {
            let texts = of(json);
            assert_eq!(texts.keys().collect::<Vec<_>>(), english.keys().collect::<Vec<_>>(), "{code}");
            for (key, text) in &texts {
                assert!(!text.trim().is_empty(), "{code}: {key}");
                for hole in ["{time}", "{place}"] {
                    assert_eq!(text.contains(hole), english[key].contains(hole), "{code}: {key}");
                }
            }
            let pages = Pages::new(FormRules::default(), true).unwrap();
            let page = String::from_utf8(pages.fixed[code].content.to_vec()).unwrap();
            assert!(page.contains(&format!("<html lang=\"{code}\">")) && page.contains(&texts["earlier_counts"]), "{code}");
        }
    }

    #[test]
    fn only_fields_that_are_asked_for_are_shown() {
        let shown = |rules| {
            let pages = Pages::new(rules, true).unwrap();
            let page = String::from_utf8(pages.fixed["en"].content.to_vec()).unwrap();
            ["national_number", "name", "birth_year", "contact", "consent"]
                .map(|field| page.contains(&format!("name=\"{field}\"")))
        };
        let rules =
            FormRules { national_number: NumberFormat::Luxembourg, name: Presence::Optional, birth_year: Presence::Absent };
        assert_eq!(shown(rules), [true, true, false, true, true]);
        assert_eq!(shown(FormRules { name: Presence::Absent, ..FormRules::default() }), [true, false, true, true, true]);
    }

    #[test]
    fn nothing_is_inline_and_what_was_typed_is_text() {
        let pages = Pages::new(FormRules::default(), true).unwrap();
        let values = context! { national_number => "\"><script>alert(1)</script>", name => "", birth_year => "", contact => "", consent => true };
        let form = pages.render("form.html", Language::French, context! { values, code => "1", errors => ["national_number"] });
        let form = form.unwrap();
        assert!(!form.contains("<script>alert") && form.contains("&lt;script&gt;"), "{form}");
        for fixed in pages.fixed.values().filter(|fixed| fixed.content_type == HTML) {
            let page = String::from_utf8(fixed.content.to_vec()).unwrap();
            assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"));
            assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=").count());
        }
    }
}
