//! Ctrl-C and SIGTERM as a flag to look at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What shells report for a process ended by SIGINT.
const INTERRUPTED_CODE: i32 = 130;

/// Whether somebody asked us to end. A second request ends us at once; the children then end by
/// their closed pipes.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on Ctrl-C, SIGTERM and a lost terminal set the flag instead of ending us.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first request finds the flag unset and passes the shutdown by.
            flag::register_conditional_shutdown(signal, INTERRUPTED_CODE, interrupt.0.clone())?;
            flag::register(signal, interrupt.0.clone())?;
        }
        Ok(interrupt)
    }

    /// Whether the request has come.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
