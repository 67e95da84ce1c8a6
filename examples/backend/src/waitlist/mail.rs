//! Mails: made from the form of their sign-up, and handed to a mail server, or put into a folder for whoever sends them.
//!
//! ```text
//! DATA/mail/<id>.eml    RFC 5322, for an address, where no mail server is named
//! DATA/mail/<id>.json   {"message_id", "to", "text"}, for a telephone number: an SMS gateway takes it from there
//! ```
//!
//! A mail that is made again is the same, byte for byte, with the same Message-ID. Addresses were checked when the form was opened, and again here:
//! nothing that was typed becomes a header or a line of the mail.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use vigie::courier::waitlist::{Contact, Form};

use super::texts::text;
use crate::rules::{Mail, MailEnd};

/// How mails are sent.
#[derive(Clone)]
pub struct MailConfig {
    /// `smtps://user:password@host:port`, `smtp://host:port?tls=required`, or `smtp://host:port` without encryption; a folder where nothing is said.
    pub server: Option<String>,
    /// Who writes.
    pub from: String,
    /// How long the server may take for a mail.
    pub time: Duration,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self { server: None, from: "waiting-list@localhost.localdomain".into(), time: Duration::from_secs(30) }
    }
}

/// The server's address may hold a password.
impl fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailConfig").field("from", &self.from).field("time", &self.time).finish_non_exhaustive()
    }
}

/// A mail that is ready. `Debug` shows nothing of it.
pub struct Prepared {
    file: String,
    bytes: Vec<u8>,
    /// Nothing for a telephone number.
    envelope: Option<Envelope>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared(..)")
    }
}

/// How a mail went out, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// How it ended.
    pub end: MailEnd,
    /// Whether the server can be reached at all: others need not be tried now where it cannot.
    pub is_server_there: bool,
}

/// Makes and sends mails.
pub struct Mailer {
    smtp: Option<AsyncSmtpTransport<Tokio1Executor>>,
    from: Mailbox,
    time: Duration,
    folder: PathBuf,
}

impl Mailer {
    /// With its folder in the folder of data.
    ///
    /// # Errors
    /// Where the folder cannot be made, and where an address is none.
    pub fn new(config: &MailConfig, data: &Path) -> anyhow::Result<Self> {
        let folder = data.join("mail");
        for_owner_alone(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let from = config.from.parse().context("--mail-from is no address: waiting-list@example.org")?;
        // The text of the error may repeat a password.
        let smtp = config.server.as_deref().map(AsyncSmtpTransport::<Tokio1Executor>::from_url).transpose();
        let smtp = smtp.ok().context("--mail is no mail server: smtps://user:password@host:465, smtp://host:25?tls=required")?;
        let smtp = smtp.map(|builder| builder.timeout(Some(config.time)).build());
        Ok(Self { smtp, from, time: config.time, folder })
    }

    /// The mail that this form asks for; nothing where nobody can be reached with it.
    pub fn prepare(&self, mail: &Mail, form: &Form) -> Option<Prepared> {
        let text = text(mail.kind, form.language, mail.place);
        let id = format!("{}@{}", mail.id, self.from.email.domain());
        match form.reached_by()? {
            Contact::Phone(number) => {
                let content = serde_json::json!({ "message_id": id, "to": number, "text": text.short });
                Some(Prepared { file: format!("{}.json", mail.id), bytes: content.to_string().into_bytes(), envelope: None })
            }
            Contact::Email(address) => {
                let to: Address = address.parse().ok()?;
                let seconds = Duration::from_secs(mail.made_at.unix_s().unsigned_abs());
                // RFC 3834: no answer by a machine is wanted.
                let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
                let message = Message::builder()
                    .from(self.from.clone())
                    .to(Mailbox::new(None, to))
                    .date(UNIX_EPOCH + seconds)
                    .message_id(Some(format!("<{id}>")))
                    .subject(text.subject)
                    .header(MIME_VERSION_1_0)
                    .header(ContentType::TEXT_PLAIN)
                    .raw_header(automatic)
                    .body(text.body)
                    .ok()?;
                let envelope = Some(message.envelope().clone());
                Some(Prepared { file: format!("{}.eml", mail.id), bytes: message.formatted(), envelope })
            }
        }
    }

    /// Whether this is for the folder, because no server is named or it is for a telephone.
    pub fn is_for_folder(&self, prepared: &Prepared) -> bool {
        self.smtp.is_none() || prepared.envelope.is_none()
    }

    /// Puts mails into the folder. When this says that they were sent, all of them are there.
    pub async fn file(&self, mails: Vec<Prepared>) -> Sending {
        if mails.is_empty() {
            return Sending { end: MailEnd::Sent, is_server_there: true };
        }
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &mails)).await;
        let is_written = written.unwrap_or_else(|_| Err(io::Error::other("the thread that writes has ended")));
        let is_written = is_written.inspect_err(|error| tracing::error!(%error, "mails cannot be written")).is_ok();
        Sending { end: if is_written { MailEnd::Sent } else { MailEnd::Failed }, is_server_there: is_written }
    }

    /// Sends a mail by the server. When this says that it was sent, the server has it. One for the folder is refused.
    pub async fn send(&self, prepared: &Prepared) -> Sending {
        let (Some(smtp), Some(envelope)) = (&self.smtp, &prepared.envelope) else {
            return Sending { end: MailEnd::Refused, is_server_there: true };
        };
        match tokio::time::timeout(self.time, smtp.send_raw(envelope, &prepared.bytes)).await {
            Ok(Ok(_)) => Sending { end: MailEnd::Sent, is_server_there: true },
            Ok(Err(error)) => ending(&error),
            Err(_) => Sending { end: MailEnd::Failed, is_server_there: false },
        }
    }
}

/// Each of them whole, or not at all; all on the disk when this returns.
fn write(folder: &Path, mails: &[Prepared]) -> io::Result<()> {
    for mail in mails {
        let mut file = tempfile::Builder::new().prefix(".vigie-").tempfile_in(folder)?;
        file.write_all(&mail.bytes)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(&mail.file)).map_err(|e| e.error)?;
    }
    fs::File::open(folder)?.sync_all()
}

/// A server that says 421 is about to close; any other answer concerns the mail.
fn ending(error: &SmtpError) -> Sending {
    let end = if error.is_permanent() { MailEnd::Refused } else { MailEnd::Failed };
    let is_closing = error.status().is_none_or(|code| code.to_string() == "421");
    Sending { end, is_server_there: !is_closing }
}

/// Names in the folder of mails, without their ends: the ids of mails.
///
/// # Errors
/// Where the folder cannot be read.
pub fn outbox(data: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(data.join("mail"))? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".eml").or_else(|| name.strip_suffix(".json")));
        ids.extend(id.map(str::to_owned));
    }
    Ok(ids)
}

/// Removes mails from the folder, where they are still there. How many.
///
/// # Errors
/// Where one cannot be removed.
pub fn remove(data: &Path, ids: &[String]) -> io::Result<usize> {
    let mut removed = 0;
    for id in ids {
        for end in ["eml", "json"] {
            match fs::remove_file(data.join("mail").join(format!("{id}.{end}"))) {
                Ok(()) => removed += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(removed)
}

fn for_owner_alone(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use vigie::courier::waitlist::{Language, OperationId, SealedForm};
    use vigie::time::Timestamp;

    use super::*;
    use crate::rules::MailKind;

    fn mail() -> Mail {
        Mail {
            id: "0123456789abcdef0123456789abcdef".into(),
            place: 17,
            kind: MailKind::Confirmation,
            made_at: Timestamp::from_unix_s(1_619_013_600),
            attempts: 0,
            operation: OperationId([1; 16]),
            form: SealedForm { key_id: "v1".into(), encapsulated: [0; 32], sealed: Vec::new() },
        }
    }

    fn form(contact: &str) -> Form {
        Form { contact: contact.into(), name: "Ada\r\nBcc: x@y.z".into(), language: Language::German, ..Form::default() }
    }

    fn mailer(folder: &Path) -> Mailer {
        Mailer::new(&MailConfig { from: "list@example.org".into(), ..MailConfig::default() }, folder).unwrap()
    }

    #[tokio::test]
    async fn a_mail_is_the_same_when_it_is_made_again_and_lies_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path());
        for _ in 0..2 {
            let prepared = mailer.prepare(&mail(), &form("ada@example.org")).unwrap();
            assert!(mailer.is_for_folder(&prepared));
            assert_eq!(mailer.file(vec![prepared]).await, Sending { end: MailEnd::Sent, is_server_there: true });
        }
        let path = folder.path().join("mail/0123456789abcdef0123456789abcdef.eml");
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(mailer.prepare(&mail(), &form("ada@example.org")).unwrap().bytes, written.as_bytes());
        let (head, body) = written.split_once("\r\n\r\n").unwrap();
        for header in [
            "Message-ID: <0123456789abcdef0123456789abcdef@example.org>",
            "To: ada@example.org",
            "From: list@example.org",
            "Date: Wed, 21 Apr 2021 14:00:00 +0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|line| line == header), "{header}\n{head}");
        }
        assert!(body.contains("17") && !written.contains("Bcc"), "{written}");
        assert_eq!(outbox(folder.path()).unwrap(), ["0123456789abcdef0123456789abcdef"]);
        assert_eq!(remove(folder.path(), &outbox(folder.path()).unwrap()).unwrap(), 1);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_telephone_gets_a_short_text_from_the_folder_also_where_there_is_a_mail_server() {
        let folder = tempfile::tempdir().unwrap();
        let server = Some("smtp://127.0.0.1:1".to_owned());
        let mailer = Mailer::new(&MailConfig { server, ..MailConfig::default() }, folder.path()).unwrap();
        let prepared = mailer.prepare(&mail(), &form("+352621000000")).unwrap();
        assert!(mailer.is_for_folder(&prepared));
        assert_eq!(mailer.file(vec![prepared]).await.end, MailEnd::Sent);
        let written = fs::read(folder.path().join("mail/0123456789abcdef0123456789abcdef.json")).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["to"], "+352621000000");
        let mail = mailer.prepare(&mail(), &form("ada@example.org")).unwrap();
        assert!(!mailer.is_for_folder(&mail));
        assert_eq!(mailer.send(&mail).await, Sending { end: MailEnd::Failed, is_server_there: false });
    }

    #[test]
    fn what_is_no_address_becomes_no_mail() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path());
        for contact in
            ["", "ada", "ada@example.org\r\nBcc: x@y.z", "ada@example.org, x@y.z", "<ada@example.org>", "+352\n1234567"]
        {
            assert!(mailer.prepare(&mail(), &form(contact)).is_none(), "{contact}");
        }
        let config = |server: &str| MailConfig { server: Some(server.into()), ..MailConfig::default() };
        for server in ["", "example.org", "http://example.org"] {
            assert!(Mailer::new(&config(server), folder.path()).is_err(), "{server}");
        }
        assert!(Mailer::new(&MailConfig { from: "nobody".into(), ..MailConfig::default() }, folder.path()).is_err());
    }
}
