//! Any bytes as the only PNG slice of a stack.
#![no_main]

#[path = "../../crates/volume/tests/counting/mod.rs"]
mod counting;
#[path = "../../crates/volume/tests/stacks/survives.rs"]
#[expect(dead_code, reason = "each target uses one of the checks")]
mod survives;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("the fuzzer needs a writable temporary directory");
}

libfuzzer_sys::fuzz_target!(init: {
    // Slices are decoded on the thread whose memory is counted.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().expect("nothing used the pool before");
}, |bytes: &[u8]| {
    // Refusals are as good as images here; what must not happen panics inside.
    let _image_or_refusal = FOLDER.with(|folder| survives::png(folder.path(), bytes));
});
