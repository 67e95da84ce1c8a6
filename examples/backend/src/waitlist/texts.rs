//! What mails say, in four languages. Nothing that somebody typed is in them: who gives another's address cannot make us write to them what he likes.

use vigie::courier::waitlist::Language;

use crate::rules::MailKind;

/// A mail's words; `{place}` stands for the place. A notice names none: the one that counts is known to whom it belongs.
struct Words {
    subject: &'static str,
    body: &'static str,
    /// For a telephone.
    short: &'static str,
}

/// What a mail says.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) subject: &'static str,
    pub(super) body: String,
    /// For a telephone.
    pub(super) short: String,
}

pub(super) fn text(kind: MailKind, language: Language, place: u64) -> Text {
    let [confirmation, notice] = match language {
        Language::French => FRENCH,
        Language::German => GERMAN,
        Language::Portuguese => PORTUGUESE,
        Language::English => ENGLISH,
    };
    let words = match kind {
        MailKind::Confirmation => confirmation,
        MailKind::Notice => notice,
    };
    let filled = |text: &str| text.replace("{place}", &place.to_string());
    Text { subject: words.subject, body: filled(words.body), short: filled(words.short) }
}

const FRENCH: [Words; 2] = [
    Words {
        subject: "Liste d'attente : votre inscription est confirmée",
        body: "Bonjour,\n\n\
           votre inscription sur la liste d'attente est confirmée.\n\n\
           Votre numéro : {place}\n\n\
           Si vous vous étiez déjà inscrit auparavant, c'est votre numéro précédent\n\
           qui compte.\n\n\
           Avec votre code de récupération, vous pouvez consulter, corriger et retirer\n\
           cette inscription.\n\n\
           Vous ne vous êtes pas inscrit ? Quelqu'un a donné votre adresse par erreur ;\n\
           vous n'avez rien à faire.\n",
        short: "Liste d'attente : inscription confirmée, numéro {place}. Si vous vous étiez déjà inscrit auparavant, c'est votre numéro précédent qui compte.",
    },
    Words {
        subject: "Liste d'attente : une autre inscription avec votre numéro national",
        body: "Bonjour,\n\n\
           une autre inscription sur la liste d'attente a été faite avec votre numéro\n\
           national.\n\n\
           Si vous vous étiez déjà inscrit auparavant, c'est votre numéro précédent\n\
           qui compte. Rien ne change pour vous.\n\n\
           Ce n'était pas vous ? Veuillez en informer l'autorité qui tient la liste.\n",
        short: "Liste d'attente : une autre inscription a été faite avec votre numéro national. Si vous vous étiez déjà inscrit auparavant, c'est votre numéro précédent qui compte.",
    },
];

const GERMAN: [Words; 2] = [
    Words {
        subject: "Warteliste: Ihre Anmeldung ist bestätigt",
        body: "Guten Tag,\n\n\
           Ihre Anmeldung auf der Warteliste ist bestätigt.\n\n\
           Ihre Nummer: {place}\n\n\
           Wenn Sie sich schon früher angemeldet haben, zählt Ihre frühere Nummer.\n\n\
           Mit Ihrem Wiederherstellungscode können Sie diese Anmeldung ansehen,\n\
           berichtigen und zurückziehen.\n\n\
           Sie haben sich nicht angemeldet? Jemand hat Ihre Adresse versehentlich\n\
           angegeben; Sie müssen nichts tun.\n",
        short: "Warteliste: Anmeldung bestätigt, Nummer {place}. Wenn Sie sich schon früher angemeldet haben, zählt Ihre frühere Nummer.",
    },
    Words {
        subject: "Warteliste: noch eine Anmeldung mit Ihrer nationalen Nummer",
        body: "Guten Tag,\n\n\
           mit Ihrer nationalen Nummer wurde noch eine Anmeldung auf der Warteliste\n\
           gemacht.\n\n\
           Wenn Sie sich schon früher angemeldet haben, zählt Ihre frühere Nummer.\n\
           Für Sie ändert sich nichts.\n\n\
           Das waren nicht Sie? Bitte sagen Sie es der Behörde, die die Liste führt.\n",
        short: "Warteliste: Mit Ihrer nationalen Nummer wurde noch eine Anmeldung gemacht. Wenn Sie sich schon früher angemeldet haben, zählt Ihre frühere Nummer.",
    },
];

const PORTUGUESE: [Words; 2] = [
    Words {
        subject: "Lista de espera: a sua inscrição está confirmada",
        body: "Bom dia,\n\n\
           a sua inscrição na lista de espera está confirmada.\n\n\
           O seu número: {place}\n\n\
           Se já se tinha inscrito antes, conta o seu número anterior.\n\n\
           Com o seu código de recuperação pode consultar, corrigir e retirar esta\n\
           inscrição.\n\n\
           Não se inscreveu? Alguém indicou o seu endereço por engano; não precisa de\n\
           fazer nada.\n",
        short: "Lista de espera: inscrição confirmada, número {place}. Se já se tinha inscrito antes, conta o seu número anterior.",
    },
    Words {
        subject: "Lista de espera: outra inscrição com o seu número nacional",
        body: "Bom dia,\n\n\
           foi feita outra inscrição na lista de espera com o seu número nacional.\n\n\
           Se já se tinha inscrito antes, conta o seu número anterior. Para si nada\n\
           muda.\n\n\
           Não foi você? Por favor, informe a autoridade que gere a lista.\n",
        short: "Lista de espera: foi feita outra inscrição com o seu número nacional. Se já se tinha inscrito antes, conta o seu número anterior.",
    },
];

const ENGLISH: [Words; 2] = [
    Words {
        subject: "Waiting list: your sign-up is confirmed",
        body: "Hello,\n\n\
           your sign-up on the waiting list is confirmed.\n\n\
           Your number: {place}\n\n\
           If you signed up before, your earlier number counts.\n\n\
           With your recovery code you can see, correct and withdraw this sign-up.\n\n\
           You did not sign up? Somebody gave your address by mistake; you need not do\n\
           anything.\n",
        short: "Waiting list: sign-up confirmed, number {place}. If you signed up before, your earlier number counts.",
    },
    Words {
        subject: "Waiting list: another sign-up with your national number",
        body: "Hello,\n\n\
           another sign-up on the waiting list was made with your national number.\n\n\
           If you signed up before, your earlier number counts. Nothing changes for you.\n\n\
           That was not you? Please tell the authority that keeps the list.\n",
        short: "Waiting list: another sign-up was made with your national number. If you signed up before, your earlier number counts.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_says_that_an_earlier_number_counts_and_only_a_confirmation_names_the_place() {
        let languages = [
            (Language::French, "c'est votre numéro précédent qui compte"),
            (Language::German, "zählt Ihre frühere Nummer"),
            (Language::Portuguese, "conta o seu número anterior"),
            (Language::English, "If you signed up before, your earlier number counts"),
        ];
        for (language, counts) in languages {
            for kind in [MailKind::Confirmation, MailKind::Notice] {
                let text = text(kind, language, 40_507);
                for said in [text.body.replace('\n', " "), text.short] {
                    assert!(said.contains(counts), "{said}");
                    assert_eq!(said.contains("40507"), kind == MailKind::Confirmation, "{said}");
                }
                assert!(text.body.lines().all(|line| line.chars().count() <= 78));
            }
        }
    }
}
