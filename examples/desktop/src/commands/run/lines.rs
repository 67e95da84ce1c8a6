//! What is told, line by line: for people with the time before it, for machines as JSON.

use std::io::{self, Write};

use serde::Serialize;
use vigie::time::Timestamp;

use super::notice::Notice;
use crate::output::QUIET;

/// For whom the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    People,
    Machines,
}

#[derive(Serialize)]
struct Stamped<'a> {
    time: String,
    #[serde(flatten)]
    notice: &'a Notice,
}

impl Lines {
    /// Writes a line, and sees to it that whoever reads has it now.
    pub(super) fn write(self, to: &mut impl Write, now: Timestamp, notice: &Notice) -> io::Result<()> {
        match self {
            Self::People => {
                let (time, style) = (Timestamp::from_unix_s(now.unix_s()), notice.style());
                writeln!(to, "{QUIET}{time}{QUIET:#}  {style}{notice}{style:#}")?;
            }
            Self::Machines => {
                serde_json::to_writer(&mut *to, &Stamped { time: now.to_string(), notice })?;
                writeln!(to)?;
            }
        }
        to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_ms(1_603_364_400_250);

    fn line(lines: Lines, notice: &Notice) -> String {
        let mut text = anstream::StripStream::new(Vec::new());
        lines.write(&mut text, AT, notice).unwrap();
        String::from_utf8(text.into_inner()).unwrap()
    }

    #[test]
    fn a_notice_is_one_line_with_its_time_for_people_and_for_machines() {
        let notice = Notice::RadioFailed { reason: Notice::because("off;\nswitch it on\u{1b}[2J") };
        assert_eq!(line(Lines::People, &notice), "2020-10-22T11:00:00Z  radio: off;\\nswitch it on\\u{1b}[2J\n");
        assert_eq!(
            line(Lines::Machines, &Notice::DeviceGone { device: 3 }),
            "{\"time\":\"2020-10-22T11:00:00.250Z\",\"event\":\"device_gone\",\"device\":3}\n"
        );
    }
}
