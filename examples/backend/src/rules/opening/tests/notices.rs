//! Who is told of another sign-up, and that nobody learns more by it.

use super::*;

#[test]
fn those_on_file_hear_of_another_sign_up_once_a_day_and_the_earliest_counts() {
    let mut list = List::new();
    let (victim, _) = list.sign_up(&form("1234", "victim@example.org"));
    list.round(NOW);
    assert_eq!(list.deliver(NOW), [(victim, MailKind::Confirmation)]);
    let (stranger, _) = list.sign_up(&form("1234", "stranger@example.org"));
    let (again, _) = list.sign_up(&form("1234", "victim@example.org"));
    list.round(NOW);
    assert_eq!(list.deliver(NOW), [(stranger, MailKind::Confirmation), (again, MailKind::Confirmation)]);
    assert_eq!(list.deliver(NOW.after(DAY)), [(victim, MailKind::Notice), (stranger, MailKind::Notice)]);
    assert_eq!(list.first_of("1234"), Some(victim));
    assert_eq!(list.conflicts(), [[victim, stranger, again]]);
    list.sign_up(&form("5678", "other@example.org"));
    list.sign_up(&form("5678", "other@example.org"));
    list.round(NOW);
    assert_eq!(list.conflicts().len(), 1, "the same address is no conflict");
    assert_eq!(list.database.run(count_conflicts).unwrap(), 1);
}

#[test]
fn two_sign_ups_around_somebody_else_get_the_same_mails_as_around_nobody() {
    let mails = |is_between: bool| {
        let mut list = List::new();
        let (before, _) = list.sign_up(&form("1234", "stranger@example.org"));
        list.round(NOW);
        list.sign_up(&form(if is_between { "1234" } else { "5678" }, "victim@example.org"));
        list.round(NOW);
        let (after, _) = list.sign_up(&form("1234", "stranger@example.org"));
        list.round(NOW);
        let mut mails = Vec::new();
        for now in [NOW, NOW.after(DAY), NOW.after(2 * DAY)] {
            mails.extend(list.deliver(now).into_iter().map(|mail| (now, mail)));
        }
        mails.retain(|(_, (place, _))| [before, after].contains(place));
        mails
    };
    assert_eq!(mails(true), mails(false));
    assert_eq!(mails(true).len(), 3);
}

/// Whoever has this address gets these mails, each with the day on which it goes.
fn mails_of(list: &mut List, mine: &[u64], days: u64) -> Vec<(u64, (u64, MailKind))> {
    let mut mails = Vec::new();
    for day in 0..=days {
        mails.extend(list.deliver(NOW.after(DAY * day as u32)).into_iter().map(|mail| (day, mail)));
    }
    mails.retain(|(_, (place, _))| mine.contains(place));
    mails
}

#[test]
fn eighty_sign_ups_with_a_number_show_nobody_who_is_on_the_list_and_silence_nobody() {
    let observe = |number: &str| {
        let mut list = List::new();
        let (victim, _) = list.sign_up(&form("1234", "victim@example.org"));
        list.round(NOW);
        let mine: Vec<u64> = (0..80).map(|at| list.sign_up(&form(number, &format!("stranger{at}@example.org"))).0).collect();
        for _ in 0..2 {
            list.round(NOW);
        }
        let seen = (mails_of(&mut list, &mine, 1), list.rows("SELECT 1 FROM mail WHERE kind = 'notice'", &[]).len());
        (seen.0, seen.1, victim)
    };
    let (with, notices, _) = observe("1234");
    let (without, fewer, _) = observe("5678");
    assert_eq!(with, without);
    assert_eq!((notices, fewer), (80, 79), "the victim is told, and all of the strangers but the last");

    let mut list = List::new();
    for at in 0..70 {
        list.sign_up(&form("1234", &format!("stranger{at}@example.org")));
    }
    (0..2).for_each(|_| list.round(NOW));
    let (victim, _) = list.sign_up(&form("1234", "victim@example.org"));
    list.round(NOW);
    list.sign_up(&form("1234", "stranger@example.org"));
    list.round(NOW);
    assert_eq!(mails_of(&mut list, &[victim], 1), [(0, (victim, MailKind::Confirmation)), (1, (victim, MailKind::Notice))]);
}

#[test]
fn another_sign_up_with_the_same_address_shows_and_silences_nobody() {
    let observe = |number: &str| {
        let mut list = List::new();
        list.sign_up(&form(number, "victim@example.org"));
        list.round(NOW);
        let (taken, operation) = list.sign_up(&form("1234", "victim@example.org"));
        list.round(NOW);
        let mut mine = vec![taken];
        // On both days: who is told on the second was told on the first.
        for now in [NOW, NOW.after(DAY)] {
            mine.push(list.sign_up(&form("1234", "stranger@example.org")).0);
            list.round(now);
        }
        list.correct(operation, &form("1234", "stranger-too@example.org"));
        list.round(NOW.after(DAY));
        mails_of(&mut list, &mine, 3)
    };
    assert_eq!(observe("1234"), observe("5678"));

    let mut list = List::new();
    let (_, operation) = list.sign_up(&form("1234", "victim@example.org"));
    list.round(NOW);
    let (victim, _) = list.sign_up(&form("1234", "victim@example.org"));
    list.round(NOW);
    list.sign_up(&form("1234", "stranger@example.org"));
    list.round(NOW);
    list.withdraw(operation);
    assert_eq!(mails_of(&mut list, &[victim], 1).len(), 2, "the victim is told all the same");
}

/// This is what notices are for, and their price: whoever signed up with the number first is told on which days it was used again.
#[test]
fn who_signed_up_first_is_told_of_each_day_with_another_sign_up_and_who_comes_later_of_none_before() {
    let mut list = List::new();
    let (first, _) = list.sign_up(&form("1234", "a@example.org"));
    list.round(NOW);
    list.sign_up(&form("1234", "b@example.org"));
    list.round(NOW.after(DAY));
    let (last, _) = list.sign_up(&form("1234", "c@example.org"));
    list.round(NOW.after(2 * DAY));
    let mails = mails_of(&mut list, &[first, last], 4);
    let (confirmation, notice) = (MailKind::Confirmation, MailKind::Notice);
    assert_eq!(mails, [(0, (first, confirmation)), (2, (first, notice)), (2, (last, confirmation)), (3, (first, notice))]);
}
