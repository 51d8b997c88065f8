//! Averaging gradients between processes, bucket by bucket.

use super::bucket::{Bucket, layout};
use super::ffi::{Called, Hook};
use super::{Fingerprint, Group, Pending};
use crate::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use tch::Tensor;

/// Bytes of gradients that travel together: large enough for the network, small enough to start early.
pub const BUCKET_BYTES: usize = 25 * 1024 * 1024;

/// Averages the gradients of a model's parameters over all processes, while the backward pass still makes others.
///
/// Gradients are copied into flat buckets in the reverse order of the parameters, as the backward pass makes them. After [`Reducer::arm`] a
/// bucket starts to be summed as soon as all its gradients are there and the buckets before it have started: all processes start them in one
/// order. Which parameters have gradients in a pass is learnt from the step before; where that changes, their buckets are summed anew.
///
/// A parameter without a gradient on some processes counts as zero there and gets one; without a gradient on any it stays without.
pub struct Reducer {
    // taken away before what they call
    _hooks: Vec<Hook>,
    size: usize,
    flight: Arc<Mutex<Flight>>,
}

/// Buckets and what of them is under way.
struct Flight {
    group: Group,
    buckets: Vec<Bucket>,
    /// The bucket of each parameter.
    bucket_of: Vec<usize>,
    /// Whether gradients that come are the last ones of the step.
    armed: bool,
    /// Which parameters had a gradient in the last pass of the step before, and in this one so far.
    expected: Vec<bool>,
    seen: Vec<bool>,
    /// Of each bucket, how many gradients are to come.
    missing: Vec<usize>,
    /// Sums under way, of the first buckets.
    started: Vec<Pending>,
    /// A gradient came to a bucket that had started.
    stale: bool,
    /// The first failure within a backward pass.
    failed: Option<Error>,
}

impl std::fmt::Debug for Reducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reducer").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Reducer {
    /// Lays out buckets of about `bucket_bytes` ([`BUCKET_BYTES`]) for `parameters`, which require gradients, after comparing their types,
    /// shapes and order between the processes. Every process has the same layout.
    ///
    /// # Errors
    /// E333 when parameters differ; E331 when a process does not come.
    pub fn new(group: &Group, parameters: &[Tensor], bucket_bytes: usize) -> Result<Self, Error> {
        group.agree("parameters", Fingerprint::of(parameters).and_text(&bucket_bytes.to_string()))?;
        let ranges = layout(parameters, bucket_bytes);
        let mut bucket_of = vec![0; parameters.len()];
        for (bucket, range) in ranges.iter().enumerate() {
            bucket_of[range.clone()].fill(bucket);
        }
        let buckets: Vec<Bucket> = ranges
            .into_iter()
            .map(|range| Bucket::new(parameters[range].iter().rev()))
            .collect::<Result<_, _>>()?;
        let flight = Arc::new(Mutex::new(Flight {
            group: group.clone(),
            missing: vec![0; buckets.len()],
            buckets,
            bucket_of,
            armed: false,
            expected: vec![false; parameters.len()],
            seen: vec![false; parameters.len()],
            started: Vec::new(),
            stale: false,
            failed: None,
        }));
        let size = group.size();
        let mut hooks = Vec::new();
        if size > 1 {
            let shared = Arc::clone(&flight);
            let called: Arc<Called> = Arc::new(Box::new(move |index| {
                // poisoned by a panic in here: the next who waits says so
                if let Ok(mut flight) = shared.lock() {
                    flight.came(index);
                }
            }));
            for (index, parameter) in parameters.iter().enumerate() {
                let hook = Hook::after_gradient(parameter, index, Arc::clone(&called));
                hooks.push(hook.map_err(Error::Torch)?);
            }
        }
        Ok(Self { _hooks: hooks, size, flight })
    }

    fn flight(&self) -> Result<MutexGuard<'_, Flight>, Error> {
        self.flight
            .lock()
            .map_err(|_| Error::Torch("averaging gradients failed within the backward pass".to_owned()))
    }

    /// The next backward pass is the last of this step: what it completes may be sent. A step of several passes that is never armed is averaged
    /// as well.
    ///
    /// # Errors
    /// When a backward pass failed in here before.
    pub fn arm(&self) -> Result<(), Error> {
        if self.size > 1 { self.flight()?.arm() } else { Ok(()) }
    }

    /// Starts what the backward pass left, which has ended; all processes have then started all buckets. Whether a gradient came late on this
    /// one; [`Reducer::finish`] wants to know whether it did on any.
    ///
    /// # Errors
    /// E332 when a peer is lost; what a backward pass failed with.
    pub fn start_rest(&self) -> Result<bool, Error> {
        if self.size == 1 {
            return Ok(false);
        }
        let mut flight = self.flight()?;
        let armed = std::mem::take(&mut flight.armed);
        if let Some(error) = flight.failed.take() {
            return Err(error);
        }
        let _guard = tch::no_grad_guard();
        while flight.started.len() < flight.buckets.len() {
            flight.start_next()?;
        }
        let flight = &mut *flight;
        if armed {
            std::mem::swap(&mut flight.expected, &mut flight.seen);
        }
        Ok(std::mem::take(&mut flight.stale))
    }

    /// Waits for all sums and replaces every parameter's gradient by its mean over the processes. With `again` gradients came late on some
    /// process: they are summed anew.
    ///
    /// # Errors
    /// E332 when a peer is lost; gradients are then half averaged, and no step may be made with them.
    pub fn finish(&self, again: bool) -> Result<(), Error> {
        if self.size == 1 {
            return Ok(());
        }
        let mut flight = self.flight()?;
        let _guard = tch::no_grad_guard();
        if again {
            flight.discard()?;
            while flight.started.len() < flight.buckets.len() {
                flight.start_next()?;
            }
        }
        let pending = std::mem::take(&mut flight.started);
        for (bucket, pending) in flight.buckets.iter().zip(pending) {
            pending.wait()?;
            bucket.spread(self.size)?;
        }
        Ok(())
    }

    /// Waits for all sums and leaves gradients as they are: of a step that is not made.
    ///
    /// # Errors
    /// E332 when a peer is lost.
    pub fn discard(&self) -> Result<(), Error> {
        if self.size > 1 { self.flight()?.discard() } else { Ok(()) }
    }

    /// Replaces every parameter's gradient by its mean over the processes. Call it on all processes, after the backward
    /// pass and before gradients are clipped or used.
    ///
    /// # Errors
    /// As [`Reducer::finish`].
    pub fn average(&self) -> Result<(), Error> {
        self.start_rest()?;
        self.finish(false)
    }

    /// How many buckets there are.
    ///
    /// # Errors
    /// As [`Reducer::arm`].
    pub fn buckets(&self) -> Result<usize, Error> {
        Ok(self.flight()?.buckets.len())
    }

    /// How many buckets are being summed.
    ///
    /// # Errors
    /// As [`Reducer::arm`].
    pub fn started(&self) -> Result<usize, Error> {
        Ok(self.flight()?.started.len())
    }
}

impl Flight {
    fn arm(&mut self) -> Result<(), Error> {
        // of a step that was given up in between
        self.discard()?;
        self.armed = true;
        self.stale = false;
        self.seen.fill(false);
        self.missing.fill(0);
        for (bucket, expected) in self.bucket_of.iter().zip(&self.expected) {
            self.missing[*bucket] += usize::from(*expected);
        }
        // nothing is known of the first step's gradients: its buckets wait for its end
        if !self.expected.contains(&true) {
            self.missing.fill(usize::MAX);
        }
        Ok(())
    }

    /// The gradient of a parameter is complete, for this backward pass.
    fn came(&mut self, parameter: usize) {
        if !self.armed || self.failed.is_some() {
            return;
        }
        self.seen[parameter] = true;
        let bucket = self.bucket_of[parameter];
        if bucket < self.started.len() {
            self.stale = true;
            return;
        }
        if self.expected[parameter] {
            self.missing[bucket] = self.missing[bucket].saturating_sub(1);
        }
        let _guard = tch::no_grad_guard();
        while let next = self.started.len()
            && self.missing.get(next) == Some(&0)
        {
            if let Err(error) = self.start_next() {
                self.failed = Some(error);
                return;
            }
        }
    }

    fn start_next(&mut self) -> Result<(), Error> {
        let bucket = &self.buckets[self.started.len()];
        bucket.fill()?;
        let pending = self.group.start_all_reduce_sum(&bucket.flat)?;
        self.started.push(pending);
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Error> {
        std::mem::take(&mut self.started).into_iter().try_for_each(Pending::wait)
    }
}
