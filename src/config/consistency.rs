//! What the settings of a module say about each other. The same for a configuration file and for the command line.

use super::{FamilyChoice, Module};
use crate::flow::{Family, FlowSequence};

/// Two settings of a module that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {wrong}; allowed is {allowed}")]
pub struct ModuleFault {
    /// The setting to blame, by its key in the configuration.
    pub key: &'static str,
    /// What is wrong.
    pub wrong: String,
    /// What is allowed instead.
    pub allowed: String,
}

impl Module {
    /// Whether the settings fit together. `flows_given` says whether someone wrote the number of flows: then it is to blame
    /// where there are not as many ports.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self, flows_given: bool) -> Result<(), ModuleFault> {
        let fault = |key, wrong, allowed| Err(ModuleFault { key, wrong, allowed });
        let (first, last) = (self.first_ttl, self.max_ttl);
        if first > last {
            return fault(
                "first_ttl",
                format!("{first} is above max_ttl, which is {last}"),
                format!("1 to {last}"),
            );
        }
        if let (Some(source), Some(family)) = (self.source, self.family.only())
            && Family::of(source) != family
        {
            return fault(
                "source",
                format!("{source} does not fit family {}", self.family),
                format!("an address of that family, or family: {}", FamilyChoice::from(Family::of(source))),
            );
        }
        // The checksums of echo requests are drawn from the same range.
        let room = FlowSequence::new(self.source_port, 0).len();
        if usize::from(self.flows) > room {
            let (flows, port) = (self.flows, self.source_port);
            return if flows_given {
                let wrong =
                    format!("{flows} flows do not fit in the {room} ports from source_port {port} on");
                fault("flows", wrong, format!("1 to {room}"))
            } else {
                let wrong = format!("the {room} ports from {port} on do not hold {flows} flows");
                fault("source_port", wrong, format!("1 to {}", 65_536 - u32::from(flows)))
            };
        }
        Ok(())
    }
}
