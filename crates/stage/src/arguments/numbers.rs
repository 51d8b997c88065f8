//! Numbers as they are written on the command line: what each kind may be, and what is said of others. clap puts the flag before it.

use std::time::Duration;

fn number(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && fits(*value));
    value.ok_or_else(|| format!("expected {expected}"))
}

/// A share of a whole.
///
/// # Errors
/// What is no number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
}

/// A share that takes something of the whole.
///
/// # Errors
/// What is no number above 0 and at most 1.
pub fn some(text: &str) -> Result<f64, String> {
    number(text, "a number above 0 and at most 1", |value| value > 0.0 && value <= 1.0)
}

/// A share that leaves something of the whole.
///
/// # Errors
/// What is no number from 0 to below 1.
pub fn part(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to below 1", |value| (0.0..1.0).contains(&value))
}

/// A size, or what is divided by.
///
/// # Errors
/// What is no finite number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |value| value > 0.0)
}

/// A weight: 0 takes away what it weighs.
///
/// # Errors
/// What is no finite number from 0 on.
pub fn weight(text: &str) -> Result<f64, String> {
    number(text, "0 or a larger number", |value| value >= 0.0)
}

/// A time in minutes.
///
/// # Errors
/// What is negative, or longer than a time can be.
pub fn minutes(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map(|minutes| minutes * 60.0);
    let time = seconds.ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "expected 0 or more minutes".to_owned())
}

/// Whole numbers along z, y and x, such as a margin that an axis may lack: `4,64,64` or `4x64x64`.
///
/// # Errors
/// What is no whole number, and more or fewer than three of them.
pub fn triple(text: &str) -> Result<[usize; 3], String> {
    let numbers: Vec<usize> = text
        .split([',', 'x'])
        .map(|part| part.trim().parse().map_err(|_| format!("'{part}' is not a whole number")))
        .collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|found: Vec<usize>| format!("found {} numbers, expected z,y,x", found.len()))
}

/// As [`triple`], of what has to be at least 1 along each axis, such as the edges of a patch.
///
/// # Errors
/// As [`triple`], and a 0.
pub fn edges(text: &str) -> Result<[usize; 3], String> {
    let edges = triple(text)?;
    if edges.contains(&0) {
        return Err("expected at least 1 along each axis".to_owned());
    }
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        assert_eq!((share("0.33"), share("1"), share("0")), (Ok(0.33), Ok(1.0), Ok(0.0)));
        assert!(["1.1", "-0.1", "NaN", "half"].iter().all(|bad| share(bad).is_err()));
        assert_eq!((some("0.01"), some("1")), (Ok(0.01), Ok(1.0)));
        assert!(["0", "-0.1", "1.1", "NaN"].iter().all(|bad| some(bad).is_err()));
        assert_eq!((part("0"), part("0.999")), (Ok(0.0), Ok(0.999)));
        assert!(["1", "-0.1", "NaN"].iter().all(|bad| part(bad).is_err()));
        assert_eq!((positive("0.07"), weight("0")), (Ok(0.07), Ok(0.0)));
        assert!(["0", "-1", "inf", "NaN", "warm"].iter().all(|bad| positive(bad).is_err()));
        assert!(["-0.1", "inf", "NaN", "much"].iter().all(|bad| weight(bad).is_err()));
        assert_eq!(positive("0").unwrap_err(), "expected a number above 0");
    }

    #[test]
    fn negative_and_endless_times_are_refused() {
        assert_eq!(
            (minutes("0.5"), minutes("2")),
            (Ok(Duration::from_secs(30)), Ok(Duration::from_secs(120)))
        );
        for bad in ["-1", "inf", "NaN", "soon"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn axes_have_a_number_each() {
        assert_eq!((edges("18,160,160"), edges("18x160x160")), (Ok([18, 160, 160]), Ok([18, 160, 160])));
        assert_eq!(triple("0, 64, 64"), Ok([0, 64, 64]));
        assert!(triple("18,160").unwrap_err().contains("found 2 numbers"));
        assert!(triple("18,half,160").unwrap_err().contains("'half'"));
        assert!(edges("0,1,1").is_err() && edges("1,1,-1").is_err());
    }
}
