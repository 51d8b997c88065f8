//! Batches made ahead of time by several threads and handed out in the order of the steps.
//!
//! A batch is a pure function of its step, so the number of threads changes nothing but speed, and a resumed run continues
//! with the very batch at which it stopped. A batch may be plain memory; where it is used on a GPU, [`torch_runtime::transfer`] lets the threads
//! that make it bring it there too.

use crate::error::BoxedError;
use crate::step::{BatchSource, Fetched};
use crate::{Result, TrainingError};
use stage::limits;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tch::Device;
use torch_runtime::Precision;

/// How many batches may be made or in the making ahead of training, for so many threads.
#[must_use]
pub fn depth(workers: usize) -> usize {
    2 * workers
}

/// Refuses batches of which memory cannot hold as many as wait, before anything is begun or discarded for them. `sizes` are factors of the bytes
/// of one, `steps` is how many there will be. For a GPU memory holds those that are in the making.
///
/// # Errors
/// E305 says what they take and what there is.
pub fn check_room(
    sizes: impl IntoIterator<Item = usize>,
    workers: usize,
    steps: u64,
    device: Device,
) -> Result<()> {
    let held = if device.is_cuda() { workers } else { depth(workers) } as u64;
    let held = held.min(steps);
    let bytes_of_batch = sizes.into_iter().fold(1_u64, |bytes, size| bytes.saturating_mul(size as u64));
    let granted = limits::memory_bytes().unwrap_or(u64::MAX);
    let needed = bytes_of_batch.saturating_mul(held);
    if needed <= granted {
        return Ok(());
    }
    let [one, all, granted] = [bytes_of_batch, needed, granted].map(limits::size);
    Err(TrainingError::NoRoom(format!(
        "batches do not fit into memory: {held} at a time of {one} are {all}, available {granted}"
    )))
}

/// Refuses a step whose first maps alone are more than memory holds, which the system would end without a word. `numbers` are those of the
/// maps of all samples that are in work at once. A GPU says itself when its memory is full.
///
/// # Errors
/// E305 says what they take and what there is.
pub fn check_maps(numbers: u64, precision: Precision, device: Device) -> Result<()> {
    let bytes_of_number = if precision == Precision::Bf16 { 2 } else { 4 };
    let needed = numbers.saturating_mul(bytes_of_number);
    let granted = limits::memory_bytes().unwrap_or(u64::MAX);
    if device.is_cuda() || needed <= granted {
        return Ok(());
    }
    let [needed, granted] = [needed, granted].map(limits::size);
    Err(TrainingError::NoRoom(format!(
        "a step does not fit into memory: the maps of the network's first stage alone are {needed}, available {granted}"
    )))
}

type Made<B> = std::result::Result<B, BoxedError>;

/// A batch and how long a thread made it.
type Timed<B> = (Made<B>, Duration);

struct Queue<B> {
    /// Next step that a thread will make.
    claim: u64,
    /// Next step to be handed out.
    deliver: u64,
    /// One past the last step.
    end: u64,
    ready: BTreeMap<u64, Timed<B>>,
    closed: bool,
}

struct Shared<B> {
    queue: Mutex<Queue<B>>,
    made: Condvar,
    room: Condvar,
    depth: u64,
}

impl<B> Shared<B> {
    // The lock is never held while foreign code runs, so a poisoned queue is still consistent.
    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Producer threads over a function of the step, with at most `depth` batches made or in the making ahead of the consumer.
pub struct Prefetch<B> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
}

impl<B> std::fmt::Debug for Prefetch<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefetch").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl<B: Send + 'static> Prefetch<B> {
    /// Starts `workers` threads (at least 1) that make the batches of the steps `first..end` (counted from 0); `depth` is
    /// raised to `workers` where smaller. Memory: `depth` batches.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(
        first: u64,
        end: u64,
        workers: usize,
        depth: usize,
        make: impl Fn(u64) -> Made<B> + Send + Sync + 'static,
    ) -> Result<Self> {
        let workers = workers.max(1);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                claim: first,
                deliver: first,
                end,
                ready: BTreeMap::new(),
                closed: false,
            }),
            made: Condvar::new(),
            room: Condvar::new(),
            depth: depth.max(workers) as u64,
        });
        let make = Arc::new(make);
        let mut prefetch = Self { shared, threads: Vec::with_capacity(workers) };
        for index in 0..workers {
            let (shared, make) = (Arc::clone(&prefetch.shared), Arc::clone(&make));
            let thread = std::thread::Builder::new()
                .name(format!("batches-{index}"))
                .spawn(move || produce(&shared, make.as_ref()))
                .map_err(|source| TrainingError::Threads { workers, source })?;
            prefetch.threads.push(thread);
        }
        Ok(prefetch)
    }
}

fn produce<B>(shared: &Shared<B>, make: &(impl Fn(u64) -> Made<B> + ?Sized)) {
    loop {
        let step = {
            let mut queue = shared.lock();
            while !queue.closed && queue.claim < queue.end && queue.claim >= queue.deliver + shared.depth {
                queue = shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.closed || queue.claim >= queue.end {
                return;
            }
            queue.claim += 1;
            queue.claim - 1
        };
        let started = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| make(step))).unwrap_or_else(|payload| {
            let text = crate::step::panic_text(payload.as_ref());
            Err(format!("the producer failed: {text}").into())
        });
        let mut queue = shared.lock();
        queue.ready.insert(step, (made, started.elapsed()));
        drop(queue);
        shared.made.notify_all();
    }
}

impl<B: Send + 'static> BatchSource for Prefetch<B> {
    type Batch = B;

    fn next(&mut self) -> Result<Option<Fetched<B>>> {
        let started = Instant::now();
        let mut queue = self.shared.lock();
        let step = queue.deliver;
        if step >= queue.end {
            return Ok(None);
        }
        let (batch, made) = loop {
            if let Some(made) = queue.ready.remove(&step) {
                break made;
            }
            queue = self.shared.made.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.deliver += 1;
        drop(queue);
        self.shared.room.notify_all();
        let waited = started.elapsed();
        let batch = batch.map_err(|source| TrainingError::Batch { step: step + 1, source })?;
        Ok(Some(Fetched { step, batch, waited, made }))
    }
}

impl<B> Drop for Prefetch<B> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // a panic of the producer was already turned into that batch's error
            let _joined = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_order_is_that_of_the_steps_with_any_number_of_threads() {
        for workers in [1, 2, 5] {
            let mut prefetch = Prefetch::new(3, 40, workers, 4, |step| {
                std::thread::sleep(Duration::from_micros((step * 7919) % 500));
                Ok(step * step)
            })
            .unwrap();
            for step in 3..40 {
                let fetched = prefetch.next().unwrap().unwrap();
                assert_eq!((fetched.step, fetched.batch), (step, step * step));
            }
            assert!(prefetch.next().unwrap().is_none());
        }
    }

    #[test]
    fn maps_that_cannot_fit_are_refused() {
        let error = check_maps(1 << 50, Precision::Bf16, Device::Cpu).unwrap_err();
        let message = error.message();
        assert_eq!(message.code, "E305");
        assert!(message.to_string().contains("first stage alone are 2097152.0 GiB"), "{message}");
        check_maps(1 << 50, Precision::Bf16, Device::Cuda(0)).unwrap();
        check_maps(1 << 20, Precision::Fp32, Device::Cpu).unwrap();
    }

    #[test]
    fn no_more_than_depth_batches_are_made_ahead() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&made);
        let mut prefetch = Prefetch::new(0, 1000, 2, 3, move |step| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(step)
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(made.load(Ordering::SeqCst) <= 3);
        prefetch.next().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(made.load(Ordering::SeqCst) <= 4);
    }

    #[test]
    fn errors_and_panics_arrive_at_their_step() {
        let mut prefetch = Prefetch::new(0, 9, 3, 3, |step| match step {
            1 => Err("torn shard".into()),
            2 => panic!("boom"),
            _ => Ok(step),
        })
        .unwrap();
        assert_eq!(prefetch.next().unwrap().unwrap().batch, 0);
        let error = prefetch.next().unwrap_err().to_string();
        assert!(error.contains("step 2") && error.contains("torn shard"), "{error}");
        assert!(prefetch.next().unwrap_err().to_string().contains("boom"));
        assert_eq!(prefetch.next().unwrap().unwrap().batch, 3);
    }
}
