//! What every executable of the pipeline shares: the command line, messages with stable codes, progress, the run report,
//! differences of options, atomic files, locks on output directories, resource limits and signals.
//!
//! An executable's `main` is `stage::main("preprocess", env!("CARGO_PKG_VERSION"), preprocess::run)`.

pub mod arguments;
pub mod atomic;
pub mod context;
pub mod differences;
pub mod disk;
pub mod exit;
pub mod interrupt;
pub mod limits;
pub mod lock;
pub mod message;
pub mod output;
pub mod progress;
pub mod report;
pub mod run;
pub mod sealed;

pub use arguments::{Common, Compute};
pub use context::Context;
pub use differences::{Difference, differences};
pub use exit::ExitStatus;
pub use message::{Message, Severity};
pub use output::Output;
pub use progress::Progress;
pub use run::{main, status_of};
