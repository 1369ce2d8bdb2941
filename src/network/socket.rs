//! The raw sockets: opening them, sending a packet, reading a batch of messages.
//!
//! Knows the operating system, nothing of traces. Opened once, before privileges go: a later reload cannot open more, and only filters anew.

use std::{
    io,
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket as StdUdpSocket},
    os::fd::{AsFd, AsRawFd, RawFd},
    task::{Context, Poll},
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
        SockaddrStorage, recvmmsg, sendmsg, setsockopt, sockopt,
    },
    sys::time::TimeSpec,
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::filter::{self, Wanted};
use crate::flow::{Family, Protocol};

/// Messages read at once.
const BATCH: usize = 32;
/// Longest message read: an ICMPv6 error is at most 1280 bytes, an ICMP error rarely more than 576.
const MESSAGE_MAX: usize = 2048;
/// Room for replies that arrive while we are busy: some thousands.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What could not be done with a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The process may not open raw sockets. The advice is `+p` since [`crate::privilege::raise`] does the rest, and since with `+ep` a
    /// program does not even start where the capability is out of reach.
    #[error(
        "raw sockets need the capability CAP_NET_RAW: in a shell run `setcap cap_net_raw+p {program}` once, or be root; for \
         systemd set AmbientCapabilities=CAP_NET_RAW; for a container add the capability NET_RAW"
    )]
    Privilege {
        /// The path of the program.
        program: String,
    },
    /// Anything else.
    #[error("cannot {operation} the {socket} socket: {error}")]
    Other {
        /// What was tried.
        operation: &'static str,
        /// On which socket.
        socket: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// One received message.
#[derive(Debug)]
pub(super) struct Received<'a> {
    /// The sender.
    pub(super) from: Option<IpAddr>,
    /// The bytes.
    pub(super) bytes: &'a [u8],
    /// When the kernel had it: time since the epoch on the wall clock.
    pub(super) stamp: Option<Duration>,
}

/// A socket for reading.
#[derive(Debug)]
pub(super) struct Receiver {
    // tokio has no raw sockets, but readiness is the same for every kind.
    socket: UdpSocket,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    buffers: Vec<[u8; MESSAGE_MAX]>,
    dropped: u32,
}

/// All raw sockets of the process.
#[derive(Debug)]
pub struct Sockets {
    send_v4: Socket,
    /// `None` on a machine without IPv6.
    send_v6: Option<Socket>,
    receivers: Vec<Socket2Receiver>,
}

/// A socket for reading before there is a runtime to read it.
#[derive(Debug)]
struct Socket2Receiver {
    socket: Socket,
    family: Family,
    protocol: Protocol,
}

impl Sockets {
    /// Opens the sockets of every protocol and family. Needs CAP_NET_RAW; IPv6 may be missing on the machine.
    ///
    /// # Errors
    /// [`SocketError::Privilege`] without the capability, [`SocketError::Other`] for anything else.
    pub fn open(wanted: &Wanted) -> Result<Self, SocketError> {
        let send_v4 = open_sender(Domain::IPV4, "sending IPv4")?;
        let mut receivers =
            vec![open_receiver(Family::V4, Protocol::Icmp)?, open_receiver(Family::V4, Protocol::Tcp)?];
        let send_v6 = match open_sender(Domain::IPV6, "sending IPv6") {
            Ok(socket) => {
                receivers.push(open_receiver(Family::V6, Protocol::Icmp)?);
                receivers.push(open_receiver(Family::V6, Protocol::Tcp)?);
                Some(socket)
            }
            Err(SocketError::Other { error, .. })
                if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        let sockets = Self { send_v4, send_v6, receivers };
        for receiver in &sockets.receivers {
            attach_filter(&SockRef::from(&receiver.socket), receiver.family, receiver.protocol, wanted)?;
        }
        Ok(sockets)
    }

    /// Splits into the sending half and the receivers, which need the runtime that will read them.
    ///
    /// # Errors
    /// When the runtime cannot watch a socket.
    pub(super) fn split(self) -> Result<(Sender, Vec<Receiver>), SocketError> {
        let receivers = self.receivers.into_iter().map(|receiver| {
            let socket = StdUdpSocket::from(receiver.socket);
            let socket = UdpSocket::from_std(socket).map_err(|error| failed("watch", "receiving", error))?;
            Ok(Receiver {
                socket,
                family: receiver.family,
                protocol: receiver.protocol,
                buffers: vec![[0; MESSAGE_MAX]; BATCH],
                dropped: 0,
            })
        });
        let receivers = receivers.collect::<Result<_, _>>()?;
        Ok((Sender { v4: self.send_v4, v6: self.send_v6 }, receivers))
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Sender {
    v4: Socket,
    v6: Option<Socket>,
}

impl Sender {
    /// Sends a whole IP packet from this address, through this interface or the one the routes say.
    ///
    /// The kernel looks up the route of a packet that brings its own header without looking into it: source and interface
    /// have to be said again beside it.
    ///
    /// # Errors
    /// What the kernel says: no route, not permitted, no room.
    pub(super) fn send(
        &self,
        packet: &[u8],
        source: IpAddr,
        destination: IpAddr,
        interface: Option<u32>,
    ) -> io::Result<()> {
        let packet = [io::IoSlice::new(packet)];
        let index = interface.unwrap_or(0);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let info = nix::libc::in_pktinfo {
                    ipi_ifindex: i32::try_from(index).unwrap_or(0),
                    ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
                    ipi_addr: nix::libc::in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
                let control = [ControlMessage::Ipv4PacketInfo(&info)];
                sendmsg(self.v4.as_raw_fd(), &packet, &control, MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let socket = self.v6.as_ref().ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))?;
                // Linux holds to an interface only where no source is said (ip6_route_output_flags); with both it would
                // choose among the next hops of all interfaces.
                let source = if interface.is_some() { Ipv6Addr::UNSPECIFIED } else { source };
                let info = nix::libc::in6_pktinfo {
                    ipi6_addr: nix::libc::in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: index,
                };
                let to = SockaddrIn6::from(SocketAddrV6::new(destination, 0, 0, index));
                let control = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(socket.as_raw_fd(), &packet, &control, MsgFlags::empty(), Some(&to))?;
            }
            _ => return Err(Errno::EAFNOSUPPORT.into()),
        }
        Ok(())
    }
}

impl Receiver {
    /// Lets through something else from now on, which needs no privilege. What has arrived stays.
    ///
    /// # Errors
    /// When the system has no room for the filter.
    pub(super) fn filter(&self, wanted: &Wanted) -> Result<(), SocketError> {
        attach_filter(&SockRef::from(&self.socket), self.family, self.protocol, wanted)
    }

    /// Whether there is something to read; wakes the task when there is.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// Reads what is there, at most a batch, and hands over each message. Returns how many the kernel dropped for want of
    /// room since the last call.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when there is nothing, and only then does [`Self::poll_readable`] wait.
    pub(super) fn read(&mut self, mut take: impl FnMut(Received<'_>)) -> io::Result<u32> {
        let Self { socket, buffers, dropped, .. } = self;
        let before = *dropped;
        let descriptor = socket.as_raw_fd();
        let mut batch = || read_batch(descriptor, buffers, dropped, &mut take);
        // The runtime learns of readiness when it looks, and what is there is to be read now. Where nothing is, it has to be
        // told, or it would go on calling the socket readable.
        match batch() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.try_io(Interest::READABLE, batch)?;
            }
            read => read?,
        }
        Ok(self.dropped.wrapping_sub(before))
    }
}

fn read_batch(
    descriptor: RawFd,
    buffers: &mut [[u8; MESSAGE_MAX]],
    dropped: &mut u32,
    take: &mut impl FnMut(Received<'_>),
) -> io::Result<()> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer.as_mut_slice())]).collect();
    // The headers hold raw pointers and must not outlive this call; making them costs less than a microsecond.
    let mut headers =
        MultiHeaders::<SockaddrStorage>::preallocate(BATCH, Some(cmsg_space!(TimeSpec, u32, [u8; 64])));
    let messages = recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    for message in messages {
        let (stamp, overflow) = read_control(&message);
        if let Some(overflow) = overflow {
            *dropped = overflow;
        }
        let from = message.address.as_ref().and_then(sender);
        for bytes in message.iovs() {
            take(Received { from, bytes, stamp });
        }
    }
    Ok(())
}

type ReceivedMessage<'a> = nix::sys::socket::RecvMsg<'a, 'a, SockaddrStorage>;

fn read_control(message: &ReceivedMessage<'_>) -> (Option<Duration>, Option<u32>) {
    let (mut stamp, mut overflow) = (None, None);
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(time) => stamp = Some(Duration::from(time)),
            ControlMessageOwned::RxqOvfl(count) => overflow = Some(count),
            _ => {}
        }
    }
    (stamp, overflow)
}

fn sender(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn open_sender(domain: Domain, name: &'static str) -> Result<Socket, SocketError> {
    let socket = open(domain, nix::libc::IPPROTO_RAW, name)?;
    // IPPROTO_RAW implies it for IPv4 and, in Linux, for IPv6; said once more, it does not depend on that.
    let included = match domain {
        Domain::IPV4 => socket.set_header_included_v4(true),
        _ => socket.set_header_included_v6(true),
    };
    included.map_err(|error| failed("configure", name, error))?;
    Ok(socket)
}

fn open_receiver(family: Family, protocol: Protocol) -> Result<Socket2Receiver, SocketError> {
    let (domain, number, name) = match (family, protocol) {
        (Family::V4, Protocol::Tcp) => (Domain::IPV4, nix::libc::IPPROTO_TCP, "receiving TCP over IPv4"),
        (Family::V6, Protocol::Tcp) => (Domain::IPV6, nix::libc::IPPROTO_TCP, "receiving TCP over IPv6"),
        (Family::V4, _) => (Domain::IPV4, nix::libc::IPPROTO_ICMP, "receiving ICMP"),
        (Family::V6, _) => (Domain::IPV6, nix::libc::IPPROTO_ICMPV6, "receiving ICMPv6"),
    };
    let socket = open(domain, number, name)?;
    setsockopt(&socket.as_fd(), sockopt::ReceiveTimestampns, &true)
        .and_then(|()| setsockopt(&socket.as_fd(), sockopt::RxqOvfl, &1))
        .map_err(|errno| failed("configure", name, errno.into()))?;
    // Without CAP_NET_ADMIN the system's limit holds, and that is fine.
    let _ = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket.as_fd(), sockopt::RcvBuf, &RECEIVE_BUFFER));
    Ok(Socket2Receiver { socket, family, protocol })
}

fn attach_filter(
    socket: &SockRef<'_>,
    family: Family,
    protocol: Protocol,
    wanted: &Wanted,
) -> Result<(), SocketError> {
    let program = match protocol {
        Protocol::Tcp => filter::tcp(family, wanted),
        Protocol::Icmp | Protocol::Udp => filter::icmp(family, wanted),
    };
    socket.attach_filter(&program).map_err(|error| failed("filter", "receiving", error))
}

fn open(domain: Domain, protocol: i32, name: &'static str) -> Result<Socket, SocketError> {
    let socket =
        Socket::new(domain, Type::RAW, Some(protocol.into())).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => SocketError::Privilege { program: program() },
            _ => failed("open", name, error),
        })?;
    socket.set_nonblocking(true).map_err(|error| failed("configure", name, error))?;
    Ok(socket)
}

fn failed(operation: &'static str, socket: &'static str, error: io::Error) -> SocketError {
    SocketError::Other { operation, socket, error }
}

fn program() -> String {
    std::env::current_exe()
        .map_or_else(|_| "traceflow_exporter".to_owned(), |path| path.display().to_string())
}

/// Why nothing can be sent to an address.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// The source that is wanted is not ours.
    #[error("{0} is no address of this machine; allowed is one that `ip address` shows")]
    Source(IpAddr),
    /// The destination is all hosts of a network.
    #[error("it is a broadcast address; only addresses of one host can be traced")]
    Broadcast,
    /// The simulated networks have no such host.
    #[error("there is no such host")]
    Nobody,
    /// Anything else that the kernel says: no route, no such interface, not permitted.
    #[error("{0}; `ip route get` shows where packets to an address go")]
    System(#[from] io::Error),
}

/// The address that the kernel would send from: what the routes say, on the interface if one is given.
///
/// # Errors
/// When there is no way.
pub(super) fn source_towards(
    destination: IpAddr,
    source: Option<IpAddr>,
    interface: Option<&str>,
) -> Result<IpAddr, NoWay> {
    let domain = match destination {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    let any = match destination {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into()).map_err(|error| match source {
        Some(source) if error.kind() == io::ErrorKind::AddrNotAvailable => NoWay::Source(source),
        _ => error.into(),
    })?;
    // Connecting a datagram socket sends nothing: it only looks up the route.
    let destination = SocketAddr::new(destination, 9).into();
    socket.connect(&destination).map_err(|error| {
        // Routes can forbid as well: what is permitted to who says that it wants to broadcast is a broadcast address.
        let is_broadcast = error.kind() == io::ErrorKind::PermissionDenied
            && socket.set_broadcast(true).and_then(|()| socket.connect(&destination)).is_ok();
        if is_broadcast { NoWay::Broadcast } else { error.into() }
    })?;
    let local = socket.local_addr()?.as_socket();
    Ok(local.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?.ip())
}

/// The index of an interface.
///
/// # Errors
/// When there is none of this name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}
