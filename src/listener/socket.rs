//! Where a listening socket comes from: handed over, or bound here; either way it stands in Pingora's table, so that the
//! next process can be handed it.
//!
//! An IPv6 address listens for IPv6 only: `[::]:443` and `0.0.0.0:443` are two listeners, each seen in log and metrics.

use pingora::server::ListenFds;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd, RawFd},
};

/// Connections the kernel keeps ready for us (it caps this by `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening socket; the threads that accept share it.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

/// A listener could not be had.
#[derive(Debug)]
pub struct BindError {
    /// As configured.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl Bound {
    /// Takes the socket that stands under `key` in the table, or binds `address` and puts it there. The table wins over
    /// `address`: a socket handed over for port 0 keeps its port.
    ///
    /// # Errors
    /// The address is taken, not ours, or needs a right; or what was handed over is no listening socket.
    pub fn take(key: &str, address: SocketAddr, fds: Option<&ListenFds>) -> Result<Bound, BindError> {
        let inherited = fds.and_then(|fds| fds.lock().get(key).copied());
        let bound = match inherited {
            Some(fd) => adopt(fd),
            None => bind(address),
        };
        let bound = bound.and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Bound { socket, address })
        });
        let bound = bound.map_err(|source| BindError { address, source })?;
        if let (None, Some(fds)) = (inherited, fds) {
            fds.lock().add(key.to_owned(), bound.socket.as_raw_fd());
        }
        Ok(bound)
    }

    /// The real address: with port 0 configured, the port the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle of the same socket for one more runtime.
    ///
    /// # Errors
    /// No descriptor is left, or this is no runtime with IO.
    pub(super) fn accepting(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket.try_clone()?)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[expect(unsafe_code, reason = "a descriptor handed over by number has no safe constructor")]
fn adopt(fd: RawFd) -> io::Result<TcpListener> {
    use std::os::fd::FromRawFd;
    // SAFETY: the number comes from Pingora's table: received over its hand-over socket, it is open and nobody else's. It is
    // adopted once: `Listener` keeps the one `Bound` of its key. The table only passes the number on at the next upgrade.
    let socket = unsafe { TcpListener::from_raw_fd(fd) };
    let listens = socket2::SockRef::from(&socket).is_listener()?;
    if listens { Ok(socket) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;
    use pingora::server::{Fds, ListenFds};
    use std::{net::TcpStream, os::fd::IntoRawFd, sync::Arc};

    fn table() -> ListenFds {
        Arc::new(Fds::new().into())
    }

    #[test]
    fn what_is_bound_is_handed_over_under_its_key() {
        let (first, second) = (table(), table());
        let bound = Bound::take("edge", "127.0.0.1:0".parse().unwrap(), Some(&first)).unwrap();
        assert_ne!(bound.address().port(), 0);
        let fd = *first.lock().get("edge").unwrap();
        // What the kernel does at a hand-over: another number for the same socket.
        let copy = bound.socket.try_clone().unwrap().into_raw_fd();
        assert_ne!(copy, fd);
        second.lock().add("edge".into(), copy);
        let heir = Bound::take("edge", "127.0.0.1:0".parse().unwrap(), Some(&second)).unwrap();
        assert_eq!(heir.address(), bound.address());
        drop(bound);
        TcpStream::connect(heir.address()).unwrap();
    }

    #[test]
    fn an_address_that_is_taken_is_one_clear_line() {
        let bound = Bound::take("a", "127.0.0.1:0".parse().unwrap(), None).unwrap();
        let error = Bound::take("b", bound.address(), None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}: ", bound.address())), "{error}");
    }

    #[test]
    fn an_ipv6_address_leaves_ipv4_alone() {
        let Ok(six) = Bound::take("six", "[::]:0".parse().unwrap(), None) else { return };
        let four = format!("0.0.0.0:{}", six.address().port()).parse().unwrap();
        Bound::take("four", four, None).unwrap();
    }
}
