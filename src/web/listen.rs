//! Listening sockets. They are opened before anything runs, so that a taken port is an error at start and not a surprise later.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
};

use socket2::{Domain, Socket, Type};

/// Connections that may wait to be accepted; the kernel holds it to its own limit.
const BACKLOG: i32 = 1024;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The text is no address.
    #[error("`{address}` is no address to listen on; write HOST:PORT, [IPV6]:PORT or :PORT")]
    Invalid {
        /// As it was given.
        address: String,
    },
    /// The system refuses.
    #[error("cannot listen on {address}: {source}{}", advice(.source))]
    Refused {
        /// As it was given.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// What to do about it, where that can be told.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop what listens there, or name another address with --web.listen-address"
        }
        io::ErrorKind::PermissionDenied => {
            "; name a port from 1024 on with --web.listen-address, or start it with the capability CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "; name an address of this machine with --web.listen-address",
        _ => "",
    }
}

/// Whether a text is an address to listen on, as far as can be told without the system.
///
/// # Errors
/// [`BindError::Invalid`] where it is not.
pub fn check_address(address: &str) -> Result<(), BindError> {
    split(address).map(drop)
}

/// Opens a listening socket for each of `addresses`: `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for all addresses of both families
/// (of IPv4 alone where the machine has no IPv6). Port 0 is any free port. The sockets do not block.
///
/// # Errors
/// At the first text that is no address, and at the first address that the system refuses.
pub fn bind<A: AsRef<str>>(addresses: &[A]) -> Result<Vec<TcpListener>, BindError> {
    addresses.iter().map(|address| bind_one(address.as_ref())).collect()
}

fn bind_one(address: &str) -> Result<TcpListener, BindError> {
    let (host, port) = split(address)?;
    let listener = if host.is_empty() { everywhere(port) } else { on_host(address) };
    listener.map_err(|source| BindError::Refused { address: address.to_owned(), source })
}

/// Host and port.
fn split(address: &str) -> Result<(&str, u16), BindError> {
    let invalid = || BindError::Invalid { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if bare_v6 { Err(invalid()) } else { Ok((host, port)) }
}

/// One socket for both families; for IPv4 alone where IPv6 is switched off.
fn everywhere(port: u16) -> io::Result<TcpListener> {
    match open((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(listener) => Ok(listener),
        Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            Err(error)
        }
        Err(_) => open((Ipv4Addr::UNSPECIFIED, port).into()),
    }
}

/// On the first address of the host that can be listened on.
fn on_host(address: &str) -> io::Result<TcpListener> {
    let mut refused = None;
    for address in address.to_socket_addrs()? {
        match open(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("the host has no address")))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // Whether `[::]` includes IPv4 must not depend on the machine's settings.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Connections of the process before us that linger in TIME_WAIT are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_family_of_exporters_writes_them() {
        for (address, everywhere) in
            [(":0", true), ("127.0.0.1:0", false), ("0.0.0.0:0", true), ("localhost:0", false)]
        {
            let listeners = bind(&[address]).expect(address);
            let bound = listeners[0].local_addr().expect("an address");
            assert_eq!(bound.ip().is_unspecified(), everywhere, "{address}: {bound}");
            assert_ne!(bound.port(), 0, "{address}");
        }
        for address in
            ["", "10659", "localhost", "127.0.0.1:", "127.0.0.1:http", "::1:10659", ":65536", "[::1:1"]
        {
            let error = bind(&[address]).expect_err(address);
            assert!(matches!(error, BindError::Invalid { .. }), "{address}: {error}");
            assert!(error.to_string().contains(&format!("`{address}`")), "{error}");
        }
    }

    #[test]
    fn all_addresses_means_both_families() {
        let listeners = bind(&[":0"]).expect("a free port");
        let port = listeners[0].local_addr().expect("an address").port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 is heard");
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = bind(&["127.0.0.1:0"]).expect("a free port");
        let taken = first[0].local_addr().expect("an address").to_string();
        let error = bind(&["127.0.0.1:0", taken.as_str()]).expect_err("it is taken").to_string();
        let start = format!("cannot listen on {taken}: Address already in use");
        assert!(error.starts_with(&start) && error.contains("; stop what listens there, or "), "{error}");
    }
}
