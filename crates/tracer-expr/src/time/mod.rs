//! Instants, durations and time zones. This module reads no clock.

use std::{cmp::Ordering, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};

use crate::error::Fault;

pub(crate) mod duration;
pub(crate) mod layout;
pub(crate) mod methods;
mod parse;

pub(crate) use parse::parse;

pub(crate) const NANOSECONDS: i64 = 1_000_000_000;

/// A time zone.
#[derive(Clone, Debug)]
pub enum Zone {
    /// UTC.
    Utc,
    /// An offset from UTC in seconds, with a name that may be empty.
    Fixed(Arc<str>, i64),
    /// A zone of the system's database.
    Named(Arc<str>, TimeZone),
}

impl Zone {
    /// The zone of the machine, which is always UTC here.
    pub(crate) fn local() -> Self {
        Self::Named("Local".into(), TimeZone::UTC)
    }

    /// Finds a zone by its name.
    pub(crate) fn load(name: &str) -> Result<Self, Fault> {
        if matches!(name, "" | "UTC") {
            return Ok(Self::Utc);
        }
        if name == "Local" {
            return Ok(Self::local());
        }
        let is_no_name = |part: &str| matches!(part, "" | ".");
        // For the reference, a name is the path of a file below the database. It cannot be an absolute path or a
        // folder.
        let is_file = !name.starts_with('/') && !name.rsplit('/').next().is_some_and(is_no_name);
        let parts: Vec<_> = name.split('/').filter(|part| is_file && !is_no_name(part)).collect();
        let path = parts.join("/");
        // The database of jiff ignores the case of a name, but the reference does not.
        match jiff::tz::db().get(&path) {
            Ok(zone) if zone.iana_name() == Some(path.as_str()) => Ok(Self::Named(name.into(), zone)),
            _ => Err(Fault::evaluation("the time zone is unknown")),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Utc => "UTC",
            Self::Fixed(name, _) | Self::Named(name, _) => name,
        }
    }

    /// The abbreviation, the offset from UTC in seconds and whether daylight saving time holds, at a Unix time.
    pub(crate) fn lookup(&self, seconds: i64) -> (String, i64, bool) {
        match self {
            Self::Utc => ("UTC".to_owned(), 0, false),
            Self::Fixed(name, offset) => (name.to_string(), *offset, false),
            Self::Named(_, zone) => {
                let clamped = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
                let timestamp = Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH);
                let info = zone.to_offset_info(timestamp);
                (info.abbreviation().to_owned(), i64::from(info.offset().seconds()), info.dst().is_dst())
            }
        }
    }

    /// The last transition at or before a Unix time. `None`: there is no transition.
    pub(crate) fn period_start(&self, seconds: i64) -> Option<i64> {
        let Self::Named(_, zone) = self else { return None };
        let after = Timestamp::from_second(seconds.checked_add(1)?).ok()?;
        let before = zone.preceding(after).next()?;
        Some(before.timestamp().as_second())
    }

    fn key(&self) -> (&str, i64) {
        match self {
            Self::Utc => ("UTC", 0),
            Self::Fixed(name, offset) => (name, *offset),
            Self::Named(name, _) => (name, i64::MAX),
        }
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// An instant with the zone it is shown in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970 in UTC.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) zone: Zone,
}

/// A date and a time of day, without a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

const DAY: i64 = 86_400;

impl Civil {
    /// Seconds since 1970. Every field may be out of its usual range.
    pub(crate) fn seconds(self) -> i64 {
        let months = self.year.saturating_mul(12).saturating_add(self.month.saturating_sub(1));
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let days = days_from_civil(year, month).saturating_add(self.day.saturating_sub(1));
        days.saturating_mul(DAY).saturating_add(self.hour * 3600 + self.minute * 60 + self.second)
    }

    fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Self { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }

    pub(crate) fn year_day(self) -> i64 {
        days_from_civil(self.year, self.month) - days_from_civil(self.year, 1) + self.day
    }
}

/// Days from 1970-01-01 to the first day of a month in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64) -> i64 {
    // Years begin in March, so that a leap day is the last one of its year.
    let year = year.clamp(-200_000_000_000, 200_000_000_000) - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    days_from_civil(year + month / 12, month % 12 + 1) - days_from_civil(year, month)
}

impl Time {
    /// Seconds since 1970 in UTC.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn nanosecond(&self) -> u32 {
        self.nanoseconds
    }

    /// The zone it is shown in.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// An instant in UTC, by the nanoseconds since 1970.
    pub(crate) fn from_unix_nanoseconds(nanoseconds: i64) -> Self {
        Self {
            seconds: nanoseconds.div_euclid(NANOSECONDS),
            nanoseconds: nanoseconds.rem_euclid(NANOSECONDS) as u32,
            zone: Zone::Utc,
        }
    }

    /// The instant at which clocks of a zone show this date and time.
    pub(crate) fn from_civil(civil: Civil, nanoseconds: u32, zone: Zone) -> Self {
        let local = civil.seconds();
        // First take the local time as UTC. The offset at that time is right, except near a transition.
        let (_, first, _) = zone.lookup(local);
        let offset = if first == 0 { 0 } else { zone.lookup(local.saturating_sub(first)).1 };
        Self { seconds: local.saturating_sub(offset), nanoseconds, zone }
    }

    pub(crate) fn civil(&self) -> Civil {
        let (_, offset, _) = self.zone.lookup(self.seconds);
        Civil::from_seconds(self.seconds.saturating_add(offset))
    }

    /// Sunday is 0.
    pub(crate) fn weekday(&self) -> i64 {
        let (_, offset, _) = self.zone.lookup(self.seconds);
        (self.seconds.saturating_add(offset).div_euclid(DAY) + 4).rem_euclid(7)
    }

    pub(crate) fn instant(&self) -> (i64, u32) {
        (self.seconds, self.nanoseconds)
    }

    pub(crate) fn add(&self, duration: i64) -> Self {
        let total = i64::from(self.nanoseconds) + duration.rem_euclid(NANOSECONDS);
        Self {
            seconds: self.seconds.saturating_add(duration.div_euclid(NANOSECONDS)).saturating_add(total / NANOSECONDS),
            nanoseconds: (total % NANOSECONDS) as u32,
            zone: self.zone.clone(),
        }
    }

    /// The duration between two instants, at most as long as a duration can be.
    pub(crate) fn sub(&self, other: &Self) -> i64 {
        let nanoseconds = (i128::from(self.seconds) - i128::from(other.seconds)) * i128::from(NANOSECONDS)
            + i128::from(self.nanoseconds)
            - i128::from(other.nanoseconds);
        i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub(crate) fn month_name(month: i64) -> String {
    usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index))
        .map_or_else(|| format!("%!Month({month})"), |name| (*name).to_owned())
}

pub(crate) fn weekday_name(weekday: i64) -> String {
    usize::try_from(weekday)
        .ok()
        .and_then(|index| WEEKDAYS.get(index))
        .map_or_else(|| format!("%!Weekday({weekday})"), |name| (*name).to_owned())
}
