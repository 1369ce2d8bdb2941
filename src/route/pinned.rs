//! Pinned flows as they outlast the process: a short row for each flow and TTL, with numbers in place of whom it met.
//!
//! For `#[serde(with)]`. Only what [`Evidence::remember`] leaves is kept: whom each flow met, without single answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    cell::{Cell, Met, Past, Standing},
    evidence::Evidence,
};
use crate::{flow::FlowId, probe::Ttl};

#[derive(Serialize, Deserialize)]
struct Rows {
    /// Whom flows met, each once.
    met: Vec<Met>,
    flows: Vec<(FlowId, Vec<Row>)>,
}

/// The TTL, the round that asked last, what still holds, and whom the flow met as places in [`Rows::met`].
type Row = (Ttl, u64, Standing, Vec<usize>);

/// Writes what is known of pinned flows.
pub(crate) fn serialize<S: Serializer>(pinned: &Evidence, serializer: S) -> Result<S::Ok, S::Error> {
    let mut places: BTreeMap<Met, usize> = BTreeMap::new();
    let mut met = Vec::new();
    let mut place = |of: &Met| {
        *places.entry(*of).or_insert_with(|| {
            met.push(*of);
            met.len() - 1
        })
    };
    let mut flows = Vec::new();
    for (flow, cells) in pinned.flows() {
        let known = cells.iter().filter(|(_, cell)| !cell.past.met.is_empty());
        let rows: Vec<Row> = known
            .map(|(&ttl, Cell { past: Past { met, round, standing }, .. })| {
                (ttl, *round, *standing, met.iter().map(&mut place).collect())
            })
            .collect();
        flows.push((flow, rows));
    }
    Rows { met, flows }.serialize(serializer)
}

/// Reads what [`serialize`] wrote.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Evidence, D::Error> {
    let Rows { met, flows } = Rows::deserialize(deserializer)?;
    let mut pinned = Evidence::default();
    for (flow, rows) in flows {
        for (ttl, round, standing, places) in rows {
            let met: Option<Vec<Met>> = places.iter().map(|&place| met.get(place).copied()).collect();
            let met = met
                .filter(|met| !met.is_empty())
                .ok_or_else(|| D::Error::custom(format!("flow {flow} met nobody known at TTL {ttl}")))?;
            *pinned.cell_mut(flow, ttl) = Cell { past: Past { met, round, standing }, ..Cell::default() };
        }
    }
    Ok(pinned)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Pinned(#[serde(with = "super")] Evidence);

    fn any_met() -> impl Strategy<Value = Met> {
        let address = || {
            prop_oneof![
                (0..5_u8).prop_map(|last| IpAddr::from([192, 0, 2, last])),
                (0..5_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
            ]
        };
        prop_oneof![
            Just(Met::Silence),
            address().prop_map(Met::Router),
            (address(), any::<u8>()).prop_map(|(address, code)| Met::Refuser(address, code)),
            address().prop_map(Met::Destination),
        ]
    }

    fn any_past() -> impl Strategy<Value = Past> {
        let standing =
            prop_oneof![Just(Standing::Believed), Just(Standing::Moved), Just(Standing::OutOfReach)];
        (prop::collection::vec(any_met(), 1..4), any::<u64>(), standing)
            .prop_map(|(met, round, standing)| Past { met, round, standing })
    }

    proptest! {
        #[test]
        fn pinned_flows_come_back_as_they_were(
            cells in prop::collection::vec((any::<u16>(), 1..=255_u8, any_past()), 0..40),
        ) {
            let mut pinned = Evidence::default();
            for (flow, ttl, past) in cells {
                let ttl = Ttl::new(ttl).unwrap();
                *pinned.cell_mut(FlowId(flow), ttl) = Cell { past, ..Cell::default() };
            }
            let text = serde_json::to_string(&Pinned(pinned.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pinned>(&text).unwrap().0, pinned);
        }
    }

    #[test]
    fn rows_are_short() {
        let mut pinned = Evidence::default();
        for flow in [40_000, 50_000] {
            let met = vec![Met::Router("192.0.2.1".parse().unwrap())];
            let past = Past { met, round: 7, standing: Standing::Believed };
            *pinned.cell_mut(FlowId(flow), Ttl::MIN) = Cell { past, ..Cell::default() };
        }
        assert_eq!(
            serde_json::to_string(&Pinned(pinned)).unwrap(),
            r#"{"met":[{"Router":"192.0.2.1"}],"flows":[[40000,[[1,7,"b",[0]]]],[50000,[[1,7,"b",[0]]]]]}"#
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            r#"{"met":[],"flows":[[40000,[[1,7,"b",[0]]]]]}"#,
            r#"{"met":["Silence"],"flows":[[40000,[[1,7,"b",[]]]]]}"#,
            r#"{"met":["Silence"],"flows":[[40000,[[0,7,"b",[0]]]]]}"#,
            r#"{"met":["Silence"],"flows":[[70000,[[1,7,"b",[0]]]]]}"#,
            r#"{"met":["Silence"],"flows":[[40000,[[1,7,"x",[0]]]]]}"#,
        ];
        for text in cases {
            assert!(serde_json::from_str::<Pinned>(text).is_err(), "{text}");
        }
    }
}
