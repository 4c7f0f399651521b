//! Loopback ports that nobody listens on.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use anyhow::{Result, bail};

/// Below the ports that the kernel gives to outgoing connections (from 32768 on by default), or
/// one of those could take the port before its server does.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
const ATTEMPTS_MAX: usize = 1_000;

/// Ports given out by this process: never the same twice.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// One free loopback port.
pub fn free_port() -> Result<u16> {
    // A poisoned lock guards a set that is whole after every insertion.
    let mut given = GIVEN
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for _ in 0..ATTEMPTS_MAX {
        let port = FIRST + random_below(COUNT);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!(
        "no free loopback port found from {FIRST} to {}",
        FIRST + COUNT - 1
    )
}

/// `count` different free loopback ports.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    (0..count).map(|_| free_port()).collect()
}

fn random_below(bound: u16) -> u16 {
    let random = RandomState::new().hash_one(std::process::id());
    u16::try_from(random % u64::from(bound)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = free_ports(64).unwrap();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
        let listeners: Vec<TcpListener> = ports
            .iter()
            .filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).ok())
            .collect();
        // Another process may take one meanwhile, not most of them.
        assert!(listeners.len() > ports.len() / 2);
    }
}
