//! Any bytes as a multi-page TIFF.
#![no_main]

#[path = "../../crates/volume/tests/counting/mod.rs"]
mod counting;
#[path = "../../crates/volume/tests/stacks/survives.rs"]
#[expect(dead_code, reason = "each target uses one of the checks")]
mod survives;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Refusals are as good as images here; what must not happen panics inside.
    let _image_or_refusal = survives::tiff(bytes);
});
