//! A server, and what only the authority can see: the forms, opened.

use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use vigie::courier::waitlist::{Form, FormRules, Language, NumberFormat, OpeningKey, OperationId, SealedForm};
use vigie::time::SystemClock;
use vigie_backend::Server;
use vigie_backend::config::Config;

/// Who signs up, as they type it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) number: &'static str,
    pub(crate) name: &'static str,
    pub(crate) year: &'static str,
    pub(crate) contact: &'static str,
}

pub(crate) const ADA: Person = Person { number: "1893 1201 05732", name: " Ada  King", year: "1950", contact: "ada@Example.ORG" };
pub(crate) const BOB: Person =
    Person { number: "1893120105732", name: "Bôb Ünal", year: "1961", contact: "00352 621 00-00-00" };
/// The first one, who has moved.
pub(crate) const MOVED: Person = Person { contact: "ada@elsewhere.example", ..ADA };

impl Person {
    /// As the authority is to read it.
    pub(crate) fn form(&self, language: Language) -> Form {
        let form = Form {
            national_number: self.number.into(),
            name: self.name.into(),
            birth_year: self.year.parse().ok(),
            contact: self.contact.into(),
            consent: true,
            language,
        };
        form.canonical()
    }
}

/// A server in a folder of its own.
pub(crate) struct Desk {
    pub(crate) port: u16,
    server: Server,
    folder: TempDir,
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        config.listen = ([127, 0, 0, 1], 0).into();
        config.admin_listen = ([127, 0, 0, 1], 0).into();
        config.form = FormRules { national_number: NumberFormat::Luxembourg, ..FormRules::default() };
        let server = Server::start(config, Arc::new(SystemClock)).await.unwrap();
        Self { port: server.public_address().port(), server, folder }
    }

    pub(crate) async fn close(self) {
        self.server.shutdown().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.admin_address())
    }

    pub(crate) fn admin_token(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("keys/admin-token")).unwrap().trim().to_owned()
    }

    fn database(&self) -> Connection {
        Connection::open_with_flags(self.folder.path().join("backend.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// Changes the database behind the server's back.
    pub(crate) fn run(&self, statement: &str) {
        let database = Connection::open(self.folder.path().join("backend.sqlite")).unwrap();
        database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        database.execute_batch(statement).unwrap();
    }

    /// How many sign-ups there are; each has its task.
    pub(crate) fn sign_ups(&self) -> u64 {
        let count = |statement| self.database().query_row(statement, [], |row| row.get(0)).unwrap();
        let (sign_ups, tasks, corrections): (u64, u64, u64) =
            (count("SELECT count(*) FROM sign_up"), count("SELECT count(*) FROM task"), count("SELECT count(*) FROM correction"));
        assert_eq!(tasks, sign_ups + corrections);
        sign_ups
    }

    /// The sealed form at this place.
    pub(crate) fn sealed(&self, place: u64) -> (SealedForm, OperationId) {
        let statement = "SELECT key_id, encapsulated, sealed, form_operation FROM sign_up WHERE place = $1";
        let row = |row: &rusqlite::Row<'_>| {
            let form = SealedForm { key_id: row.get(0)?, encapsulated: row.get(1)?, sealed: row.get(2)? };
            Ok((form, OperationId(row.get(3)?)))
        };
        self.database().query_row(statement, [place], row).unwrap()
    }

    /// The form at this place, opened with the authority's key.
    pub(crate) fn opened(&self, place: u64) -> Form {
        let text = std::fs::read_to_string(self.folder.path().join("open/waitlist-v1.key")).unwrap();
        let (sealed, operation) = self.sealed(place);
        OpeningKey::new("v1", &text).unwrap().open(&sealed, operation).unwrap()
    }

    /// Whether this stands anywhere in the database's files.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut databases = files.filter(|path| path.to_string_lossy().contains("backend.sqlite"));
        databases.any(|path| std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()))
    }
}
