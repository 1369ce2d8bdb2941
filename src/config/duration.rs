//! Durations as Prometheus writes them: `500ms`, `60s`, `1m30s`, `7d`.
//!
//! Knows units and nothing of what a duration is for.

use std::time::Duration;

/// The units in milliseconds, longest first. A day has 24 hours, a year 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration: whole numbers, each with its unit, longest unit first and each unit at most once, as in the
/// configuration of Prometheus. `None` where the text is anything else or exceeds 2^64 milliseconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        // The iterator goes on where it stopped: a unit that comes twice or too late is not found.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(total))
}

/// Writes a duration in the form that [`parse_duration`] reads; what is below a millisecond is left out. Years
/// and weeks are written as days, which say the same without a question.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, millis) in UNITS {
        if matches!(name, "y" | "w") || rest < millis {
            continue;
        }
        text.push_str(&format!("{}{name}", rest / millis));
        rest %= millis;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("60s", Some(60_000)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("1d12h", Some(129_600_000)),
            ("1w", Some(604_800_000)),
            ("1y", Some(31_536_000_000)),
            ("0s", Some(0)),
            ("007s", Some(7000)),
            ("", None),
            ("s", None),
            ("60", None),
            ("60 s", None),
            (" 60s", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("1M", None),
            ("1min", None),
            ("1s1m", None),
            ("1s1s", None),
            ("1µs", None),
            ("٣s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615y", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "1ms", "500ms", "1s", "1m30s", "1h", "1d12h", "365d", "1d1h1m1s1ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::from_micros(1)), "0s");
    }
}
