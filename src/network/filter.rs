//! What the kernel lets through to us: classic BPF programs for the receiving sockets.
//!
//! A raw ICMP socket sees the errors of every program of the machine. The filters leave what quotes a probe that we
//! could have sent; whether we did is for the demultiplexer to find out.

use std::collections::BTreeSet;

use socket2::SockFilter;

use crate::flow::Family;

/// Most ports in a program; with more of them it lets every port through. BPF jumps reach 255 instructions.
const PORTS_MAX: usize = 64;

/// What our probes look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The lowest source port of any flow.
    pub first_source_port: u16,
    /// The destination ports, of UDP and TCP alike.
    pub destination_ports: BTreeSet<u16>,
    /// The identifier of our echo requests.
    pub echo_id: u16,
}

/// An instruction whose jumps name places instead of distances.
#[derive(Clone, Copy, Debug)]
struct Step {
    code: u16,
    k: u32,
    yes: Place,
    no: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Next,
    Accept,
    Drop,
    Label(u8),
}

#[derive(Debug, Default)]
struct Program {
    steps: Vec<Step>,
    labels: Vec<(u8, usize)>,
}

// Opcodes (linux/bpf_common.h): class | size or operation | mode or source.
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_MEMORY: u16 = 0x60;
const STORE_MEMORY: u16 = 0x02;
/// X = 4 * (byte & 15): the length of an IPv4 header.
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const ADD_X: u16 = 0x0c;
const COPY_TO_X: u16 = 0x07;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const ECHO: u8 = 0;
const QUOTE: u8 = 1;
const PORTS: u8 = 2;
const QUOTED_ECHO: u8 = 3;

const TCP: u32 = 6;
const UDP: u32 = 17;
const SYN_OR_RST: u32 = 0x06;

/// The filter of the raw ICMP or ICMPv6 socket. IPv4 sockets see the IP header, IPv6 sockets begin behind it.
pub(super) fn icmp(family: Family, wanted: &Wanted) -> Vec<SockFilter> {
    icmp_program(family, wanted).assemble()
}

/// The filter of the raw TCP socket: answers from a port that we ask to one that we ask from.
pub(super) fn tcp(family: Family, wanted: &Wanted) -> Vec<SockFilter> {
    tcp_program(family, wanted).assemble()
}

fn icmp_program(family: Family, wanted: &Wanted) -> Program {
    let mut program = Program::default();
    // (echo reply, time exceeded, destination unreachable, quoted echo request's protocol)
    let (echo_reply, exceeded, unreachable, icmp) = match family {
        Family::V4 => (0, 11, 3, 1),
        Family::V6 => (129, 3, 1, 58),
    };
    match family {
        Family::V4 => {
            program.push(LOAD_X_HEADER_LENGTH, 0);
            program.push(LOAD_BYTE_AT_X, 0);
        }
        Family::V6 => program.push(LOAD_BYTE, 0),
    }
    program.jump(JUMP_EQUAL, echo_reply, Place::Label(ECHO), Place::Next);
    program.jump(JUMP_EQUAL, exceeded, Place::Label(QUOTE), Place::Next);
    program.jump(JUMP_EQUAL, unreachable, Place::Label(QUOTE), Place::Drop);

    program.label(ECHO);
    program.push(if family == Family::V4 { LOAD_HALF_AT_X } else { LOAD_HALF }, 4);
    program.jump(JUMP_EQUAL, wanted.echo_id.into(), Place::Accept, Place::Drop);

    program.label(QUOTE);
    // Where the quoted transport header begins: X + 8 over IPv4, a constant over IPv6.
    let (half, transport) = match family {
        Family::V4 => {
            program.push(LOAD_BYTE_AT_X, 8 + 9);
            program.push(STORE_MEMORY, 0);
            program.push(LOAD_BYTE_AT_X, 8);
            program.push(AND, 0x0f);
            program.push(SHIFT_LEFT, 2);
            program.push(ADD_X, 0);
            program.push(COPY_TO_X, 0);
            program.push(LOAD_MEMORY, 0);
            (LOAD_HALF_AT_X, 8)
        }
        Family::V6 => {
            program.push(LOAD_BYTE, 8 + 6);
            (LOAD_HALF, 8 + 40)
        }
    };
    program.jump(JUMP_EQUAL, UDP, Place::Label(PORTS), Place::Next);
    program.jump(JUMP_EQUAL, TCP, Place::Label(PORTS), Place::Next);
    program.jump(JUMP_EQUAL, icmp, Place::Label(QUOTED_ECHO), Place::Drop);

    program.label(QUOTED_ECHO);
    program.push(half, transport + 4);
    program.jump(JUMP_EQUAL, wanted.echo_id.into(), Place::Accept, Place::Drop);

    program.label(PORTS);
    program.push(half, transport);
    program.jump(JUMP_GREATER_EQUAL, wanted.first_source_port.into(), Place::Next, Place::Drop);
    program.push(half, transport + 2);
    program.ports(&wanted.destination_ports);
    program
}

fn tcp_program(family: Family, wanted: &Wanted) -> Program {
    let mut program = Program::default();
    let (byte, half) = match family {
        Family::V4 => {
            program.push(LOAD_X_HEADER_LENGTH, 0);
            (LOAD_BYTE_AT_X, LOAD_HALF_AT_X)
        }
        Family::V6 => (LOAD_BYTE, LOAD_HALF),
    };
    program.push(byte, 13);
    program.jump(JUMP_SET, SYN_OR_RST, Place::Next, Place::Drop);
    program.push(half, 2);
    program.jump(JUMP_GREATER_EQUAL, wanted.first_source_port.into(), Place::Next, Place::Drop);
    program.push(half, 0);
    program.ports(&wanted.destination_ports);
    program
}

impl Program {
    fn push(&mut self, code: u16, k: u32) {
        self.steps.push(Step { code, k, yes: Place::Next, no: Place::Next });
    }

    fn jump(&mut self, code: u16, k: u32, yes: Place, no: Place) {
        self.steps.push(Step { code, k, yes, no });
    }

    fn label(&mut self, label: u8) {
        self.labels.push((label, self.steps.len()));
    }

    /// Ends the program: accepts if the port just loaded is one of these.
    fn ports(&mut self, ports: &BTreeSet<u16>) {
        if ports.len() > PORTS_MAX {
            self.push(RETURN, u32::MAX);
            return;
        }
        for &port in ports {
            self.jump(JUMP_EQUAL, port.into(), Place::Accept, Place::Next);
        }
        self.push(RETURN, 0);
    }

    fn assemble(&self) -> Vec<SockFilter> {
        self.instructions().into_iter().map(|(code, yes, no, k)| SockFilter::new(code, yes, no, k)).collect()
    }

    /// The instructions with distances for places; acceptance and rejection stand at the end.
    fn instructions(&self) -> Vec<(u16, u8, u8, u32)> {
        let (accept, drop) = (self.steps.len(), self.steps.len() + 1);
        let distance = |from: usize, place: Place| {
            let to = match place {
                Place::Next => from + 1,
                Place::Accept => accept,
                Place::Drop => drop,
                Place::Label(label) => {
                    self.labels.iter().find(|(name, _)| *name == label).map_or(drop, |&(_, to)| to)
                }
            };
            u8::try_from(to - from - 1).unwrap_or(u8::MAX)
        };
        let steps = self
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.code, distance(at, step.yes), distance(at, step.no), step.k));
        steps.chain([(RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0)]).collect()
    }
}

#[cfg(test)]
mod tests;
