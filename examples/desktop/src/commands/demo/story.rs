//! The outcome in words: what happened, who was what to whom, and whether warning and truth agree.

use std::io::Write;

use super::backend::Served;
use super::{DemoArgs, Outcome};
use crate::output::{BAD, GOOD, QUIET};

pub(super) fn tell(outcome: &Outcome, args: &DemoArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let days = &outcome.days;
    let (first, last) = (days.first().map_or("", String::as_str), days.last().map_or("", String::as_str));
    writeln!(out, "A small town: {} people with a phone in the pocket, {first} to {last}, seed {}.", args.people, args.seed)?;
    let real = if outcome.server.is_some() { "keys, store, server, HTTP" } else { "keys, store, key list" };
    writeln!(
        out,
        "{QUIET}The radios, clocks and ways are simulated; {real}, matching and warning are the real ones.{QUIET:#}\n"
    )?;
    writeln!(out, "  {:>7} times a phone changed identifier and address", outcome.rotations)?;
    writeln!(out, "  {:>7} encounters were kept, each on the phone that heard it", outcome.encounters)?;
    let (patient, keys) = (&outcome.patient, outcome.keys_of_patient);
    match &outcome.server {
        None => {
            writeln!(out, "  {last} 21:00  {patient} tests positive and releases {keys} keys.")?;
            let made_up = outcome.keys_published - keys;
            writeln!(out, "  {last} 23:15  The health authority signs a list: these and {made_up} made-up ones.")?;
            writeln!(out, "  Every phone verifies the list and looks for itself.\n")?;
        }
        Some(Served { reported_at, sent_at, files, .. }) => {
            let (reported, sent) = (minute(reported_at), minute(sent_at));
            writeln!(
                out,
                "  {reported}  {patient} tests positive and reports {keys} keys with a code. There is no network: they wait."
            )?;
            let taken = outcome.keys_published;
            writeln!(
                out,
                "  {sent}  There is one. The server takes {taken} keys, fills up a list with made-up ones, and signs it."
            )?;
            let listed = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
            writeln!(out, "  Every phone fetches what is listed ({listed}), verifies it and looks for itself.\n")?;
        }
    }
    tell_everybody(outcome, out)?;
    judge(outcome, out)
}

/// Who was what to the patient, and who was warned why.
fn tell_everybody(outcome: &Outcome, out: &mut impl Write) -> anyhow::Result<()> {
    let everybody = &outcome.everybody;
    let strangers = everybody.iter().filter(|v| v.relation == "stranger" && v.is_right == Some(true)).count();
    writeln!(out, "  {:<8} {:<9} {:>14} {:>9}  warned", "who", "truth", "within 2 m", "nearest")?;
    for verdict in everybody.iter().filter(|v| v.relation != "stranger" || v.is_right == Some(false)) {
        let style = match verdict.is_right {
            Some(true) => GOOD,
            Some(false) => BAD,
            None => QUIET,
        };
        let (minutes, warned) = (format!("{} min", verdict.minutes_within_2_m), if verdict.warned { "yes" } else { "no" });
        let nearest = format!("{:.1} m", verdict.nearest_m);
        writeln!(out, "  {:<8} {:<9} {minutes:>14} {nearest:>9}  {style}{warned}{style:#}", verdict.name, verdict.relation)?;
        for line in &verdict.explanation {
            writeln!(out, "           {QUIET}{line}{QUIET:#}")?;
        }
    }
    if strangers > 0 {
        writeln!(out, "  and {strangers} strangers, who never came within 5 m: {GOOD}none warned{GOOD:#}")?;
    }
    Ok(())
}

/// Whether all that is as it should be.
fn judge(outcome: &Outcome, out: &mut impl Write) -> anyhow::Result<()> {
    let everybody = &outcome.everybody;
    let count = |relation: &str, warned: bool| everybody.iter().filter(|v| v.relation == relation && v.warned == warned).count();
    writeln!(out)?;
    writeln!(
        out,
        "{} of {} contacts (2 m, 15 min) were warned; {} of {} strangers were. {} between are not judged.",
        count("contact", true),
        count("contact", true) + count("contact", false),
        count("stranger", true),
        count("stranger", true) + count("stranger", false),
        count("between", true) + count("between", false),
    )?;
    writeln!(
        out,
        "{QUIET}Between is nearer than 5 m, but not 2 m for 15 min: there strength cannot tell, and some are warned.{QUIET:#}"
    )?;
    let is_judged = everybody.iter().any(|verdict| verdict.is_right.is_some());
    let (style, statement) = match (outcome.agrees, is_judged) {
        (true, true) => (GOOD, "Warning and truth agree."),
        (true, false) => {
            (QUIET, "Nobody was a contact or a stranger, so there is nothing to judge: try another seed, or more people.")
        }
        (false, _) => (BAD, "Warning and truth DISAGREE."),
    };
    writeln!(out, "{style}{statement}{style:#}")?;
    Ok(())
}

/// `2020-10-22 21:00` of `2020-10-22T21:00:00Z`.
fn minute(second: &str) -> String {
    second.chars().take("2020-10-22T21:00".len()).collect::<String>().replace('T', " ")
}
