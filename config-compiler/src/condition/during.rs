//! `during: "Mon-Fri 06:00-18:00 Europe/Berlin"`: days, hours, zone. And moments that `now` is compared with.

use std::ops::Range;

use jiff::{
    Timestamp,
    civil::date,
    tz::{TimeZone, TimeZoneDatabase},
};
use strait_table::window::{Hours, MINUTES_PER_WEEK, Offset, Window};

use crate::walk::suggest;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u32 = 24 * 60;
/// A zone's rules are followed from here to there; tables do not depend on the day they are made on.
const YEARS: Range<i16> = 2020..2100;

/// What is wrong with a window, and where in its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub message: String,
    pub help: String,
    pub at: Range<usize>,
    /// It is understood, and holds at no time.
    pub empty: bool,
}

fn wrong(message: impl Into<String>, help: impl Into<String>, at: Range<usize>) -> Wrong {
    Wrong { message: message.into(), help: help.into(), at, empty: false }
}

const EXAMPLE: &str = "write `Mon-Fri 06:00-18:00 Europe/Berlin`";

/// Reads the text of a window.
pub fn window(text: &str) -> Result<Window, Wrong> {
    let words: Vec<(&str, Range<usize>)> = words(text);
    let Some(((zone, zone_at), rest)) = words.split_last() else {
        return Err(wrong("this window is empty", EXAMPLE, 0..text.len()));
    };
    let is_zone = |word: &str| !word.contains(':') && days(word).is_none();
    if !is_zone(zone) {
        let help = format!("end it with a zone: `{text} UTC`, or one like `Europe/Berlin`");
        return Err(wrong("this window names no time zone", help, zone_at.clone()));
    }
    let zone_of = offsets(zone, zone_at)?;
    let mut of_days = None;
    let mut of_hours = None;
    for (word, at) in rest {
        if word.contains(':') {
            if of_hours.replace(hours(word, at)?).is_some() {
                return Err(wrong("hours are written twice", "write a list of windows", at.clone()));
            }
        } else if let Some(days) = days(word) {
            if of_days.replace(days).is_some() || of_hours.is_some() {
                return Err(wrong("days come first, and once", EXAMPLE, at.clone()));
            }
        } else {
            return Err(wrong(format!("`{word}` is neither days nor hours"), EXAMPLE, at.clone()));
        }
    }
    let days = of_days.unwrap_or([true; 7]);
    let (from, until) = of_hours.unwrap_or((0, DAY));
    let mut week = vec![false; MINUTES_PER_WEEK as usize];
    for day in (0..7u32).filter(|day| days[*day as usize]) {
        // Past midnight it goes on into the next day.
        let length = if until > from { until - from } else { until + DAY - from };
        for minute in 0..length {
            week[((day * DAY + from + minute) % MINUTES_PER_WEEK) as usize] = true;
        }
    }
    Ok(Window {
        text: text.to_owned(),
        week: stretches(&week),
        offsets: zone_of,
        from: i64::MIN,
        until: i64::MAX,
    })
}

/// The moments from `from` on and before `until`, in seconds of Unix time.
pub fn between(text: String, from: i64, until: i64) -> Window {
    let week = vec![Hours { from: 0, until: MINUTES_PER_WEEK }];
    Window { text, week, offsets: Vec::new(), from, until }
}

/// A moment as RFC 3339 has it: the second it is in, and whether it is past that second's beginning.
pub fn moment(text: &str) -> Option<(i64, bool)> {
    let timestamp: Timestamp = text.parse().ok()?;
    let second = timestamp.as_second();
    let past = Timestamp::from_second(second).is_ok_and(|begin| begin < timestamp);
    Some(if timestamp.subsec_nanosecond() < 0 { (second - 1, true) } else { (second, past) })
}

fn words(text: &str) -> Vec<(&str, Range<usize>)> {
    let begin = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_ascii_whitespace().map(|word| (word, begin(word)..begin(word) + word.len())).collect()
}

/// `Mon`, `Mon-Fri`, `Mon,Wed,Fri-Sun`.
fn days(word: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|known| name.eq_ignore_ascii_case(known));
    let mut set = [false; 7];
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        loop {
            set[at] = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(set)
}

/// `06:00-18:00`, in minutes of the day; the end may be 24:00.
fn hours(word: &str, at: &Range<usize>) -> Result<(u32, u32), Wrong> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let plain = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute): (u32, u32) = match plain(hour) && plain(minute) {
            true => (hour.parse().ok()?, minute.parse().ok()?),
            false => return None,
        };
        (hour * 60 + minute <= DAY && minute < 60).then_some(hour * 60 + minute)
    };
    let both = word.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
    match both {
        None => Err(wrong(format!("`{word}` are no hours"), "write `06:00-18:00`", at.clone())),
        Some((from, until)) if from == until || from == DAY => Err(Wrong {
            empty: true,
            ..wrong("this window holds at no time", "leave the hours out for whole days", at.clone())
        }),
        Some(both) => Ok(both),
    }
}

fn stretches(week: &[bool]) -> Vec<Hours> {
    let mut all = Vec::new();
    let mut from = None;
    for (minute, holds) in week.iter().chain([&false]).enumerate() {
        match (holds, from) {
            (true, None) => from = Some(minute as u32),
            (false, Some(begin)) => {
                all.push(Hours { from: begin, until: minute as u32 });
                from = None;
            }
            _ => {}
        }
    }
    all
}

fn offsets(zone: &str, at: &Range<usize>) -> Result<Vec<Offset>, Wrong> {
    // Bundled, not the machine's: the same text gives the same table everywhere.
    let database = TimeZoneDatabase::bundled();
    let known = database.get(zone).map_err(|_| {
        let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let help = match suggest::nearest(zone, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "zones are called like `UTC`, `Europe/Berlin` and `America/New_York`".to_owned(),
        };
        wrong(format!("`{zone}` is not a time zone"), help, at.clone())
    })?;
    Ok(changes(&known))
}

fn changes(zone: &TimeZone) -> Vec<Offset> {
    let begin = |year: i16| {
        date(year, 1, 1).to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or_default()
    };
    let (from, until) = (begin(YEARS.start), begin(YEARS.end));
    let mut all = vec![Offset { from: i64::MIN, seconds: zone.to_offset(from).seconds() }];
    for change in zone.following(from).take_while(|change| change.timestamp() < until) {
        let seconds = change.offset().seconds();
        if all.last().is_some_and(|last| last.seconds != seconds) {
            all.push(Offset { from: change.timestamp().as_second(), seconds });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkyv::rancor;
    use strait_table::window::ArchivedWindow;

    /// Whether the window holds at a moment, and when it says that it turns.
    fn at(window: &Window, moment: &str) -> (bool, String) {
        let bytes = rkyv::to_bytes::<rancor::Error>(window).unwrap();
        let archived = rkyv::access::<ArchivedWindow, rancor::Error>(&bytes).unwrap();
        let now: Timestamp = moment.parse().unwrap();
        let (holds, turns) = archived.at(now.as_second());
        (holds, Timestamp::from_second(turns).map_or("never".to_owned(), |turns| turns.to_string()))
    }

    #[track_caller]
    fn check(text: &str, moments: &[(&str, bool, &str)]) {
        let window = window(text).unwrap();
        for (moment, holds, turns) in moments {
            assert_eq!(at(&window, moment), (*holds, (*turns).to_owned()), "{text} at {moment}");
        }
    }

    #[test]
    fn windows_hold_when_they_say() {
        check(
            "Mon-Fri 06:00-18:00 UTC",
            &[
                ("2026-11-20T05:59:59Z", false, "2026-11-20T06:00:00Z"),
                ("2026-11-20T06:00:00Z", true, "2026-11-20T18:00:00Z"),
                ("2026-11-20T18:00:00Z", false, "2026-11-23T00:00:00Z"),
                ("2026-11-21T12:00:00Z", false, "2026-11-23T00:00:00Z"),
                ("2026-11-23T00:00:00Z", false, "2026-11-23T06:00:00Z"),
            ],
        );
        // Past midnight, and past the end of the week.
        check(
            "Sun 22:00-02:00 UTC",
            &[
                ("2026-11-22T23:00:00Z", true, "2026-11-23T00:00:00Z"),
                ("2026-11-23T01:59:00Z", true, "2026-11-23T02:00:00Z"),
            ],
        );
        check("UTC", &[("2026-11-20T05:59:59Z", true, "never")]);
        check("Sat,Sun UTC", &[("2026-11-21T00:00:00Z", true, "2026-11-23T00:00:00Z")]);
    }

    #[test]
    fn clocks_that_are_put_forward_or_back_are_followed() {
        // 2027-03-28: 02:00 becomes 03:00. 02:30 is never.
        check(
            "02:30-03:30 Europe/Berlin",
            &[
                ("2027-03-28T00:59:59Z", false, "2027-03-28T01:00:00Z"),
                ("2027-03-28T01:00:00Z", true, "2027-03-28T01:30:00Z"),
                ("2027-03-28T01:30:00Z", false, "2027-03-28T22:00:00Z"),
            ],
        );
        // 2026-10-25: 03:00 becomes 02:00. 02:30 is twice, and so is the window.
        check(
            "02:00-02:30 Europe/Berlin",
            &[
                ("2026-10-25T00:10:00Z", true, "2026-10-25T00:30:00Z"),
                ("2026-10-25T00:30:00Z", false, "2026-10-25T01:00:00Z"),
                ("2026-10-25T01:10:00Z", true, "2026-10-25T01:30:00Z"),
            ],
        );
    }

    #[test]
    fn what_is_no_window_is_named() {
        let check = |text: &str, message: &str, at: &str| {
            let wrong = window(text).unwrap_err();
            assert_eq!((wrong.message.as_str(), &text[wrong.at.clone()]), (message, at), "{text}");
        };
        check("Mon-Fri 06:00-18:00", "this window names no time zone", "06:00-18:00");
        check("Mon-Fry 06:00-18:00 UTC", "`Mon-Fry` is neither days nor hours", "Mon-Fry");
        check("6:00-18:00 UTC", "`6:00-18:00` are no hours", "6:00-18:00");
        check("06:00-25:00 UTC", "`06:00-25:00` are no hours", "06:00-25:00");
        check("06:00-06:00 UTC", "this window holds at no time", "06:00-06:00");
        check("06:00-18:00 Europe/Berlim", "`Europe/Berlim` is not a time zone", "Europe/Berlim");
        assert_eq!(window("06:00-18:00 Europe/Berlim").unwrap_err().help, "did you mean `Europe/Berlin`?");
        check("", "this window is empty", "");
    }

    #[test]
    fn moments_are_read_to_their_second() {
        assert_eq!(moment("1970-01-01T00:00:10Z"), Some((10, false)));
        assert_eq!(moment("1970-01-01T00:00:10.5Z"), Some((10, true)));
        assert_eq!(moment("1969-12-31T23:59:59.5Z"), Some((-1, true)));
        // A leap second is the second before it.
        assert_eq!(moment("2016-12-31T23:59:60Z"), moment("2016-12-31T23:59:59Z"));
        assert_eq!(moment("2026-01-01"), None);
    }
}
