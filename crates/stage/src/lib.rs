//! What every executable shares: command line, messages, progress, atomic files, locks, limits.
