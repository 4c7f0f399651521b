//! Whom the agents' containers can reach: real connection attempts from inside them.
//!
//! An attempt that fails proves something only where the same one succeeds from elsewhere, so each
//! address in the cloud is also tried from a fog, which must reach it.

use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, bail, ensure};

use super::project::Project;
use super::{REGIONS, Region};
use crate::processes::run_to_end;

/// Where a fog's broker listens.
const BROKER_PORT: u16 = 8883;
/// Where nats-server listens.
const NATS_PORT: u16 = 4222;
/// Where Jaeger takes spans.
const OTLP_PORT: u16 = 4317;
/// Nothing listens there: a host that is reached refuses.
const CLOSED_PORT: u16 = 9;
/// An address that is nobody's (RFC 5737): without a way out it is answered for at once.
const OUTSIDE: &str = "192.0.2.1";
/// Seconds for one attempt.
const ATTEMPT_S: &str = "5";
/// What `timeout` exits with when time is up.
const TIME_UP: i32 = 124;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Somebody accepted.
    Connected,
    /// The host answered that nothing listens there: it was reached all the same.
    Refused,
    /// There is no way.
    NoWay,
}

/// A host as an attempt sees it.
#[derive(Debug, Clone)]
struct Target {
    what: String,
    address: String,
    port: u16,
}

/// Tries everybody from every agent.
///
/// # Errors
/// An agent reaches what it must not, or does not reach its own fog; or the attempts prove nothing.
pub(super) fn check(project: &Project) -> Result<()> {
    let mut failed = 0;
    for region in &REGIONS {
        let fog = project.container(&region.fog())?;
        let cloud = cloud(project, region)?;
        for target in &cloud {
            let reach = attempt(&fog, target)?;
            ensure!(
                reach != Reach::NoWay,
                "{} does not reach {} at {}:{}, so attempts of agents would prove nothing",
                region.fog(),
                target.what,
                target.address,
                target.port
            );
        }
        let mut forbidden = cloud;
        forbidden.extend(others(project, region)?);
        forbidden.push(Target::new("the outside world", OUTSIDE, CLOSED_PORT));
        forbidden.push(Target::new(
            "this machine",
            &gateway(project, region.name)?,
            CLOSED_PORT,
        ));
        for device in region.devices {
            failed += check_agent(project, region, device, &forbidden)?;
        }
    }
    println!(
        "each agent reaches its own fog's broker; {failed} attempts to reach anybody else found no way"
    );
    Ok(())
}

/// Tries everybody from one agent; gives how many attempts found no way.
fn check_agent(
    project: &Project,
    region: &Region,
    device: &str,
    forbidden: &[Target],
) -> Result<usize> {
    let agent = project.container(device)?;
    let own = Target::new("its own fog", &region.fog(), BROKER_PORT);
    ensure!(
        attempt(&agent, &own)? == Reach::Connected,
        "{device} does not reach {} at {}:{BROKER_PORT}",
        own.what,
        own.address
    );
    // At once: each waits seconds for an answer that must not come.
    let attempts: Vec<Result<Reach>> = thread::scope(|scope| {
        let attempts: Vec<_> = forbidden
            .iter()
            .map(|target| scope.spawn(|| attempt(&agent, target)))
            .collect();
        attempts.into_iter().map(ended).collect()
    });
    for (target, reach) in forbidden.iter().zip(attempts) {
        let reach = reach?;
        ensure!(
            reach == Reach::NoWay,
            "{device} reaches {} at {}:{} ({reach:?}), and must not",
            target.what,
            target.address,
            target.port
        );
    }
    Ok(forbidden.len())
}

fn ended(attempt: ScopedJoinHandle<'_, Result<Reach>>) -> Result<Reach> {
    attempt
        .join()
        .unwrap_or_else(|_| bail!("an attempt's thread panicked"))
}

impl Target {
    fn new(what: &str, address: &str, port: u16) -> Self {
        Self {
            what: what.to_owned(),
            address: address.to_owned(),
            port,
        }
    }
}

/// Everybody in the cloud besides the region's own fog, at the addresses that this fog shares.
fn cloud(project: &Project, region: &Region) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    let mut services = vec![
        ("nats".to_owned(), NATS_PORT),
        ("root".to_owned(), CLOSED_PORT),
        ("jaeger".to_owned(), OTLP_PORT),
    ];
    let others = REGIONS.iter().filter(|other| other.name != region.name);
    services.extend(others.map(|other| (other.fog(), BROKER_PORT)));
    for (service, port) in services {
        let network = format!("{}_cloud", project.name());
        let address = addresses(project, &service)?
            .into_iter()
            .find(|(name, _)| *name == network);
        let (_, address) =
            address.with_context(|| format!("{service} has no address in {network}"))?;
        targets.push(Target::new(&service, &address, port));
    }
    Ok(targets)
}

/// Fogs and agents of the other regions, at the addresses that they have there.
fn others(project: &Project, region: &Region) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for other in REGIONS.iter().filter(|other| other.name != region.name) {
        let network = format!("{}_{}", project.name(), other.name);
        let fog = (other.fog(), BROKER_PORT);
        let agents = other
            .devices
            .iter()
            .map(|name| ((*name).to_owned(), CLOSED_PORT));
        for (service, port) in std::iter::once(fog).chain(agents) {
            let found = addresses(project, &service)?;
            let there = found.iter().filter(|(name, _)| *name == network);
            let what = format!("{service} of another region");
            targets.extend(there.map(|(_, address)| Target::new(&what, address, port)));
        }
    }
    ensure!(!targets.is_empty(), "there is no other region to try");
    Ok(targets)
}

/// The networks of a service's container, each with its address there.
fn addresses(project: &Project, service: &str) -> Result<Vec<(String, String)>> {
    let container = project.container(service)?;
    let format =
        "{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{$n.IPAddress}}\n{{end}}";
    let printed =
        run_to_end(Command::new("docker").args(["inspect", "--format", format, &container]))?;
    Ok(pairs(&printed))
}

fn pairs(printed: &str) -> Vec<(String, String)> {
    let lines = printed.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(_, address)| !address.trim().is_empty())
        .map(|(name, address)| (name.to_owned(), address.trim().to_owned()))
        .collect()
}

/// The address that this machine would have in a network.
fn gateway(project: &Project, network: &str) -> Result<String> {
    let network = format!("{}_{network}", project.name());
    let format = "{{range .IPAM.Config}}{{.Gateway}}\n{{end}}";
    let inspect = ["network", "inspect", "--format", format, &network];
    let printed = run_to_end(Command::new("docker").args(inspect))?;
    let address = printed.lines().map(str::trim).find(|line| !line.is_empty());
    let address = address.with_context(|| format!("network {network} has no gateway's address"))?;
    Ok(address.to_owned())
}

fn attempt(container: &str, target: &Target) -> Result<Reach> {
    let Target {
        what,
        address,
        port,
    } = target;
    let output = Command::new("docker")
        .args(["exec", "--env", "LC_ALL=C", container])
        .args(["timeout", ATTEMPT_S, "bash", "-c"])
        .args([r#"exec 3<>"/dev/tcp/$0/$1""#, address, &port.to_string()])
        .output()
        .context("cannot run docker exec")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let Some(reach) = read(output.status.code(), &said) else {
        bail!("the attempt to reach {what} at {address}:{port} says nothing: {said}");
    };
    Ok(reach)
}

/// What an attempt's exit code and words mean; none where they are of something else.
fn read(code: Option<i32>, said: &str) -> Option<Reach> {
    let no_way = [
        "Network is unreachable",
        "No route to host",
        "Connection timed out",
    ];
    match code {
        Some(0) => Some(Reach::Connected),
        Some(TIME_UP) => Some(Reach::NoWay),
        Some(_) if said.contains("Connection refused") => Some(Reach::Refused),
        Some(_) if no_way.iter().any(|words| said.contains(words)) => Some(Reach::NoWay),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_by_what_bash_says() {
        let check = |code: i32, said: &str, expected: Option<Reach>| {
            assert_eq!(read(Some(code), said), expected, "{code} {said}");
        };
        check(0, "", Some(Reach::Connected));
        check(TIME_UP, "", Some(Reach::NoWay));
        check(
            1,
            "172.20.0.2: connect: Connection refused",
            Some(Reach::Refused),
        );
        check(
            1,
            "172.20.0.2: connect: Network is unreachable",
            Some(Reach::NoWay),
        );
        check(
            1,
            "172.20.0.2: connect: No route to host",
            Some(Reach::NoWay),
        );
        check(
            1,
            "172.20.0.2: connect: Connection timed out",
            Some(Reach::NoWay),
        );
        check(126, "OCI runtime exec failed", None);
        check(1, "fog: Name or service not known", None);
        assert_eq!(read(None, ""), None);
    }

    #[test]
    fn addresses_are_read_by_network() {
        let printed = "p_cloud 172.20.0.3\np_none \n\np_north 172.21.0.2\n";
        let expected = [("p_cloud", "172.20.0.3"), ("p_north", "172.21.0.2")]
            .map(|(name, address)| (name.to_owned(), address.to_owned()));
        assert_eq!(pairs(printed), expected);
    }
}
