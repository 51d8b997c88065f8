//! References without a prediction: they count, are left out, or stop everything, but are never forgotten.

use clap::ValueEnum;
use serde::Serialize;
use stage::{Context, Message};

/// What to do with references that have no prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Count them as empty predictions
    Worst,
    /// Leave them out, and say how many
    Skip,
    /// Refuse to score
    Error,
}

impl Missing {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }

    /// Says which of `listed` references have no prediction; `place` is where they were looked for.
    ///
    /// # Errors
    /// `E501` for some, by [`Missing::Error`].
    pub(crate) fn tell(
        self,
        missing: &[String],
        listed: usize,
        place: String,
        context: &Context,
    ) -> Result<(), Message> {
        let Some(first) = missing.first() else { return Ok(()) };
        let what = format!("{} of {listed} references have no prediction (first: {first})", missing.len());
        let warning = |cause: &str| Message::warning("W501", what.clone()).detail(place.clone()).cause(cause);
        match self {
            Self::Error => {
                return Err(Message::error("E501", what).detail(place).fix(
                    "Predict them, or use --missing worst to count them as empty or --missing skip to leave them out",
                ));
            }
            Self::Worst => context.tell(warning("They count as empty predictions")),
            Self::Skip => context.tell(warning("They are left out of every mean")),
        }
        Ok(())
    }
}
