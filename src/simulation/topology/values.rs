//! Attributes of nodes, faults of networks and the values of both, word by word.
//!
//! Knows keys and limits, not lines. Errors are sentences that say what is allowed.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use super::{Attributes, Balance, Faults, Mpls, Rate};

/// The attributes of a node, for messages.
pub(super) const ATTRIBUTES: &str = "silent, swallow, nat, open, zero-ttl, legacy, plain, loss=, \
                          half-silent=, balance=, rate=, \
                          burst=, slow=, quote=, mpls=, unreachable=";
const FAULTS: &str = "loss=, burst=, duplicate=, reorder=, plain";

/// Sets the attributes that these words name.
pub(super) fn set_attributes(node: &mut Attributes, words: &[&str]) -> Result<(), String> {
    let mut burst = None;
    for word in words {
        match word.split_once('=') {
            None => match *word {
                "silent" => node.silent = true,
                "swallow" => node.swallow = true,
                "nat" => node.nat = true,
                "open" => node.open = true,
                "zero-ttl" => node.zero_ttl = true,
                "plain" => *node = Attributes::default(),
                "legacy" => match &mut node.mpls {
                    Some(mpls) => mpls.legacy = true,
                    None => return Err("`legacy` goes behind `mpls=`".to_owned()),
                },
                _ => {
                    return Err(format!("`{word}` is no attribute of a node; allowed are {ATTRIBUTES}"));
                }
            },
            Some(("loss", value)) => node.loss = share("loss", value)?,
            Some(("half-silent", value)) => node.answers = share("half-silent", value)?,
            Some(("balance", value)) => {
                node.balance = match value {
                    "per-flow" => Balance::PerFlow,
                    "per-packet" => Balance::PerPacket,
                    "per-destination" => Balance::PerDestination,
                    _ => {
                        return Err(format!(
                            "balance={value}: allowed are per-flow, per-packet, per-destination"
                        ));
                    }
                }
            }
            Some(("rate", value)) => {
                let per_second = number("rate", value, &(0.000_001..=1e9))?;
                node.rate = Some(Rate { per_second, burst: node.rate.map_or(1, |rate| rate.burst) });
            }
            Some(("burst", value)) => burst = Some(number("burst", value, &(1..=1_000_000))?),
            Some(("slow", value)) => node.slow = duration("slow", value)?,
            Some(("quote", value)) => node.quote = Some(number("quote", value, &(28..=u16::MAX))?),
            Some(("unreachable", value)) => {
                node.unreachable = Some(number("unreachable", value, &(0..=u8::MAX))?);
            }
            Some(("mpls", value)) => {
                let labels = value
                    .split(',')
                    .map(|label| number("mpls", label, &(0..=0xF_FFFF)))
                    .collect::<Result<_, _>>()?;
                node.mpls = Some(Mpls { labels, legacy: false });
            }
            Some(_) => {
                return Err(format!("`{word}` is no attribute of a node; allowed are {ATTRIBUTES}"));
            }
        }
    }
    match (burst, &mut node.rate) {
        (Some(burst), Some(rate)) => rate.burst = burst,
        (Some(_), None) => return Err("`burst=` goes with `rate=`".to_owned()),
        (None, _) => {}
    }
    Ok(())
}

/// Sets the faults that these words name.
pub(super) fn set_faults(faults: &mut Faults, words: &[&str]) -> Result<(), String> {
    if words.is_empty() {
        return Err(format!("`network` takes faults; allowed are {FAULTS}"));
    }
    for word in words {
        match word.split_once('=') {
            None if *word == "plain" => *faults = Faults::default(),
            Some(("loss", value)) => faults.loss = share("loss", value)?,
            Some(("burst", value)) => faults.burst = Some(number("burst", value, &(1.0..=1e6))?),
            Some(("duplicate", value)) => faults.duplicate = share("duplicate", value)?,
            Some(("reorder", value)) => {
                let (part, delay) = value
                    .split_once(':')
                    .ok_or_else(|| format!("reorder={value}: allowed is SHARE:DELAY as 0.05:5ms"))?;
                faults.reorder = share("reorder", part)?;
                faults.reorder_delay = duration("reorder", delay)?;
            }
            _ => return Err(format!("`{word}` is no fault of a network; allowed are {FAULTS}")),
        }
    }
    // Gilbert's chain enters the lossy state with probability loss / (burst (1 - loss)).
    match faults.burst {
        Some(burst) if faults.loss > burst * (1.0 - faults.loss) => Err(format!(
            "burst={burst} is too short for loss={}; allowed is loss / (1 - loss) and more",
            faults.loss
        )),
        _ => Ok(()),
    }
}

fn share(key: &str, value: &str) -> Result<f64, String> {
    number(key, value, &(0.0..=1.0))
}

/// A number within limits.
pub(super) fn number<T: FromStr + PartialOrd + Display>(
    key: &str,
    value: &str,
    allowed: &RangeInclusive<T>,
) -> Result<T, String> {
    match value.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => Err(format!("{key}={value}: allowed are numbers from {} to {}", allowed.start(), allowed.end())),
    }
}

/// A duration with its unit.
pub(super) fn duration(key: &str, value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|_| format!("{key} {value}: allowed are times as 100us, 5ms, 60s, 10m"))
}
