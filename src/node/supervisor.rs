//! What supervises the node (systemd with `Type=notify`) is told when it serves, which process it is now, and that it stops:
//! `sd_notify(3)`, a datagram to the socket that `NOTIFY_SOCKET` names. Nobody there: nothing is said.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// This process serves, in the place of whichever did before.
pub(super) fn serving() {
    tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
}

/// This process goes, and no other takes its place.
pub(super) fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(state: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(name.as_bytes(), state.as_bytes()) {
        tracing::warn!(%error, socket = %name.display(), "the supervisor cannot be told how the node is");
    }
}

/// A name that begins with `@` is of Linux's abstract namespace.
fn send(name: &[u8], state: &[u8]) -> io::Result<()> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state, &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{SocketAddr, SocketAddrExt, UnixDatagram, send};

    #[test]
    fn both_kinds_of_name_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("lectern-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.to_str().unwrap().as_bytes(), b"READY=1\n").unwrap();
        send(format!("@{name}").as_bytes(), b"READY=1\n").unwrap();
        for socket in [by_path, by_name] {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
        assert!(send(b"/nowhere/notify", b"").is_err());
    }
}
