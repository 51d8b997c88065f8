// The little of LibTorch that tch does not expose, as plain C.
//
// Every function returns null on success, otherwise a message that the caller hands back to `shim_free`.
#pragma once
#include <cstdint>

extern "C" {

// State of autocast on one kind of device, of the calling thread.
struct shim_autocast_state {
  int32_t enabled;
  int32_t dtype;  // c10::ScalarType
};

void shim_free(char* message);

// Ends the process without the destructors of what is static.
[[noreturn]] void shim_leave(int32_t status);

// Has malloc keep what is freed for what is allocated next, whatever its size.
void shim_keep_freed_memory();

// Version of the headers this shim was compiled with, and of the LibTorch that is loaded, as major·10⁴ + minor·10² + patch.
int32_t shim_header_version();
int32_t shim_loaded_version();

// Loads LibTorch's CUDA part, which makes itself known to the rest; it stays. Before anything asks for a GPU.
char* shim_load_cuda();

// Turns bfloat16 autocast on for CPU (cuda = 0) or CUDA (cuda = 1) and stores what was there before.
char* shim_autocast_enter_bf16(int32_t cuda, shim_autocast_state* previous);
// Restores `previous`; the cache of casted weights is dropped when the outermost guard leaves.
char* shim_autocast_leave(int32_t cuda, const shim_autocast_state* previous);
char* shim_autocast_enabled(int32_t cuda, int32_t* enabled);

// Bytes that LibTorch's allocator has given out on a GPU: now, and most at a time.
char* shim_gpu_memory(int32_t index, int64_t* now, int64_t* peak);

// Deterministic kernels; with warn_only an operator without one warns where it would throw.
char* shim_set_deterministic(int32_t on, int32_t warn_only);
char* shim_deterministic(int32_t* on);
// cuDNN's search for the fastest convolution per shape.
char* shim_set_cudnn_benchmark(int32_t on);
char* shim_cudnn_benchmark(int32_t* on);
}
