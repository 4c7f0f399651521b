//! Checksums of files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

const READ_BYTES: usize = 64 << 10;

/// SHA-256 of a file, in hex.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let unreadable = || format!("cannot read {}", path.display());
    let mut reader = File::open(path).with_context(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = reader.read(&mut buffer).with_context(unreadable)?;
        if count == 0 {
            let digest = hash.finalize();
            return Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..count]);
    }
}
