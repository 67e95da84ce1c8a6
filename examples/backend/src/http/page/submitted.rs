//! What a browser without scripts sends: the fields of a form, and the cookie.

use axum::http::{HeaderMap, header};
use minijinja::{Value, context};
use vigie::courier::waitlist::{Form, Language, OperationId, Secret};
use zeroize::Zeroize;

use super::language;

/// What holds the id and the secret of the sign-up that this browser made last.
const COOKIE: &str = "vigie-signup";

/// The fields of a form as they were typed. Wiped when dropped.
#[derive(Default)]
pub(super) struct Submitted {
    pub(super) language: Language,
    /// The recovery code: of the form, or as somebody typed it.
    pub(super) code: String,
    /// The id of a correction; empty where it is none.
    pub(super) correction: String,
    /// What is wanted next: `correct` or `another`.
    pub(super) then: String,
    national_number: String,
    name: String,
    birth_year: String,
    contact: String,
    consent: bool,
}

impl Submitted {
    /// From `application/x-www-form-urlencoded`. What is unknown is passed over.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "language" | "lang" => read.language = language(&value),
                "code" => read.code = value.into_owned(),
                "correction" => read.correction = value.into_owned(),
                "then" => read.then = value.into_owned(),
                "national_number" => read.national_number = value.into_owned(),
                "name" => read.name = value.into_owned(),
                "birth_year" => read.birth_year = value.into_owned(),
                "contact" => read.contact = value.into_owned(),
                "consent" => read.consent = value == "yes",
                _ => {}
            }
        }
        read
    }

    /// The form as it is meant.
    pub(super) fn form(&self) -> Form {
        let year = self.birth_year.trim();
        let form = Form {
            national_number: self.national_number.clone(),
            name: self.name.clone(),
            // What is no year cannot be one: the check says so.
            birth_year: (!year.is_empty()).then(|| year.parse().unwrap_or(0)),
            contact: self.contact.clone(),
            consent: self.consent,
            language: self.language,
        };
        form.canonical()
    }

    /// To be shown again.
    pub(super) fn values(&self) -> Value {
        context! {
            national_number => self.national_number.as_str(),
            name => self.name.as_str(),
            birth_year => self.birth_year.as_str(),
            contact => self.contact.as_str(),
            consent => self.consent,
        }
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        for text in [&mut self.code, &mut self.national_number, &mut self.name, &mut self.birth_year, &mut self.contact] {
            text.zeroize();
        }
    }
}

/// A sign-up that the asker has shown to be their own.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) operation: OperationId,
    pub(super) secret: Secret,
}

impl Own {
    /// From the cookie.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
        let (operation, secret) = value.split_once('.')?;
        let secret: [u8; 32] = hex::decode(secret).ok()?.try_into().ok()?;
        Some(Self { operation: OperationId::parse(operation)?, secret: Secret(secret) })
    }

    /// The cookie. It ends with the browser's session, no script reads it, and no other site's link or form sends it.
    pub(super) fn cookie(&self, is_secure: bool) -> String {
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{COOKIE}={}.{}; Path=/signup; HttpOnly; SameSite=Strict{secure}", self.operation, hex::encode(self.secret.0))
    }
}

/// Makes a browser forget the cookie.
pub(super) fn no_cookie(is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}=; Path=/signup; Max-Age=0; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_among_others_and_nonsense_is_none() {
        let own = Own { operation: OperationId([7; 16]), secret: Secret([9; 32]) };
        let cookie = own.cookie(true);
        for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/signup"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let read = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, line.parse().unwrap());
            Own::of(&headers).map(|own| (own.operation, own.secret))
        };
        assert_eq!(read(&format!("a=b; {pair}; c=d")), Some((own.operation, own.secret)));
        for nonsense in ["", "vigie-signup", "vigie-signup=", "vigie-signup=.", &pair[..pair.len() - 1], &pair.replace('7', "g")]
        {
            assert!(read(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it_and_a_year_that_is_none_is_wrong() {
        let body =
            b"language=pt&national_number=12+34&name=Jo%C3%A3o++Silva&birth_year=abc&contact=a%40EXAMPLE.org&consent=yes&x=y";
        let form = Submitted::read(body).form();
        assert_eq!(
            (form.national_number.as_str(), form.name.as_str(), form.language),
            ("1234", "João Silva", Language::Portuguese)
        );
        assert_eq!((form.birth_year, form.contact.as_str(), form.consent), (Some(0), "a@example.org", true));
        assert!(!Submitted::read(b"consent=no&%ff%00=%f").form().consent);
    }
}
